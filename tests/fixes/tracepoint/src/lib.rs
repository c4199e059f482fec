// SPDX-License-Identifier: GPL-2.0-only
//! Locks and unlocks the memory map of the reading task a hundred times. Each operation passes tracepoints,
//! whose static keys the kernel's own code sets. Then the fix emits a trace event itself, which uses a static
//! key and a static call.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the current task exists while it runs.
        let mm = unsafe { get_task_mm(get_current()) };
        if !mm.is_null() {
            for _ in 0..100 {
                // SAFETY: `get_task_mm` took a reference to the map. A show function may sleep, and holds no
                // lock of a map.
                drop(unsafe { Guard::lock(mm, mmap_read_lock, mmap_read_unlock) });
            }
            // SAFETY: the event only records the two numbers.
            unsafe { trace_cpu_idle(4242, 77) };
            // SAFETY: the reference comes from `get_task_mm`.
            unsafe { mmput(mm) };
        }
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"locked a hundred times\n")
    }
}

klp::livepatch!(Patch);
