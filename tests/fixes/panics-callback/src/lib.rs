// SPDX-License-Identifier: GPL-2.0-only
//! Example of a faulty fix: a callback assumes that its object has a name.
#![no_std]

use klp::core::callbacks::{Callbacks, Object};
use klp::prelude::*;

/// The callbacks of this fix.
pub struct Patch;

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
        // The name is `None` for the kernel itself.
        let name = object.name().unwrap();
        pr_info!("klp: {} bytes", name.to_bytes().len());
        Ok(())
    }
}

klp::livepatch!(Patch);
