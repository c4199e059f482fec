// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn status_show(
        _dev: *mut device,
        _attr: *mut device_attribute,
        _buf: *mut c_char,
    ) -> isize {
        0
    }
}

klp::livepatch!(Patch);
