// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: a parameter has another type.
#![no_std]

use klp::prelude::*;

pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_operations, _v: *mut c_void) -> c_int {
        c_int::from(m.is_null())
    }
}

klp::livepatch!(Patch);
