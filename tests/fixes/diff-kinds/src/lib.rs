// SPDX-License-Identifier: GPL-2.0-only
//! Rust code beside a C diff in one module.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix in Rust.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn uptime_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"beside a C diff\n")
    }
}

klp::livepatch!(Patch);
