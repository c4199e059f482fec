// SPDX-License-Identifier: GPL-2.0-only
//! Warns at each read of /proc/version, and at the first read of /proc/cmdline. Logs the reads of /proc/cmdline, rate limited.
#![no_std]

use klp::core::module;
use klp::prelude::*;
use replaced::original;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, v: *mut c_void) -> c_int {
        if warn_on!(v.is_null()) {
            return -(EINVAL as c_int);
        }
        warn_on!(!m.is_null());
        // SAFETY: the arguments are those of the replacement.
        unsafe { original::vmlinux::version_proc_show(m, v) }
    }

    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, v: *mut c_void) -> c_int {
        warn_on_once!(!m.is_null());
        ratelimited!(pr_info!("{}: a read", module::name().to_str().unwrap_or_default()));
        // SAFETY: the arguments are those of the replacement.
        unsafe { original::vmlinux::cmdline_proc_show(m, v) }
    }
}

klp::livepatch!(Patch);
