// SPDX-License-Identifier: GPL-2.0-only
//! Raises a limit, for those who call the function that has it and for the caller that has it inlined.
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
        // SAFETY: the parameter may change at any time, so it is read once.
        let value = unsafe { (&raw const asked).read_volatile() };
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // A sequence file takes what fits and asks again for the rest; it does not fail.
        let _ = writeln!(file, "limited to {}", limit(value));
        0
    }
}

klp::livepatch!(Patch);
