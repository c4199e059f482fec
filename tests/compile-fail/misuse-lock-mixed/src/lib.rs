// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: a lock is taken with one lock's function and let go with another's.
#![no_std]
use klp::prelude::*;
pub struct Patch;
impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the mutex is the kernel's own.
        let _held = unsafe { Guard::lock(&raw mut console_mutex, mutex_lock, _raw_spin_unlock) };
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"x\n")
    }
}
klp::livepatch!(Patch);
