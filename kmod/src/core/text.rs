// SPDX-License-Identifier: GPL-2.0-only
//! C strings. Rust's `c"..."` points to Rust's `c_char`, the kernel's functions take the kernel's; signs differ between both.

use ::core::ffi::CStr;

use bindings::ffi::c_char;

/// Pointers of C strings for kernel functions.
pub trait CText {
    /// Pointer that kernel functions take. It is valid as long as the text.
    ///
    /// # Examples
    /// ```ignore
    /// // SAFETY: both names end with NUL.
    /// let same = unsafe { strcmp(name, c"eth0".as_char_ptr()) } == 0;
    /// ```
    fn as_char_ptr(&self) -> *const c_char;
}

impl CText for CStr {
    fn as_char_ptr(&self) -> *const c_char {
        self.as_ptr().cast()
    }
}

/// Text behind a pointer of the kernel.
///
/// # Safety
/// `text` ends with NUL, and neither changes nor is freed during `'a`.
///
/// # Examples
/// ```ignore
/// // SAFETY: the name of a file system type is constant.
/// let is_proc = unsafe { text((*kind).name) } == c"proc";
/// ```
pub unsafe fn text<'a>(text: *const c_char) -> &'a CStr {
    // SAFETY: contract of this function.
    unsafe { CStr::from_ptr(text.cast()) }
}
