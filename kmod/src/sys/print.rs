// SPDX-License-Identifier: GPL-2.0-only
//! Messages to the kernel log.
//!
//! C header: [`include/linux/printk.h`]
//!
//! [`include/linux/printk.h`]: srctree/include/linux/printk.h

use ::core::fmt::{self, Write};

/// Maximum length of one message, in bytes; longer text is truncated. The kernel's own limit is 1024
/// (`PRINTKRB_RECORD_MAX`).
const LENGTH: usize = 512;

/// Message buffer on the stack: printing allocates nothing, so it works in any context.
struct Message {
    bytes: [u8; LENGTH],
    used: usize,
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The last byte is the terminating NUL.
        let room = LENGTH - 1 - self.used;
        let length = if text.len() < room { text.len() } else { room };
        if let (Some(to), Some(from)) =
            (self.bytes.get_mut(self.used..self.used + length), text.as_bytes().get(..length))
        {
            to.copy_from_slice(from);
            self.used += length;
        }
        Ok(())
    }
}

/// Prints one message; `level` is the digit of a `KERN_*` level (`'3'` error, `'4'` warning, `'6'` information).
#[doc(hidden)]
#[inline(never)]
pub fn print(level: u8, text: fmt::Arguments<'_>) {
    let mut message = Message { bytes: [0; LENGTH], used: 0 };
    // Long text is truncated; formatting itself does not fail.
    let _ = message.write_fmt(text);
    // `KERN_SOH`, the level, and `%s` for the text.
    let format = [1, level, b'%', b's', b'\n', 0];
    // SAFETY:
    // - `format` ends with NUL and has one conversion, `%s`.
    // - `message.bytes` is the argument of `%s`; it ends with NUL because `write_str` never writes the last byte.
    // - Both arrays live until the call returns; `_printk()` copies the text and may be called in any context.
    unsafe { bindings::own::_printk(format.as_ptr().cast(), message.bytes.as_ptr()) };
}

/// Prints an error to the kernel log, with the syntax of `format_args!`.
#[macro_export]
macro_rules! pr_err {
    ($($arg:tt)*) => { $crate::sys::print::print(b'3', ::core::format_args!($($arg)*)) };
}

/// Prints a warning to the kernel log, with the syntax of `format_args!`.
#[macro_export]
macro_rules! pr_warn {
    ($($arg:tt)*) => { $crate::sys::print::print(b'4', ::core::format_args!($($arg)*)) };
}

/// Prints an information message to the kernel log, with the syntax of `format_args!`.
#[macro_export]
macro_rules! pr_info {
    ($($arg:tt)*) => { $crate::sys::print::print(b'6', ::core::format_args!($($arg)*)) };
}
