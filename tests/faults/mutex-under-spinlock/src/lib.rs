// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_locked for Patch {
    unsafe extern "C" fn klp_locked_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: none.
        unsafe {
            let _spin = Guard::lock_irqsave(
                &raw mut klp_locked_spinlock,
                _raw_spin_lock_irqsave,
                _raw_spin_unlock_irqrestore,
            );
            let _held = Guard::lock(&raw mut klp_locked_mutex, mutex_lock, mutex_unlock);
        }
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"patched\n")
    }
}

klp::livepatch!(Patch);
