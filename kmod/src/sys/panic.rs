// SPDX-License-Identifier: GPL-2.0-only
//! Panic handler: prints a message, then executes an invalid instruction. The kernel reports an oops and kills the
//! task without releasing its locks, so a fix must not panic.

use ::core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::sys::print::print(b'0', format_args!("klp: {info}"));
    // SAFETY: `ud2` accesses no memory and raises #UD; the kernel never resumes after it, so `noreturn` holds.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        ::core::arch::asm!("ud2", options(noreturn))
    }
    // SAFETY: `brk` accesses no memory and raises a debug exception with the immediate of `BUG()`; the kernel never
    // resumes after it, so `noreturn` holds.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        ::core::arch::asm!("brk 0x800", options(noreturn))
    }
}
