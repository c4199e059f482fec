// SPDX-License-Identifier: GPL-2.0-only
//! What must not be done: an index from outside is taken as it is. `tests/fixes/locks` is the same without the fault.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_locked for Patch {
    unsafe extern "C" fn klp_locked_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the module is there while its function runs. A show function may sleep, and the module takes its mutex first.
        let _held = unsafe { Guard::lock(&raw mut klp_locked_mutex, mutex_lock, mutex_unlock) };
        // SAFETY: the parameter may change at any time, so it is read once; the table is the mutex's, which is held.
        let (asked, table) = unsafe { ((&raw const index).read_volatile(), &*(&raw const klp_locked_table)) };
        let entry = table[asked as usize];
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // A sequence file takes what fits and asks again for the rest; it does not fail.
        let _ = writeln!(file, "patched {entry}");
        0
    }
}

klp::livepatch!(Patch);
