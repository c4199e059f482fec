// SPDX-License-Identifier: GPL-2.0-only
//! A read of /proc/cmdline sleeps while the task's oom_score_adj is not 0. The test controls the duration
//! with this value.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the current task and its signal struct exist while it runs. A show function runs in process
        // context and may sleep.
        unsafe {
            let adjustment = &raw const (*(*get_current()).signal).oom_score_adj;
            while read_once(adjustment) != 0 {
                msleep(100);
            }
        }
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"slept in Rust\n")
    }
}

klp::livepatch!(Patch);
