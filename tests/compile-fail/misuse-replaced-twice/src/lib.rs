// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: one function is replaced twice.
#![no_std]

use klp::prelude::*;

pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        c_int::from(m.is_null())
    }

    unsafe extern "C" fn cmdline_proc_show(_m: *mut seq_file, v: *mut c_void) -> c_int {
        c_int::from(v.is_null())
    }
}

klp::livepatch!(Patch);
