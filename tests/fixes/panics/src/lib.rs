// SPDX-License-Identifier: GPL-2.0-only
//! Example of a faulty fix: an unchecked index from user input. `tests/fixes/locks` is the correct fix.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_locked for Patch {
    unsafe extern "C" fn klp_locked_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the module is loaded while its function runs. A show function may sleep; no lock is held.
        let _held = unsafe { Guard::lock(&raw mut klp_locked_mutex, mutex_lock, mutex_unlock) };
        // SAFETY: the parameter may change at any time, so it is read once. The table's mutex is held.
        let (asked, table) = unsafe { (read_once(&raw const index), &*(&raw const klp_locked_table)) };
        let entry = table[asked as usize];
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = writeln!(file, "patched {entry}");
        0
    }
}

klp::livepatch!(Patch);
