// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn worker_thread(_w: *mut c_void) -> c_int {
        0
    }
}

klp::livepatch!(Patch);
