// SPDX-License-Identifier: GPL-2.0-only
//! Passes each read of /proc/cmdline to a function that is not inlined and sleeps for five seconds.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`, and a show function may sleep.
        unsafe { answer_late(m) }
    }
}

/// # Safety
/// `m` must be a valid argument of a show function, and the caller must be allowed to sleep.
#[inline(never)]
unsafe fn answer_late(m: *mut seq_file) -> c_int {
    // SAFETY: the caller may sleep.
    unsafe { msleep(5000) };
    // SAFETY: the caller passes a valid `m`.
    unsafe { SeqFile::from_ptr(m) }.puts(c"slept in a function of the module\n")
}

klp::livepatch!(Patch);
