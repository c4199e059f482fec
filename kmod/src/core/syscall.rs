// SPDX-License-Identifier: GPL-2.0-only
//! Arguments of system calls. What ftrace can reach is a wrapper that takes them as the registers of user space.
//!
//! C header: `arch/x86/include/asm/syscall_wrapper.h`, `arch/arm64/include/asm/syscall_wrapper.h`

use bindings::ffi::c_ulong;
use bindings::pt_regs;

/// The arguments of a system call, from 0 to 5.
///
/// # Safety
/// `registers` must be what a wrapper of a 64-bit system call was given.
pub unsafe fn arguments(registers: *const pt_regs) -> [c_ulong; 6] {
    // SAFETY: the caller's word.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let registers = &*registers;
        [registers.di, registers.si, registers.dx, registers.r10, registers.r8, registers.r9]
            .map(|value| value as c_ulong)
    }
    // SAFETY: the caller's word; all members of the union are plain numbers.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        let all = (*registers).__bindgen_anon_1.user_regs.regs;
        [all[0], all[1], all[2], all[3], all[4], all[5]].map(|value| value as c_ulong)
    }
}
