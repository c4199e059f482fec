// SPDX-License-Identifier: GPL-2.0-only
//! Arguments of system calls. A patch replaces the wrapper of a system call, which takes the user-space registers.
//!
//! C headers: [`arch/x86/include/asm/syscall_wrapper.h`], [`arch/arm64/include/asm/syscall_wrapper.h`]
//!
//! [`arch/x86/include/asm/syscall_wrapper.h`]: srctree/arch/x86/include/asm/syscall_wrapper.h
//! [`arch/arm64/include/asm/syscall_wrapper.h`]: srctree/arch/arm64/include/asm/syscall_wrapper.h

use bindings::ffi::c_ulong;
use bindings::pt_regs;

/// Arguments of a system call, at indexes 0 to 5. Only the lower half of an `int` argument is defined.
///
/// # Safety
/// `registers` is the argument of a running wrapper of a 64-bit system call.
///
/// # Examples
/// ```ignore
/// unsafe extern "C" fn sys_getpriority(regs: *const pt_regs) -> c_long {
///     // SAFETY: `regs` is the argument of this wrapper.
///     let which = unsafe { syscall::arguments(regs) }[0] as c_int;
///     /* ... */
/// }
/// ```
pub unsafe fn arguments(registers: *const pt_regs) -> [c_ulong; 6] {
    // SAFETY: `registers` is valid for reads (contract of this function), and nothing writes it while the wrapper
    // runs.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let registers = &*registers;
        [registers.di, registers.si, registers.dx, registers.r10, registers.r8, registers.r9]
            .map(|value| value as c_ulong)
    }
    // SAFETY: `registers` is valid for reads (contract of this function), and nothing writes it while the wrapper
    // runs. All members of the union are plain numbers, so each of them is valid.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        let all = (*registers).__bindgen_anon_1.user_regs.regs;
        [all[0], all[1], all[2], all[3], all[4], all[5]].map(|value| value as c_ulong)
    }
}
