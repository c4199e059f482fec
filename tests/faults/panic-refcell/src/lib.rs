// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

struct Shared(core::cell::RefCell<u32>);
// SAFETY: none.
unsafe impl Sync for Shared {}
static CELL: Shared = Shared(core::cell::RefCell::new(1));

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // SAFETY: one at a time.
        let cell = unsafe { &*(&raw const CELL) };
        let one = cell.0.borrow_mut();
        let _ = writeln!(file, "{}", cell.0.borrow());
        drop(one);
        0
    }
}

klp::livepatch!(Patch);
