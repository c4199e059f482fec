// SPDX-License-Identifier: GPL-2.0-only
//! Shows the static local variables of `key_garbage_collector` in /proc/cmdline, and calls a variant of a function.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        let list = &raw mut graveyard;
        // SAFETY: the variables exist as long as the kernel; each is read once.
        let (empty, state) =
            unsafe { (read_once(&raw const (*list).next) == list, read_once(&raw const gc_state)) };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = writeln!(file, "graveyard empty: {empty}, state {state}");
        if empty {
            // SAFETY: the function walks the list, which is empty.
            unsafe { key_gc_unused_keys() };
        }
        0
    }
}

klp::livepatch!(Patch);
