// SPDX-License-Identifier: GPL-2.0-only
//! Takes and lets go the lock of the reader's own memory map, a hundred times: each way passes tracepoints, whose static keys the
//! kernel's own code sets. Then it says something by a tracepoint itself: a static key, and a static call behind it.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the current task is there while it runs.
        let mm = unsafe { get_task_mm(get_current()) };
        if !mm.is_null() {
            for _ in 0..100 {
                // SAFETY: the map is held by `get_task_mm`; a show function may sleep, and holds no lock of a map.
                drop(unsafe { Guard::lock(mm, mmap_read_lock, mmap_read_unlock) });
            }
            // SAFETY: the two numbers are only told.
            unsafe { trace_cpu_idle(4242, 77) };
            // SAFETY: it came from `get_task_mm`.
            unsafe { mmput(mm) };
        }
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"locked a hundred times\n")
    }
}

klp::livepatch!(Patch);
