// SPDX-License-Identifier: GPL-2.0-only
//! Changes both halves of /proc/klp_halves to `new`.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_halves for Patch {
    unsafe extern "C" fn klp_halves_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        file.puts(c"new ");
        // SAFETY: a show function may sleep. The module is loaded while its function runs. The inner function
        // gets the same argument as from the module.
        unsafe {
            let paused = || read_once(&raw const pause) != 0;
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
