// SPDX-License-Identifier: GPL-2.0-only
//! Returns the same result from getpid() as the kernel, and counts each workload task that calls it, once per
//! task. The kernel's own test_klp_syscall provides a similar count in `npids`.
#![no_std]

use core::fmt::Write;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use klp::core::callbacks::{Callbacks, Object};
use klp::core::exit::Exit;
use klp::core::shadow::Gfp;
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

/// /proc/klp_getpid, or null.
static FILE: AtomicPtr<proc_dir_entry> = AtomicPtr::new(null_mut());
/// Number of tasks that called the replacement.
static TASKS: AtomicU32 = AtomicU32::new(0);
/// Name of the workload's tasks.
const LOAD: &[u8] = b"workload\0";

// Shadow variable of each counted task.
klp::shadow!(COUNTED: u32, id = 0x6b70_6964);

unsafe extern "C" fn show(m: *mut seq_file, _v: *mut c_void) -> c_int {
    // SAFETY: the seq_file core passes a valid `m`.
    let mut file = unsafe { SeqFile::from_ptr(m) };
    // An overflow is not an error: seq_file calls this function again with a larger buffer.
    let _ = writeln!(file, "{}", TASKS.load(Ordering::Relaxed));
    0
}

/// Counts a workload task once.
///
/// # Safety
/// `task` must be the current task.
unsafe fn count(task: *mut task_struct) {
    // SAFETY: the name exists as long as the task, and is NUL-terminated within its 16 bytes.
    let name = unsafe { &*(&raw const (*task).comm) };
    if !name.iter().zip(LOAD).all(|(found, wanted)| *found as u8 == *wanted) {
        return;
    }
    // SAFETY: the current task exists. Only the task itself accesses its variable, and `exit` frees the
    // variables after the last task has left the replacement.
    unsafe {
        if COUNTED.get(task).is_none() && COUNTED.alloc(task, 1, Gfp::KERNEL).is_ok() {
            TASKS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn sys_getpid(_regs: *const pt_regs) -> c_long {
        // SAFETY: the current task exists while it runs.
        unsafe {
            count(get_current());
            task_tgid_vnr(get_current()) as c_long
        }
    }
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(_object: &Object<'_>) -> Result<(), Errno> {
        // SAFETY: the name is a NUL-terminated string; `show` exists until the file is removed.
        let file = unsafe {
            proc_create_single_data(c"klp_getpid".as_ptr().cast(), 0o444, null_mut(), Some(show), null_mut())
        };
        if file.is_null() {
            return Err(Errno::new(ENOMEM));
        }
        FILE.store(file, Ordering::Relaxed);
        Ok(())
    }

    fn post_unpatch(_object: &Object<'_>) {
        take_back();
    }
}

impl Exit for Patch {
    fn exit() {
        take_back();
    }
}

fn take_back() {
    // SAFETY: only this fix removes the file. No task runs the replacement any more, and the variables belong
    // to this fix.
    unsafe {
        proc_remove(FILE.swap(null_mut(), Ordering::Relaxed));
        COUNTED.free_all();
    }
}

klp::livepatch!(Patch);
