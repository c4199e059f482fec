// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: a function is implemented that patch.toml does not name.
#![no_std]

use klp::prelude::*;

pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"x\n")
    }

    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"x\n")
    }
}

klp::livepatch!(Patch);
