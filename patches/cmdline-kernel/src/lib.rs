// SPDX-License-Identifier: GPL-2.0-only
//! Adds a line "patched from Rust" to /proc/cmdline: `patches/cmdline`, based on the kernel's own `kernel`
//! crate.
//!
//! The replacement, its trait, its types and its tables are the same; only printing uses the `kernel` crate.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        pr_info!("/proc/cmdline is read\n");
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"patched from Rust\n")
    }
}

klp::livepatch!(Patch);
