// SPDX-License-Identifier: GPL-2.0-only
//! Warnings with the place in the author's source and the stack: `WARN_ON()` and `WARN_ON_ONCE()`.
//!
//! C header: [`include/asm-generic/bug.h`]
//!
//! [`include/asm-generic/bug.h`]: srctree/include/asm-generic/bug.h

use ::core::ffi::CStr;

use bindings::ffi::{c_char, c_int};

// C function in `kmod/shims/warn.c`. The pipeline compiles this file into a module that calls it.
unsafe extern "C" {
    fn klp_shim_warn_at(file: *const c_char, line: c_int);
}

/// Logs the place and the stack, and taints the kernel (`W`).
#[cold]
#[inline(never)]
#[doc(hidden)]
pub fn at(file: &CStr, line: u32) {
    // SAFETY: the name ends with NUL, and the kernel only reads it during the call.
    unsafe { klp_shim_warn_at(file.as_ptr().cast(), line.cast_signed()) };
}

/// Warns if the condition is true, and returns the condition: `WARN_ON()`.
///
/// # Examples
/// ```ignore
/// if warn_on!(count < 0) {
///     return -(EINVAL as c_int);
/// }
/// ```
#[macro_export]
macro_rules! warn_on {
    ($condition:expr) => {{
        let condition: bool = $condition;
        if condition {
            $crate::core::warn::at($crate::__file!(), ::core::line!());
        }
        condition
    }};
}

/// Warns if the condition is true for the first time at this place, and returns the condition: `WARN_ON_ONCE()`.
#[macro_export]
macro_rules! warn_on_once {
    ($condition:expr) => {{
        static WARNED: ::core::sync::atomic::AtomicBool = ::core::sync::atomic::AtomicBool::new(false);
        let condition: bool = $condition;
        if condition && !WARNED.swap(true, ::core::sync::atomic::Ordering::Relaxed) {
            $crate::core::warn::at($crate::__file!(), ::core::line!());
        }
        condition
    }};
}

/// Name of the source file as a C string.
#[doc(hidden)]
#[macro_export]
macro_rules! __file {
    () => {
        // The compiler evaluates this; a file name has no NUL.
        const { $crate::core::warn::c_str(::core::concat!(::core::file!(), "\0")) }
    };
}

/// C string of a text that ends with NUL.
#[doc(hidden)]
pub const fn c_str(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("the name of a source file holds NUL"),
    }
}
