// SPDX-License-Identifier: GPL-2.0-only
//! Takes the locks that the original takes, and refuses an index that the table does not have.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

/// Counts one more look into the table: under a spinlock with interrupts off, as the module does.
fn count() {
    // SAFETY: the module is there while its function runs; the module itself takes the spinlock inside of the mutex, and nothing
    // in here sleeps.
    unsafe {
        let _held = Guard::lock_irqsave(
            &raw mut klp_locked_spinlock,
            _raw_spin_lock_irqsave,
            _raw_spin_unlock_irqrestore,
        );
        klp_locked_count = klp_locked_count.wrapping_add(1);
    }
}

/// The entry of the table that the parameter names.
///
/// # Errors
/// `EINVAL`: there is no such entry.
fn entry() -> Result<c_int, Errno> {
    // SAFETY: the module is there while its function runs. A show function may sleep, and the module takes its mutex first.
    let _held = unsafe { Guard::lock(&raw mut klp_locked_mutex, mutex_lock, mutex_unlock) };
    count();
    // SAFETY: the parameter may change at any time, so it is read once; the table is the mutex's, which is held.
    let (asked, table) = unsafe { ((&raw const index).read_volatile(), &*(&raw const klp_locked_table)) };
    // On this way, too, the mutex is let go.
    let entry = table.get(asked as usize).ok_or(Errno::new(EINVAL))?;
    Ok(*entry)
}

impl replaced::klp_locked for Patch {
    unsafe extern "C" fn klp_locked_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        match entry() {
            Ok(entry) => {
                // SAFETY: the seq_file core passes a valid `m`.
                let mut file = unsafe { SeqFile::from_ptr(m) };
                // A sequence file takes what fits and asks again for the rest; it does not fail.
                let _ = writeln!(file, "patched {entry}");
                0
            }
            Err(error) => error.to_ret(),
        }
    }
}

klp::livepatch!(Patch);
