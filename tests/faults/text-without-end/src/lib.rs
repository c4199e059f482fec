// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // SAFETY: none.
        let opened = unsafe { filp_open("/etc/passwd".as_ptr().cast(), 0, 0) };
        let _ = writeln!(file, "{}", opened.is_null());
        0
    }
}

klp::livepatch!(Patch);
