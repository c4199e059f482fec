// SPDX-License-Identifier: GPL-2.0-only
//! Counterpart of test_klp_syscall.c in the kernel's selftests: each task of the parameter `klp_pids` counts once when it
//! comes through the replacement.
#![no_std]

use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use klp::core::callbacks::{Callbacks, Object};
use klp::core::exit::Exit;
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

/// Largest number of tasks, that of the parameter.
const TASKS: usize = 128;
/// Number of tasks that did not come through yet.
static PENDING: AtomicU32 = AtomicU32::new(0);
/// For each task, true when it has come through.
static DONE: [AtomicBool; TASKS] = [const { AtomicBool::new(false) }; TASKS];
/// /sys/kernel/test_klp_syscall, or null.
static DIRECTORY: AtomicPtr<kobject> = AtomicPtr::new(null_mut());

/// A file of sysfs.
#[repr(transparent)]
struct File(kobj_attribute);

// SAFETY: the kernel only reads the structure.
unsafe impl Sync for File {}

static NPIDS: File = File({
    // SAFETY: all zeroes is a file without name and functions.
    let mut file: kobj_attribute = unsafe { core::mem::zeroed() };
    file.attr.name = c"npids".as_ptr().cast();
    file.attr.mode = 0o444;
    file.show = Some(show);
    file
});

unsafe extern "C" fn show(_: *mut kobject, _: *mut kobj_attribute, buf: *mut c_char) -> c_long {
    let mut text = *b"000\n";
    let mut rest = PENDING.load(Ordering::Relaxed);
    let mut first = 2;
    for (at, digit) in text.iter_mut().enumerate().take(3).rev() {
        *digit = b'0' + (rest % 10) as u8;
        if rest > 0 {
            first = at;
        }
        rest /= 10;
    }
    let text = text.get(first..).unwrap_or_default();
    // SAFETY: the buffer of a show function has one page.
    unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), buf.cast(), text.len()) };
    text.len() as c_long
}

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn sys_getpid(_regs: *const pt_regs) -> c_long {
        // SAFETY: the current task exists while it runs.
        let (pid, answer) = unsafe { ((*get_current()).pid, task_tgid_vnr(get_current())) };
        if PENDING.load(Ordering::Relaxed) > 0 {
            let named = replaced::params::klp_pids();
            for (_, done) in named.iter().zip(&DONE).filter(|(named, _)| *named == pid) {
                if !done.swap(true, Ordering::Relaxed) {
                    PENDING.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        answer as c_long
    }
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(_object: &Object<'_>) -> Result<(), Errno> {
        PENDING.store(replaced::params::klp_pids().len() as u32, Ordering::Relaxed);
        // SAFETY: the name is a NUL-terminated string, and the kernel's directory exists. The structure of the file exists
        // until the directory is removed.
        let error = unsafe {
            let directory = kobject_create_and_add(c"test_klp_syscall".as_ptr().cast(), kernel_kobj);
            if directory.is_null() {
                return Err(Errno::new(ENOMEM));
            }
            DIRECTORY.store(directory, Ordering::Relaxed);
            sysfs_create_file_ns(directory, &raw const NPIDS.0.attr, null())
        };
        to_result(error).inspect_err(|_| remove())?;
        Ok(())
    }

    fn post_unpatch(_object: &Object<'_>) {
        remove();
    }
}

impl Exit for Patch {
    fn exit() {
        remove();
    }
}

fn remove() {
    let directory = DIRECTORY.swap(null_mut(), Ordering::Relaxed);
    if !directory.is_null() {
        // SAFETY: this fix made the directory, and `swap` gives it out once. Its files go with it.
        unsafe { kobject_put(directory) };
    }
}

klp::livepatch!(Patch);
