// SPDX-License-Identifier: GPL-2.0-only
//! The kernel log.
//!
//! C header: `include/linux/printk.h`

use ::core::fmt::{self, Write};

/// Bytes of one message, as the kernel itself limits them (`PRINTKRB_RECORD_MAX` is 1024): what is longer is cut.
const LENGTH: usize = 512;

/// A message on the stack. Nothing is allocated, so that it can be printed from anywhere.
struct Message {
    bytes: [u8; LENGTH],
    used: usize,
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte stays for the terminating zero.
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

/// Prints one message; `level` is one of `KERN_*` (`'3'` error, `'4'` warning, `'6'` information).
#[doc(hidden)]
#[inline(never)]
pub fn print(level: u8, text: fmt::Arguments<'_>) {
    let mut message = Message { bytes: [0; LENGTH], used: 0 };
    // Writing cuts; it does not fail.
    let _ = message.write_fmt(text);
    // KERN_SOH, the level, and the text as a string.
    let format = [1, level, b'%', b's', b'\n', 0];
    // SAFETY: both are terminated by a zero, and the format asks for one string.
    unsafe { bindings::own::_printk(format.as_ptr().cast(), message.bytes.as_ptr()) };
}

/// Prints an error to the kernel log.
#[macro_export]
macro_rules! pr_err {
    ($($arg:tt)*) => { $crate::sys::print::print(b'3', ::core::format_args!($($arg)*)) };
}

/// Prints a warning to the kernel log.
#[macro_export]
macro_rules! pr_warn {
    ($($arg:tt)*) => { $crate::sys::print::print(b'4', ::core::format_args!($($arg)*)) };
}

/// Prints information to the kernel log.
#[macro_export]
macro_rules! pr_info {
    ($($arg:tt)*) => { $crate::sys::print::print(b'6', ::core::format_args!($($arg)*)) };
}
