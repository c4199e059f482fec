// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: an argument of the original has another type.
#![no_std]

use klp::prelude::*;

pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, v: *mut c_void) -> c_int {
        unsafe { replaced::original::vmlinux::cmdline_proc_show(v, m) }
    }
}

klp::livepatch!(Patch);
