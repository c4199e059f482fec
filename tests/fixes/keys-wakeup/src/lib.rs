// SPDX-License-Identifier: GPL-2.0-only
//! A repair after a function of 200 lines. The collector clears a bit and wakes the task that waits for it, without a barrier
//! between: the waker may not see the waiter, and the waiter not the bit. One more wake-up behind a barrier reaches it.
#![no_std]

use klp::prelude::*;
use replaced::original;

/// `KEY_GC_REAPING_KEYTYPE` of `security/keys/gc.c`: the number of the bit.
const REAPING_KEYTYPE: c_int = 2;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn key_garbage_collector(work: *mut work_struct) {
        // SAFETY: the argument is that of the replacement.
        unsafe { original::vmlinux::key_garbage_collector(work) };
        smp_mb();
        // SAFETY: the variable exists as long as the kernel. A task that is woken without cause checks the bit and waits again.
        unsafe { wake_up_bit((&raw mut key_gc_flags).cast(), REAPING_KEYTYPE) };
    }
}

klp::livepatch!(Patch);
