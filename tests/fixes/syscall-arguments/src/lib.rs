// SPDX-License-Identifier: GPL-2.0-only
//! Limits fallocate() to the first mebibyte of a file.
#![no_std]

use klp::core::syscall;
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

const MOST: i64 = 1 << 20;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn sys_fallocate(regs: *const pt_regs) -> c_long {
        let mut theirs: [c_ulong; 6] = [0; 6];
        // SAFETY: the wrapper of a 64-bit system call gets the saved user registers, and the current task is
        // in that system call.
        let ours = unsafe {
            syscall_get_arguments(get_current(), regs.cast_mut(), (&raw mut theirs).cast());
            syscall::arguments(regs)
        };
        if ours != theirs {
            pr_err!("klp_syscall: arguments {ours:x?}, the kernel has {theirs:x?}");
            return Errno::new(EIO).to_ret() as c_long;
        }
        let [file, mode, offset, length, ..] = ours;
        // As in the original, only the lower half of the register of an `int` argument is used.
        let (file, mode, offset, length) = (file as c_int, mode as c_int, offset as i64, length as i64);
        pr_info!("klp_syscall: mode {}, offset {}, length {}", mode, offset, length);
        if offset.checked_add(length).is_none_or(|end| end > MOST) {
            return Errno::new(EFBIG).to_ret() as c_long;
        }
        // SAFETY: the function checks all its arguments, because they come from user space.
        unsafe { ksys_fallocate(file, mode, offset, length) as c_long }
    }
}

klp::livepatch!(Patch);
