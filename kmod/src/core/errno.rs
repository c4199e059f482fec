// SPDX-License-Identifier: GPL-2.0-only
//! Error numbers. The constants (`EINVAL`, `ENOMEM`, ...) come with the bindings and are positive, as in C.
//!
//! C header: [`include/uapi/asm-generic/errno-base.h`]
//!
//! [`include/uapi/asm-generic/errno-base.h`]: srctree/include/uapi/asm-generic/errno-base.h

use bindings::ffi::c_int;

/// Kernel error number.
///
/// # Invariants
/// The number is between 1 and 4095 (`MAX_ERRNO`).
///
/// # Examples
/// ```ignore
/// if left > 0 {
///     return Err(Errno::new(EFAULT));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(c_int);

impl Errno {
    /// Error from a positive number, such as the constant `EINVAL`. A number out of range becomes `EINVAL`.
    pub const fn new(number: c_int) -> Self {
        if number >= 1 && number <= 4095 { Self(number) } else { Self(bindings::EINVAL as c_int) }
    }

    /// Negative number, as kernel functions return it.
    pub const fn to_ret(self) -> c_int {
        self.0.wrapping_neg()
    }
}

/// Converts the return value of a kernel function: a negative number is an error.
pub const fn to_result(ret: c_int) -> Result<c_int, Errno> {
    if ret < 0 { Err(Errno::new(ret.wrapping_neg())) } else { Ok(ret) }
}

/// Error as a pointer, as kernel functions return it: `ERR_PTR()` of [`include/linux/err.h`].
///
/// [`include/linux/err.h`]: srctree/include/linux/err.h
pub const fn err_ptr<T>(error: Errno) -> *mut T {
    ::core::ptr::without_provenance_mut((error.to_ret() as isize).cast_unsigned())
}

/// Converts a pointer that a kernel function returned: `IS_ERR()` and `PTR_ERR()`. A null pointer is no error.
///
/// # Errors
/// The pointer is an error number.
///
/// # Examples
/// ```ignore
/// // SAFETY: the name ends with NUL.
/// let file = ptr_to_result(unsafe { filp_open(name.as_ptr().cast(), O_RDONLY as c_int, 0) })?;
/// ```
pub fn ptr_to_result<T>(pointer: *mut T) -> Result<*mut T, Errno> {
    match pointer.addr().cast_signed() {
        number @ -4095..=-1 => Err(Errno::new((number as c_int).wrapping_neg())),
        _ => Ok(pointer),
    }
}
