// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
use klp::prelude::*;
/// The replacements of this fix.
pub struct Patch;
impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"patched\n")
    }
}
klp::livepatch!(Patch);
