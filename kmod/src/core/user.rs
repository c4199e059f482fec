// SPDX-License-Identifier: GPL-2.0-only
//! User memory: copies by type and by slice, and single values, with the checks that the kernel's C code makes.
//!
//! Every function checks the user address and fails with `EFAULT` if a byte cannot be copied. Every function may sleep, as in C.
//! `size` is a constant in C code that copies a value of a type, and no constant in C code that copies an array: only the second
//! form checks the kernel's memory (hardened usercopy). The functions of this module check in the same cases.
//!
//! C header: [`include/linux/uaccess.h`]
//!
//! [`include/linux/uaccess.h`]: srctree/include/linux/uaccess.h

#![allow(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "user addresses, which the kernel checks and Rust never dereferences"
)]

use ::core::mem::MaybeUninit;

use bindings::ffi::{c_int, c_ulong, c_void};

use super::errno::{Errno, to_result};

// C functions in `kmod/shims/user.c`. The pipeline compiles this file into a module that calls one of them.
unsafe extern "C" {
    fn klp_shim_user_copy_to(to: *mut c_void, from: *const c_void, size: c_ulong) -> c_ulong;
    fn klp_shim_user_copy_from(to: *mut c_void, from: *const c_void, size: c_ulong) -> c_ulong;
    fn klp_shim_user_check(memory: *const c_void, size: c_ulong, to_user: bool);
}

/// `EFAULT` if bytes were left.
fn copied(left: c_ulong) -> Result<(), Errno> {
    if left == 0 { Ok(()) } else { Err(Errno::new(bindings::EFAULT as c_int)) }
}

/// Reads a value from user memory: `copy_from_user()` of a type.
///
/// # Safety
/// Any bytes are a valid value of the type: integers, C structs of them, and pointers that are used as user addresses.
///
/// # Errors
/// `EFAULT`: a byte could not be read.
///
/// # Examples
/// ```ignore
/// // SAFETY: `timespec64` has only integers.
/// let time = unsafe { user::read::<timespec64>(address) }?;
/// ```
pub unsafe fn read<T: Copy>(from: *const T) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: `value` is as large as the size, and the function checks the user address.
    copied(unsafe { klp_shim_user_copy_from(value.as_mut_ptr().cast(), from.cast(), size_of::<T>()) })?;
    // SAFETY: all bytes were copied, and any bytes are a valid value (contract of this function).
    Ok(unsafe { value.assume_init() })
}

/// Writes a value to user memory: `copy_to_user()` of a type.
///
/// # Safety
/// Every byte of the value is initialised, padding between members included: user space sees it. A struct with padding is made
/// from zeroes (`core::mem::zeroed()`) and changed in place.
///
/// # Errors
/// `EFAULT`: a byte could not be written. Bytes before it may be written.
///
/// # Examples
/// ```ignore
/// // SAFETY: an integer has no padding.
/// unsafe { user::write(address, &count) }?;
/// ```
pub unsafe fn write<T: Copy>(to: *mut T, value: &T) -> Result<(), Errno> {
    // SAFETY: `value` is as large as the size and initialised (contract of this function); the function checks the user address.
    copied(unsafe { klp_shim_user_copy_to(to.cast(), (&raw const *value).cast(), size_of::<T>()) })
}

/// Reads bytes from user memory: `copy_from_user()` of a size that is no constant.
///
/// # Errors
/// `EFAULT`: a byte could not be read; the bytes from there are zero.
pub fn copy_from(to: &mut [u8], from: *const c_void) -> Result<(), Errno> {
    // SAFETY: the memory is valid for writes of its length; the second function checks the user address.
    copied(unsafe {
        klp_shim_user_check(to.as_ptr().cast(), to.len(), false);
        klp_shim_user_copy_from(to.as_mut_ptr().cast(), from, to.len())
    })
}

/// Writes bytes to user memory: `copy_to_user()` of a size that is no constant.
///
/// # Errors
/// `EFAULT`: a byte could not be written. Bytes before it may be written.
pub fn copy_to(to: *mut c_void, from: &[u8]) -> Result<(), Errno> {
    // SAFETY: the memory is valid for reads of its length; the second function checks the user address.
    copied(unsafe {
        klp_shim_user_check(from.as_ptr().cast(), from.len(), true);
        klp_shim_user_copy_to(to, from.as_ptr().cast(), from.len())
    })
}

/// Reads an integer or a pointer in one access: `get_user()`.
///
/// # Errors
/// `EFAULT`: the address cannot be read.
pub fn get<T: Word>(from: *const T) -> Result<T, Errno> {
    T::get(from)
}

/// Writes an integer or a pointer in one access: `put_user()`.
///
/// # Errors
/// `EFAULT`: the address cannot be written.
pub fn put<T: Word>(to: *mut T, value: T) -> Result<(), Errno> {
    T::put(to, value)
}

/// Integers and pointers: the types of `get_user()` and `put_user()`.
pub trait Word: Copy {
    /// Reads a value.
    #[doc(hidden)]
    fn get(from: *const Self) -> Result<Self, Errno>;
    /// Writes a value.
    #[doc(hidden)]
    fn put(to: *mut Self, value: Self) -> Result<(), Errno>;
}

/// `Word` of unsigned integers by C functions, and of the integers of the same size.
macro_rules! words {
    ($($unsigned:ty, $get:ident, $put:ident, [$($other:ty),*];)*) => {$(
        unsafe extern "C" {
            fn $get(value: *mut $unsigned, from: *const $unsigned) -> c_int;
            fn $put(value: $unsigned, to: *mut $unsigned) -> c_int;
        }

        impl Word for $unsigned {
            fn get(from: *const Self) -> Result<Self, Errno> {
                let mut value = 0;
                // SAFETY: `value` is valid; the function checks the user address.
                to_result(unsafe { $get(&raw mut value, from) }).map(|_| value)
            }

            fn put(to: *mut Self, value: Self) -> Result<(), Errno> {
                // SAFETY: the function checks the user address.
                to_result(unsafe { $put(value, to) }).map(|_| ())
            }
        }

        $(impl Word for $other {
            fn get(from: *const Self) -> Result<Self, Errno> {
                <$unsigned as Word>::get(from.cast()).map(|value| value as Self)
            }

            fn put(to: *mut Self, value: Self) -> Result<(), Errno> {
                <$unsigned as Word>::put(to.cast(), value as $unsigned)
            }
        })*
    )*};
}

words! {
    u8, klp_shim_user_get_8, klp_shim_user_put_8, [i8];
    u16, klp_shim_user_get_16, klp_shim_user_put_16, [i16];
    u32, klp_shim_user_get_32, klp_shim_user_put_32, [i32];
    u64, klp_shim_user_get_64, klp_shim_user_put_64, [i64, usize, isize];
}

impl<T> Word for *mut T {
    fn get(from: *const Self) -> Result<Self, Errno> {
        usize::get(from.cast()).map(::core::ptr::without_provenance_mut)
    }

    fn put(to: *mut Self, value: Self) -> Result<(), Errno> {
        usize::put(to.cast(), value.addr())
    }
}

impl<T> Word for *const T {
    fn get(from: *const Self) -> Result<Self, Errno> {
        usize::get(from.cast()).map(::core::ptr::without_provenance)
    }

    fn put(to: *mut Self, value: Self) -> Result<(), Errno> {
        usize::put(to.cast(), value.addr())
    }
}
