// SPDX-License-Identifier: GPL-2.0-only
//! Error numbers. The constants (`EINVAL`, `ENOMEM`, ...) come with the bindings, positive as in C.
//!
//! C header: `include/uapi/asm-generic/errno-base.h`

use bindings::ffi::c_int;

/// An error that the kernel gave, or that is given to it.
///
/// # Invariants
/// The number lies between 1 and 4095 (`MAX_ERRNO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(c_int);

impl Errno {
    /// The error of a positive number, as the constants have it; a number out of range becomes `EINVAL`.
    pub const fn new(number: c_int) -> Self {
        if number >= 1 && number <= 4095 { Self(number) } else { Self(bindings::EINVAL as c_int) }
    }

    /// The negative number that kernel functions return.
    pub const fn to_ret(self) -> c_int {
        -self.0
    }
}

/// What a kernel function returned, as a result: negative numbers are errors.
pub const fn to_result(ret: c_int) -> Result<c_int, Errno> {
    if ret < 0 { Err(Errno::new(ret.wrapping_neg())) } else { Ok(ret) }
}
