// SPDX-License-Identifier: GPL-2.0-only
//! Formats of `_printk()`, which the compiler makes of the text of a message.

use bindings::ffi::c_char;

use super::ARGUMENTS;

/// Format of `_printk()`.
///
/// # Invariants
/// The last byte is NUL, and at most `COUNT` conversions are in it, each of which is `%.*s`.
#[doc(hidden)]
pub struct Format<const BYTES: usize, const COUNT: usize>([u8; BYTES]);

impl<const BYTES: usize, const COUNT: usize> Format<BYTES, COUNT> {
    /// First byte.
    #[inline]
    pub const fn as_ptr(&'static self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

/// Piece of a message's text.
enum Piece {
    /// One byte of text.
    Byte(u8),
    /// Argument, with the base 16 and with `0x`.
    Argument { is_hex: bool, has_prefix: bool },
    /// Braces that only `core::fmt` reads: a name, a number, another form.
    Other,
}

/// Piece at a place of the text, and the place behind it.
const fn piece(text: &[u8], at: usize) -> (Piece, usize) {
    let (byte, rest) = match text.split_at(at).1 {
        [byte, rest @ ..] => (*byte, rest),
        [] => return (Piece::Other, at + 1),
    };
    match (byte, rest) {
        (b'{', [b'{', ..]) | (b'}', [b'}', ..]) => (Piece::Byte(byte), at + 2),
        (b'{', [b'}', ..]) => (Piece::Argument { is_hex: false, has_prefix: false }, at + 2),
        (b'{', [b':', b'x', b'}', ..]) => (Piece::Argument { is_hex: true, has_prefix: false }, at + 4),
        (b'{', [b':', b'#', b'x', b'}', ..]) => (Piece::Argument { is_hex: true, has_prefix: true }, at + 5),
        (b'{' | b'}' | 0, _) => (Piece::Other, at + 1),
        _ => (Piece::Byte(byte), at + 1),
    }
}

/// What a message needs.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Plan {
    /// Length of the format without level, line feed and NUL.
    length: usize,
    /// Arguments in base 16, by their number.
    hex: [bool; ARGUMENTS],
    is_plain: bool,
}

impl Plan {
    /// Plan of a message with so many arguments.
    pub const fn of(text: &str, count: usize) -> Self {
        let text = text.as_bytes();
        let mut plan = Self { length: 0, hex: [false; ARGUMENTS], is_plain: true };
        let (mut at, mut found) = (0, 0);
        while at < text.len() {
            let (piece, next) = piece(text, at);
            at = next;
            match piece {
                Piece::Byte(b'%') => plan.length += "%%".len(),
                Piece::Byte(_) => plan.length += 1,
                Piece::Argument { is_hex, has_prefix } if found < ARGUMENTS => {
                    plan.hex[found] = is_hex;
                    found += 1;
                    plan.length += if has_prefix { "0x%.*s".len() } else { "%.*s".len() };
                }
                _ => plan.is_plain = false,
            }
        }
        // With another number of arguments, `format_args!` refuses the message.
        plan.is_plain = plan.is_plain && found == count;
        plan
    }

    /// True if the message needs no `core::fmt`, whose arguments allow that.
    #[inline]
    pub const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// True if an argument is printed in base 16.
    #[inline]
    pub const fn is_hex(&self, number: usize) -> bool {
        number < ARGUMENTS && self.hex[number]
    }

    /// Length of the format with its NUL; 1 where `core::fmt` prints the message.
    pub const fn bytes(&self) -> usize {
        // `KERN_SOH`, the level; the line feed, NUL.
        if self.is_plain { self.length + 4 } else { 1 }
    }

    /// Format of the message at a level.
    pub const fn format<const BYTES: usize, const COUNT: usize>(
        &self,
        level: u8,
        text: &str,
    ) -> Format<BYTES, COUNT> {
        let mut bytes = [0; BYTES];
        if !self.is_plain {
            return Format(bytes);
        }
        let text = text.as_bytes();
        let mut used = put(&mut bytes, 0, &[1, level]);
        let mut at = 0;
        while at < text.len() {
            let (piece, next) = piece(text, at);
            at = next;
            used = match piece {
                Piece::Byte(b'%') => put(&mut bytes, used, b"%%"),
                Piece::Byte(byte) => put(&mut bytes, used, &[byte]),
                Piece::Argument { has_prefix: true, .. } => put(&mut bytes, used, b"0x%.*s"),
                Piece::Argument { .. } => put(&mut bytes, used, b"%.*s"),
                Piece::Other => used,
            };
        }
        put(&mut bytes, used, b"\n\0");
        Format(bytes)
    }
}

/// Copies bytes to a place. Returns the place behind them.
const fn put(to: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    let mut number = 0;
    while number < bytes.len() {
        // The compiler runs this; a place out of bounds is an error of the build.
        to[at + number] = bytes[number];
        number += 1;
    }
    at + bytes.len()
}
