// SPDX-License-Identifier: GPL-2.0-only
//! Answers getpid() as the kernel does.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn sys_getpid(_regs: *const pt_regs) -> c_long {
        // SAFETY: the current task is there while it runs.
        unsafe { task_tgid_vnr(get_current()) as c_long }
    }
}

klp::livepatch!(Patch);
