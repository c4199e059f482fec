// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn sys_setuid(_regs: *const pt_regs) -> c_long {
        -1
    }
}

klp::livepatch!(Patch);
