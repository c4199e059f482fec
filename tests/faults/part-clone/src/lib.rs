// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn getname_flags(_name: *const c_char, _flags: c_int) -> *mut filename {
        core::ptr::null_mut()
    }
}

klp::livepatch!(Patch);
