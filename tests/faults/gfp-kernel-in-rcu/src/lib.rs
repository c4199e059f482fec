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
        let boxed = unsafe {
            let _section = Guard::section(rcu_read_lock, rcu_read_unlock);
            klp::sys::alloc::KBox::new([0u8; 64], klp::core::shadow::Gfp::KERNEL)
        };
        drop(boxed);
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"patched\n")
    }
}

klp::livepatch!(Patch);
