// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_target for Patch {
    unsafe extern "C" fn klp_target_show(_v: *mut c_void, m: *mut seq_file) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"patched\n")
    }
}

klp::livepatch!(Patch);
