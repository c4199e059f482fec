// SPDX-License-Identifier: GPL-2.0-only
//! Answers getpid() as the kernel does, and counts the tasks of the load that came through, each once: what the kernel's own
//! test_klp_syscall tells in `npids`.
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
/// How many tasks came through.
static TASKS: AtomicU32 = AtomicU32::new(0);
/// Name of the load's tasks.
const LOAD: &[u8] = b"workload\0";

// A task that came through has one.
klp::shadow!(COUNTED: u32, id = 0x6b70_6964);

unsafe extern "C" fn show(m: *mut seq_file, _v: *mut c_void) -> c_int {
    // SAFETY: the seq_file core passes a valid `m`.
    let mut file = unsafe { SeqFile::from_ptr(m) };
    // A sequence file takes what fits and asks again for the rest; it does not fail.
    let _ = writeln!(file, "{}", TASKS.load(Ordering::Relaxed));
    0
}

/// Counts a task of the load, once.
///
/// # Safety
/// `task` must be the current task.
unsafe fn count(task: *mut task_struct) {
    // SAFETY: a task's name is there as long as the task; it has an end in its 16 bytes.
    let name = unsafe { &*(&raw const (*task).comm) };
    if !name.iter().zip(LOAD).all(|(found, wanted)| *found as u8 == *wanted) {
        return;
    }
    // SAFETY: the task is there; only the task itself looks for its variable, and `exit` frees it when no task is here any more.
    unsafe {
        if COUNTED.get(task).is_none() && COUNTED.alloc(task, 1, Gfp::KERNEL).is_ok() {
            TASKS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn sys_getpid(_regs: *const pt_regs) -> c_long {
        // SAFETY: the current task is there while it runs.
        unsafe {
            count(get_current());
            task_tgid_vnr(get_current()) as c_long
        }
    }
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(_object: &Object<'_>) -> Result<(), Errno> {
        // SAFETY: the name is a string with an end; `show` is there until the file is removed.
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
    // SAFETY: the file is ours and nobody else removes it; no task runs the replacement any more, and the variables are this
    // fix's.
    unsafe {
        proc_remove(FILE.swap(null_mut(), Ordering::Relaxed));
        COUNTED.free_all();
    }
}

klp::livepatch!(Patch);
