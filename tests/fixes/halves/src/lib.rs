// SPDX-License-Identifier: GPL-2.0-only
//! Makes both halves of /proc/klp_halves say `new`.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_halves for Patch {
    unsafe extern "C" fn klp_halves_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        file.puts(c"new ");
        // SAFETY: a show function may sleep; the module is there while its function runs; the inner function is given what
        // the module would give it.
        unsafe {
            let paused = || (&raw const pause).read_volatile() != 0;
            if !paused() {
                schedule();
            }
            while paused() {
                msleep(100);
            }
            klp_halves_inner(m);
        }
        0
    }

    unsafe extern "C" fn klp_halves_inner(m: *mut seq_file) {
        // SAFETY: the module passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"new\n");
    }
}

klp::livepatch!(Patch);
