// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: a callback returns something.
#![no_std]

use klp::core::callbacks::{Callbacks, Object};
use klp::prelude::*;

pub struct Patch;

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn post_patch(_object: &Object<'_>) -> c_int {
        0
    }
}

klp::livepatch!(Patch);
