// SPDX-License-Identifier: GPL-2.0-only
//! Creates /proc/klp_file, whose show function is in the live patch, for as long as the live patch is loaded.
#![no_std]

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use klp::core::callbacks::{Callbacks, Object};
use klp::core::exit::Exit;
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

/// The file, or null.
static FILE: AtomicPtr<proc_dir_entry> = AtomicPtr::new(null_mut());

unsafe extern "C" fn show(m: *mut seq_file, _v: *mut c_void) -> c_int {
    // SAFETY: the seq_file core passes a valid `m`.
    unsafe { SeqFile::from_ptr(m) }.puts(c"answered by the module\n")
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(_object: &Object<'_>) -> Result<(), Errno> {
        // SAFETY: the name is a NUL-terminated string; `show` exists until `exit` has removed the file.
        let file = unsafe {
            proc_create_single_data(c"klp_file".as_ptr().cast(), 0o444, null_mut(), Some(show), null_mut())
        };
        if file.is_null() {
            return Err(Errno::new(ENOMEM));
        }
        FILE.store(file, Ordering::Relaxed);
        Ok(())
    }

    // Runs after the patch is disabled, and after a failure to load it.
    fn post_unpatch(_object: &Object<'_>) {
        remove_file();
    }
}

impl Exit for Patch {
    // Runs also after the patch is replaced.
    fn exit() {
        remove_file();
    }
}

fn remove_file() {
    // SAFETY: only this fix removes the file. proc_remove() waits for readers and ignores null.
    unsafe { proc_remove(FILE.swap(null_mut(), Ordering::Relaxed)) };
}

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"version of the fix with a file\n")
    }
}

klp::livepatch!(Patch);
