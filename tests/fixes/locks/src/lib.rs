// SPDX-License-Identifier: GPL-2.0-only
//! Takes the same locks as the original, and rejects an index outside of the table.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

/// Counts one more read of the table, under a spinlock with interrupts off like in the module.
fn count() {
    // SAFETY: the module is loaded while its function runs. The module itself takes the spinlock inside of
    // the mutex, and no code in this section sleeps.
    unsafe {
        let _held = Guard::lock_irqsave(
            &raw mut klp_locked_spinlock,
            _raw_spin_lock_irqsave,
            _raw_spin_unlock_irqrestore,
        );
        klp_locked_count = klp_locked_count.wrapping_add(1);
    }
}

/// Entry of the table with the index from the module parameter.
///
/// # Errors
/// `EINVAL`: there is no such entry.
fn entry() -> Result<c_int, Errno> {
    // SAFETY: the module is loaded while its function runs. A show function may sleep, and the module also
    // takes the mutex first.
    let _held = unsafe { Guard::lock(&raw mut klp_locked_mutex, mutex_lock, mutex_unlock) };
    count();
    // SAFETY: the parameter may change at any time, so it is read only once. The mutex protects the table and
    // is held.
    let (asked, table) = unsafe { (read_once(&raw const index), &*(&raw const klp_locked_table)) };
    // An error return releases the mutex too.
    let entry = table.get(asked as usize).ok_or(Errno::new(EINVAL))?;
    Ok(*entry)
}

impl replaced::klp_locked for Patch {
    unsafe extern "C" fn klp_locked_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        match entry() {
            Ok(entry) => {
                // SAFETY: the seq_file core passes a valid `m`.
                let mut file = unsafe { SeqFile::from_ptr(m) };
                // An overflow is not an error: seq_file calls this function again with a larger buffer.
                let _ = writeln!(file, "patched {entry}");
                0
            }
            Err(error) => error.to_ret(),
        }
    }
}

klp::livepatch!(Patch);
