// SPDX-License-Identifier: GPL-2.0-only
//! `cmdline_proc_show` prints a line after the kernel's.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, v: *mut c_void) -> c_int {
        // SAFETY: the arguments are those of the replacement.
        let result = unsafe { replaced::original::vmlinux::cmdline_proc_show(m, v) };
        if result != 0 {
            return result;
        }
        // SAFETY: the seq_file core passes a valid `m`, which the original does not free.
        unsafe { SeqFile::from_ptr(m) }.puts(c"above\n")
    }
}

klp::livepatch!(Patch);
