// SPDX-License-Identifier: GPL-2.0-only
//! Makes /proc/cmdline say that it was patched: `patches/cmdline` on the kernel's own `kernel` crate.
//!
//! The replacement is the same, and so are trait, types and tables; printing is the `kernel` crate's.
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
