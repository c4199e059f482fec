// SPDX-License-Identifier: GPL-2.0-only
//! Options of prctl that copy from one user address to another. The other options are the original's.
#![no_std]

use klp::core::{syscall, user};
use klp::prelude::*;
use replaced::original;

/// First of the options: the program of case `user-memory` has the same number.
const FIRST: c_ulong = 0x4b4c_5000;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn sys_prctl(regs: *const pt_regs) -> c_long {
        // SAFETY: `regs` is the argument of this wrapper.
        let [option, from, to, size, ..] = unsafe { syscall::arguments(regs) };
        let done = match (option.wrapping_sub(FIRST), size) {
            (0, _) => swap(from as *const timespec64, to as *mut timespec64),
            (1, 1) => next(from as *const u8, to as *mut u8),
            (1, 2) => next(from as *const u16, to as *mut u16),
            (1, 4) => next(from as *const i32, to as *mut i32),
            (1, 8) => next(from as *const u64, to as *mut u64),
            (2, _) => reverse(from as *const c_void, to as *mut c_void, size),
            (3, _) => follow(from as *const *const u32, to as *mut *const u32),
            (4, _) => user::copy_to(to as *mut c_void, code()),
            // SAFETY: the argument is that of the replacement.
            _ => return unsafe { original::vmlinux::sys_prctl(regs) },
        };
        match done {
            Ok(()) => 0,
            Err(error) => error.to_ret() as c_long,
        }
    }
}

/// Copies a struct, with its members swapped.
fn swap(from: *const timespec64, to: *mut timespec64) -> Result<(), Errno> {
    // SAFETY: the struct has two integers and no padding.
    unsafe {
        let time = user::read(from)?;
        user::write(to, &timespec64 { tv_sec: time.tv_nsec as _, tv_nsec: time.tv_sec as _ })
    }
}

/// Copies an integer, plus one.
fn next<T: user::Word + Increment>(from: *const T, to: *mut T) -> Result<(), Errno> {
    user::put(to, user::get(from)?.plus_one())
}

/// Copies up to 64 bytes in reverse order.
fn reverse(from: *const c_void, to: *mut c_void, size: usize) -> Result<(), Errno> {
    let mut bytes = [0; 64];
    let part = bytes.get_mut(..size).ok_or(Errno::new(EINVAL as c_int))?;
    user::copy_from(part, from)?;
    part.reverse();
    user::copy_to(to, part)
}

/// Copies a user address, plus one element.
fn follow(from: *const *const u32, to: *mut *const u32) -> Result<(), Errno> {
    user::put(to, user::get(from)?.wrapping_add(1))
}

/// Code of the kernel, which hardened usercopy does not let go.
fn code() -> &'static [u8] {
    // SAFETY: the kernel's code stays where it is, and its first 16 bytes are mapped.
    unsafe { core::slice::from_raw_parts(_printk as *const u8, 16) }
}

trait Increment {
    fn plus_one(self) -> Self;
}

macro_rules! increment {
    ($($integer:ty),*) => {$(
        impl Increment for $integer {
            fn plus_one(self) -> Self {
                self.wrapping_add(1)
            }
        }
    )*};
}

increment!(u8, u16, i32, u64);

klp::livepatch!(Patch);
