// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: a member of a struct that is opaque.
#![no_std]

use klp::prelude::*;

pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(_m: *mut seq_file, v: *mut c_void) -> c_int {
        let net = v.cast::<net>();
        let operations = unsafe { (*dev_get_by_index(net, 1)).rtnl_link_ops };
        unsafe { (*operations).maxtype as c_int }
    }
}

klp::livepatch!(Patch);
