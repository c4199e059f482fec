// SPDX-License-Identifier: GPL-2.0-only
//! Makes /proc/version show a variable and the result of a function that the kernel does not export.
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
        // SAFETY: it is set before the first process starts and never changes.
        let command_line = unsafe { CStr::from_ptr(saved_command_line.cast()) };
        file.puts(c"saved_command_line: ");
        file.puts(command_line);
        // SAFETY: it only adds up counters and may be called from process context.
        let processes = unsafe { nr_processes() };
        // A sequence file takes what fits and asks again for the rest; it does not fail.
        let _ = write!(file, "\nnr_processes: {processes}\n");
        0
    }
}

klp::livepatch!(Patch);
