// SPDX-License-Identifier: GPL-2.0-only
//! Raises a limit, both for callers of the function with the limit and for the caller into which it is
//! inlined.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

fn limit(value: c_int) -> c_int {
    value.min(8)
}

impl replaced::klp_inlined for Patch {
    unsafe extern "C" fn klp_inlined_limit(value: c_int) -> c_int {
        limit(value)
    }

    unsafe extern "C" fn klp_inlined_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the parameter is a valid static and may change at any time, so it is read only once.
        let value = unsafe { read_once(&raw const asked) };
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = writeln!(file, "limited to {}", limit(value));
        0
    }
}

klp::livepatch!(Patch);
