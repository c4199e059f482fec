// SPDX-License-Identifier: GPL-2.0-only
//! Counterpart of test_klp_atomic_replace.c in the kernel's selftests.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn meminfo_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"test_klp_atomic_replace: this has been live patched\n")
    }
}

klp::livepatch!(Patch);
