// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, v: *mut c_void) -> c_int {
        // SAFETY: the arguments are passed on.
        let shown = unsafe { bindings_version_proc_show(m, v) };
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"patched\n");
        shown
    }
}
use klp::prelude::version_proc_show as bindings_version_proc_show;

klp::livepatch!(Patch);
