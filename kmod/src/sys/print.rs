// SPDX-License-Identifier: GPL-2.0-only
//! Messages to the kernel log.
//!
//! A message of text, `{}`, `{:x}` and `{:#x}` whose arguments are integers, `bool` and text is one call of `_printk()`: the
//! compiler makes its format (module [`format`](self::format)), in which every argument is a text (`%.*s`). Every other message
//! goes through `core::fmt`, which adds about two kilobytes of code to a module.
//!
//! C header: [`include/linux/printk.h`]
//!
//! [`include/linux/printk.h`]: srctree/include/linux/printk.h

pub mod format;
pub mod plain;

use ::core::fmt::{self, Write};

use self::format::Format;
use self::plain::Text;

/// Maximum length of one message through `core::fmt`, in bytes; longer text is truncated. The kernel's own limit is 1024
/// (`PRINTKRB_RECORD_MAX`).
const LENGTH: usize = 512;

/// Maximum number of arguments of a message without `core::fmt`.
#[doc(hidden)]
pub const ARGUMENTS: usize = 6;

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
    let _ = fmt::write(&mut message, text);
    // `KERN_SOH`, the level, and `%s` for the text.
    let format = [1, level, b'%', b's', b'\n', 0];
    // SAFETY:
    // - `format` ends with NUL and has one conversion, `%s`.
    // - `message.bytes` is the argument of `%s`; it ends with NUL because `write_str` never writes the last byte.
    // - Both arrays live until the call returns; `_printk()` copies the text and may be called in any context.
    unsafe { bindings::own::_printk(format.as_ptr().cast(), message.bytes.as_ptr()) };
}

/// Prints one message without `core::fmt`.
#[doc(hidden)]
#[inline(always)]
pub fn send<const BYTES: usize, const COUNT: usize>(
    format: &'static Format<BYTES, COUNT>,
    texts: [Text<'_>; COUNT],
) {
    let to = format.as_ptr();
    macro_rules! call {
        ($($text:ident)*) => {
            // SAFETY:
            // - The format ends with NUL and has at most `COUNT` conversions, all of them `%.*s`.
            // - Each `Text` is the length and the pointer of one of them; it is valid until the call returns.
            // - `_printk()` copies the text and may be called in any context.
            unsafe { bindings::own::_printk(to $(, $text.length(), $text.as_ptr())*) }
        };
    }
    // `COUNT` is a constant, so one arm is left.
    match *texts.as_slice() {
        [] => call!(),
        [a] => call!(a),
        [a, b] => call!(a b),
        [a, b, c] => call!(a b c),
        [a, b, c, d] => call!(a b c d),
        [a, b, c, d, e] => call!(a b c d e),
        [a, b, c, d, e, f, ..] => call!(a b c d e f),
    };
}

/// Prints an error to the kernel log, with the syntax of `format_args!`.
#[macro_export]
macro_rules! pr_err {
    ($($arg:tt)*) => { $crate::__print!(b'3', $($arg)*) };
}

/// Prints a warning to the kernel log, with the syntax of `format_args!`.
#[macro_export]
macro_rules! pr_warn {
    ($($arg:tt)*) => { $crate::__print!(b'4', $($arg)*) };
}

/// Prints an information message to the kernel log, with the syntax of `format_args!`.
///
/// # Examples
/// ```ignore
/// pr_info!("{} of {} bytes", used, length);
/// ```
#[macro_export]
macro_rules! pr_info {
    ($($arg:tt)*) => { $crate::__print!(b'6', $($arg)*) };
}

/// Prints a message at a level: without `core::fmt` where format and arguments allow that.
///
/// The rules `@` collect the arguments: each level of the recursion has its own names (hygiene of `macro_rules!`).
#[doc(hidden)]
#[macro_export]
macro_rules! __print {
    ($level:literal, $format:literal $(,)?) => {
        $crate::__print!(@ $level, $format, ($format), 0, [])
    };
    ($level:literal, $format:literal, $($arguments:tt)+) => {
        $crate::__print!(@ $level, $format, ($format, $($arguments)+), 0, [] $($arguments)+)
    };
    ($level:literal, $($all:tt)*) => {
        $crate::sys::print::print($level, ::core::format_args!($($all)*))
    };
    // An argument with a name.
    (@ $level:literal, $format:literal, ($($all:tt)*), $number:expr, [$($before:tt)*] $name:ident = $($rest:tt)*) => {
        $crate::sys::print::print($level, ::core::format_args!($($all)*))
    };
    (@ $level:literal, $format:literal, ($($all:tt)*), $number:expr, [$($before:tt)*] $value:expr) => {
        $crate::__print!(@ $level, $format, ($($all)*), $number, [$($before)*] $value,)
    };
    (@ $level:literal, $format:literal, ($($all:tt)*), $number:expr, [$($before:tt)*] $value:expr, $($rest:tt)*) => {
        match $crate::sys::print::plain::Argument(&$value) {
            value => {
                let mut digits = $crate::sys::print::plain::Digits::new();
                $crate::__print!(
                    @ $level, $format, ($($all)*), $number + 1, [$($before)* (value digits $number)] $($rest)*
                )
            }
        }
    };
    (@ $level:literal, $format:literal, ($($all:tt)*), $count:expr,
        [$(($value:ident $digits:ident $number:expr))*]) => {{
        use $crate::sys::print::plain::{ByFmt as _, ByPlain as _};
        const PLAN: $crate::sys::print::format::Plan = $crate::sys::print::format::Plan::of($format, $count);
        static FORMAT: $crate::sys::print::format::Format<{ PLAN.bytes() }, { $count }> = PLAN.format($level, $format);
        if PLAN.is_plain() $(&& (&$value).klp_is_plain())* {
            $crate::sys::print::send(
                &FORMAT,
                [$((&$value).klp_text(const { PLAN.is_hex($number) }, &mut $digits)),*],
            );
        } else {
            $crate::sys::print::print($level, ::core::format_args!($($all)*));
        }
    }};
}
