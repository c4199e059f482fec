// SPDX-License-Identifier: GPL-2.0-only
//! Counterpart of test_klp_callbacks_demo2.c in the kernel's selftests.
#![no_std]

use klp::core::callbacks::{Callbacks, Object};
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(_object: &Object<'_>) -> Result<(), Errno> {
        pr_info!("test_klp_callbacks_demo2: pre_patch_callback: vmlinux");
        Ok(())
    }

    fn post_patch(_object: &Object<'_>) {
        pr_info!("test_klp_callbacks_demo2: post_patch_callback: vmlinux");
    }

    fn pre_unpatch(_object: &Object<'_>) {
        pr_info!("test_klp_callbacks_demo2: pre_unpatch_callback: vmlinux");
    }

    fn post_unpatch(_object: &Object<'_>) {
        pr_info!("test_klp_callbacks_demo2: post_unpatch_callback: vmlinux");
    }
}

klp::livepatch!(Patch);
