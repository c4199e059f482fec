// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe fn version_proc_show(_m: *mut seq_file, _v: *mut c_void) -> c_int {
        0
    }
}

klp::livepatch!(Patch);
