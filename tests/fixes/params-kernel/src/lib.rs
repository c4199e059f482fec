// SPDX-License-Identifier: GPL-2.0-only
//! `/proc/cmdline` shows the module parameters, and each read counts.
#![no_std]

use klp::prelude::*;
use replaced::params;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        klp::core::tripwire!(reads);
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        for _ in 0..params::limit() {
            file.puts(params::label());
            file.puts(c"\n");
        }
        0
    }
}

klp::livepatch!(Patch);
