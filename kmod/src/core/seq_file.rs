// SPDX-License-Identifier: GPL-2.0-only
//! Sequence files: output of `show` functions.
//!
//! C header: [`include/linux/seq_file.h`]
//!
//! [`include/linux/seq_file.h`]: srctree/include/linux/seq_file.h

use ::core::ffi::CStr;
use ::core::fmt;
use ::core::marker::PhantomData;

use bindings::ffi::c_int;
use bindings::seq_file;

/// Open sequence file, for the duration of its `show` function. Implements `fmt::Write` for `write!` and
/// `writeln!`.
///
/// # Invariants
/// The pointer is valid for `'a`, and this task holds the lock of the file.
///
/// # Examples
/// ```ignore
/// unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
///     // SAFETY: `m` is the first argument of this show function, and the wrapper does not outlive the call.
///     let mut file = unsafe { SeqFile::from_ptr(m) };
///     let _ = writeln!(file, "processes: {}", count()); // never fails: on overflow the kernel repeats the call
///     file.puts(c"end\n")
/// }
/// ```
pub struct SeqFile<'a> {
    file: *mut seq_file,
    lifetime: PhantomData<&'a mut seq_file>,
}

impl<'a> SeqFile<'a> {
    /// Wraps the sequence file of a `show` function.
    ///
    /// # Safety
    /// - `file` is the first argument of a running `show` function.
    /// - `'a` does not outlive the call of that function.
    pub unsafe fn from_ptr(file: *mut seq_file) -> Self {
        // INVARIANT: the kernel calls `show` with a valid file whose lock is held, until it returns.
        Self { file, lifetime: PhantomData }
    }

    /// Appends bytes. On overflow the kernel marks the file and calls `show` again with a larger buffer.
    pub fn write(&mut self, bytes: &[u8]) {
        // SAFETY: the file is valid and locked by this task (type invariant); pointer and length come from one slice,
        // which `seq_write()` only reads.
        unsafe { bindings::own::seq_write(self.file, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// Appends text and returns 0, the return value of a `show` function.
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
