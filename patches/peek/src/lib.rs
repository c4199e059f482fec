// SPDX-License-Identifier: GPL-2.0-only
//! Shows a variable and the result of a function in /proc/version; the kernel exports neither of them.
#![no_std]

use core::ffi::CStr;
use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // SAFETY: the kernel sets the variable before the first process starts, and never changes it.
        let command_line = unsafe { CStr::from_ptr(saved_command_line.cast()) };
        file.puts(c"saved_command_line: ");
        file.puts(command_line);
        // SAFETY: the function only adds up counters and may be called from process context.
        let processes = unsafe { nr_processes() };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = write!(file, "\nnr_processes: {processes}\n");
        0
    }
}

klp::livepatch!(Patch);
