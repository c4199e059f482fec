// SPDX-License-Identifier: GPL-2.0-only
//! Shows the action of SIGTERM of the reading task, under the lock of its signal handlers. `lock_task_sighand` is an inline
//! function that calls `__lock_task_sighand`, which the kernel does not export.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// Number of the signal SIGTERM.
const SIGTERM: usize = 15;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        let mut flags = 0;
        // SAFETY: the current task exists, and its handlers are read while their lock is held.
        let ignored = unsafe {
            let task = get_current();
            let handlers = lock_task_sighand(task, &raw mut flags);
            if handlers.is_null() {
                return -(ESRCH as c_int);
            }
            let handler = (*handlers).action[SIGTERM - 1].sa.sa_handler;
            unlock_task_sighand(task, &raw mut flags);
            handler.is_some_and(|handler| handler as usize == 1)
        };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = writeln!(file, "SIGTERM is {}", if ignored { "ignored" } else { "not ignored" });
        0
    }
}

klp::livepatch!(Patch);
