// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

use klp::core::callbacks::{Callbacks, Object};

unsafe extern "C" fn work(_data: *mut c_void) -> c_int {
    for _ in 0..1000 {
        // SAFETY: a thread may sleep.
        unsafe { msleep(50) };
    }
    0
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn post_patch(_object: &Object<'_>) {
        // SAFETY: none.
        unsafe {
            let task =
                kthread_create_on_node(Some(work), core::ptr::null_mut(), -1, c"klp_work".as_ptr().cast());
            wake_up_process(task);
        }
    }
}

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        file.puts(c"patched\n");
        0
    }
}

klp::livepatch!(Patch);
