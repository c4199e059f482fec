// SPDX-License-Identifier: GPL-2.0-only
//! What a Rust panic comes to: a message, then an invalid instruction. The kernel makes an oops of it and kills the task,
//! with whatever locks it holds: a fix must not panic.

use ::core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::sys::print::print(b'0', format_args!("klp: {info}"));
    // SAFETY: the instruction raises #UD and does not come back.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        ::core::arch::asm!("ud2", options(noreturn))
    }
    // SAFETY: BRK raises a debug exception, which the kernel takes for a bug.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        ::core::arch::asm!("brk 0x800", options(noreturn))
    }
}
