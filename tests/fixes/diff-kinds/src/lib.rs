// SPDX-License-Identifier: GPL-2.0-only
//! Rust code beside a C diff in one module.
#![no_std]

use klp::core::callbacks::{Callbacks, Object};
use klp::prelude::*;

unsafe extern "C" {
    /// A function that the diff adds to `fs/proc/cmdline.c`. The prototype is the author's word.
    fn proc_words(m: *mut seq_file, number: c_uint) -> c_int;
}

/// The replacements of this fix in Rust.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn uptime_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"beside a C diff\n");
        // SAFETY: as above; the function takes any number.
        unsafe { proc_words(m, 1) }
    }
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(_object: &Object<'_>) -> Result<(), Errno> {
        pr_info!("diff-kinds: before the patch");
        Ok(())
    }
}

klp::livepatch!(Patch);
