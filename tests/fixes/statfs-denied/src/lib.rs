// SPDX-License-Identifier: GPL-2.0-only
//! Makes statfs() return EPERM.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn security_sb_statfs(_dentry: *mut dentry) -> c_int {
        Errno::new(EPERM).to_ret()
    }
}

klp::livepatch!(Patch);
