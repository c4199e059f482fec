// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn write_null(
        _file: *mut file,
        buf: *const c_char,
        count: usize,
        _ppos: *mut loff_t,
    ) -> isize {
        // SAFETY: none.
        let first = unsafe { buf.read_volatile() };
        if first as u8 == b'x' { -22 } else { count as isize }
    }
}

klp::livepatch!(Patch);
