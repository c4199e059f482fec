// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: borrowed data is kept in a shadow variable.
#![no_std]

use core::sync::atomic::AtomicU32;

use klp::core::callbacks::{Callbacks, Object};
use klp::core::shadow::Gfp;
use klp::prelude::*;

pub struct Patch;

klp::shadow!(BORROWED: &'static AtomicU32, id = 7);

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
        let local = AtomicU32::new(0);
        // SAFETY: it is not: the object is not known, and the value goes when this function returns.
        unsafe { BORROWED.alloc(object, &local, Gfp::KERNEL) }.map(|_| ())
    }
}

klp::livepatch!(Patch);
