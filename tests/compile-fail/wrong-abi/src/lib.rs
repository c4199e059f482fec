// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: the calling convention is Rust's.
#![no_std]

use klp::prelude::*;

pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"x\n")
    }
}

klp::livepatch!(Patch);
