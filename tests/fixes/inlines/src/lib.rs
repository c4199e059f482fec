// SPDX-License-Identifier: GPL-2.0-only
//! Shows results of static inline functions and macros of the kernel's headers in /proc/version.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        let mut remainder = 0;
        // SAFETY: the divisor is not zero; the task is accessed under the RCU read lock.
        let (quotient, pid) = unsafe {
            let quotient = div64_u64_rem(1000, 7, &raw mut remainder);
            rcu_read_lock();
            let task = find_task_by_pid_ns(1, (&raw const init_pid_ns).cast_mut());
            let pid = if task.is_null() { -1 } else { task_pid_nr(task) };
            rcu_read_unlock();
            (quotient, pid)
        };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = writeln!(
            file,
            "1000/7 is {quotient} and {remainder}/7, init is {pid}, GFP_KERNEL is {GFP_KERNEL:#x}, TASK_COMM_LEN is {TASK_COMM_LEN}"
        );
        0
    }
}

klp::livepatch!(Patch);
