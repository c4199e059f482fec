// SPDX-License-Identifier: GPL-2.0-only
//! A guard before a function of 250 lines: io_uring's threads only ever take SIGKILL and SIGSTOP.
#![no_std]

use klp::prelude::*;
use replaced::original;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn ptrace_request(
        child: *mut task_struct,
        request: c_long,
        addr: c_ulong,
        data: c_ulong,
    ) -> c_int {
        // SAFETY: the caller holds a reference to the traced task.
        let flags = unsafe { read_once(&raw const (*child).flags) };
        if request == PTRACE_SETSIGMASK && flags & PF_USER_WORKER != 0 {
            return -EPERM;
        }
        // SAFETY: the arguments are those of the replacement.
        unsafe { original::vmlinux::ptrace_request(child, request, addr, data) }
    }
}

klp::livepatch!(Patch);
