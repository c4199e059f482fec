// SPDX-License-Identifier: GPL-2.0-only
//! Sleeps for four minutes in each read of /proc/version.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: a show function runs in process context and may sleep.
        unsafe { msleep(240_000) };
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"slept longest in Rust\n")
    }
}

klp::livepatch!(Patch);
