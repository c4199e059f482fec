// SPDX-License-Identifier: GPL-2.0-only
//! Files that are written by a `show` function.
//!
//! C header: `include/linux/seq_file.h`

use ::core::ffi::CStr;
use ::core::fmt;
use ::core::marker::PhantomData;

use bindings::ffi::c_int;
use bindings::seq_file;

/// An open sequence file, for as long as its `show` function runs.
///
/// # Invariants
/// The pointer is valid for `'a`, and the file's lock is held by this task.
pub struct SeqFile<'a> {
    file: *mut seq_file,
    lifetime: PhantomData<&'a mut seq_file>,
}

impl<'a> SeqFile<'a> {
    /// The file that a `show` function was given.
    ///
    /// # Safety
    /// `file` must be the first argument of a running `show` function, and `'a` must not outlive its call.
    pub unsafe fn from_ptr(file: *mut seq_file) -> Self {
        Self { file, lifetime: PhantomData }
    }

    /// Appends bytes. What does not fit is noted in the file: the core then calls `show` again with more room.
    pub fn write(&mut self, bytes: &[u8]) {
        // SAFETY: by the type's invariants the file is valid; the bytes are of that length.
        unsafe { bindings::own::seq_write(self.file, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// Appends a text: 0, which is what a `show` function returns.
    pub fn puts(&mut self, text: &CStr) -> c_int {
        self.write(text.to_bytes());
        0
    }
}

impl fmt::Write for SeqFile<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}
