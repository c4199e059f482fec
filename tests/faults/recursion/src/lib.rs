// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

#[inline(never)]
fn deep(n: u64) -> u64 {
    if n == 0 { 0 } else { core::hint::black_box(deep(core::hint::black_box(n - 1))) + 1 }
}

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        let _ = writeln!(file, "{}", deep(4000));
        0
    }
}

klp::livepatch!(Patch);
