// SPDX-License-Identifier: GPL-2.0-only
//! Accesses to memory that other CPUs change at the same time, and memory barriers.
//!
//! Source of the rules: [`Documentation/memory-barriers.txt`].
//!
//! C headers: [`include/asm-generic/rwonce.h`], [`include/asm-generic/barrier.h`]
//!
//! [`Documentation/memory-barriers.txt`]: srctree/Documentation/memory-barriers.txt
//! [`include/asm-generic/rwonce.h`]: srctree/include/asm-generic/rwonce.h
//! [`include/asm-generic/barrier.h`]: srctree/include/asm-generic/barrier.h

use ::core::sync::atomic::{Ordering, fence};

/// True for the sizes that a CPU reads or writes in one access.
const fn is_word(size: usize) -> bool {
    matches!(size, 1 | 2 | 4 | 8)
}

/// Reads a value in one access: `READ_ONCE()`. A type of another size than 1, 2, 4 or 8 bytes does not compile.
///
/// # Safety
/// `from` is valid and aligned, and holds a value of the type whenever it is read.
///
/// # Examples
/// ```ignore
/// // SAFETY: the variable exists as long as the kernel.
/// let limit = unsafe { read_once(&raw const sysctl_limit) };
/// ```
pub unsafe fn read_once<T: Copy>(from: *const T) -> T {
    const { assert!(is_word(size_of::<T>()), "read_once: the type is not read in one access") };
    // SAFETY: contract of this function. A volatile access of this size is one instruction.
    unsafe { from.read_volatile() }
}

/// Writes a value in one access: `WRITE_ONCE()`. A type of another size than 1, 2, 4 or 8 bytes does not compile.
///
/// # Safety
/// `to` is valid and aligned, and others may read any value of the type there.
pub unsafe fn write_once<T: Copy>(to: *mut T, value: T) {
    const { assert!(is_word(size_of::<T>()), "write_once: the type is not written in one access") };
    // SAFETY: contract of this function. A volatile access of this size is one instruction.
    unsafe { to.write_volatile(value) };
}

/// Orders all accesses before it with all accesses after it: `smp_mb()`.
#[inline(always)]
pub fn smp_mb() {
    fence(Ordering::SeqCst);
}

/// Orders reads before it with reads after it: at least `smp_rmb()`.
#[inline(always)]
pub fn smp_rmb() {
    fence(Ordering::Acquire);
}

/// Orders writes before it with writes after it: at least `smp_wmb()`.
#[inline(always)]
pub fn smp_wmb() {
    fence(Ordering::Release);
}
