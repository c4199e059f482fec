// SPDX-License-Identifier: GPL-2.0-only
//! Arguments of messages as texts, without `core::fmt`: integers, `bool`, `str`, and references to these.

use ::core::marker::PhantomData;

use bindings::ffi::{c_char, c_int};

/// Maximum length of one argument, in bytes: the limit of a message (`PRINTKRB_RECORD_MAX`). The kernel warns of a
/// precision above 32767.
const LONGEST: usize = 1024;

/// Text of one argument, for the conversion `%.*s`.
///
/// # Invariants
/// `length` bytes at `pointer` can be read during `'a`.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Text<'a> {
    length: c_int,
    pointer: *const c_char,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Text<'a> {
    /// Text of some bytes.
    #[inline]
    fn new(bytes: &'a [u8]) -> Self {
        // The kernel prints an error instead of a text at an address below the first page, and an empty slice may be there.
        let bytes = if bytes.is_empty() { b"\0".get(..0).unwrap_or(bytes) } else { bytes };
        let length = if bytes.len() < LONGEST { bytes.len() } else { LONGEST };
        Self { length: length as c_int, pointer: bytes.as_ptr().cast(), bytes: PhantomData }
    }

    /// Length in bytes: the precision of the conversion.
    #[inline]
    pub const fn length(self) -> c_int {
        self.length
    }

    /// First byte.
    #[inline]
    pub const fn as_ptr(self) -> *const c_char {
        self.pointer
    }
}

/// Buffer of one argument: `u64::MAX` has 20 digits, `i64::MIN` has 19 and the sign.
#[doc(hidden)]
pub struct Digits([u8; 20]);

impl Digits {
    /// Buffer before its number.
    #[inline]
    #[expect(clippy::new_without_default, reason = "only the message macros use it")]
    pub const fn new() -> Self {
        Self([0; 20])
    }

    /// Decimal digits of a number, with its sign.
    #[inline(never)]
    fn decimal(&mut self, mut number: u64, is_negative: bool) -> &[u8] {
        let mut first = self.0.len();
        let mut places = self.0.iter_mut().enumerate().rev();
        for (place, digit) in places.by_ref() {
            first = place;
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        if is_negative && let Some((place, sign)) = places.next() {
            first = place;
            *sign = b'-';
        }
        self.0.get(first..).unwrap_or_default()
    }

    /// Hexadecimal digits of a number.
    #[inline(never)]
    fn hexadecimal(&mut self, mut number: u64) -> &[u8] {
        let mut first = self.0.len();
        for (place, digit) in self.0.iter_mut().enumerate().rev() {
            first = place;
            let value = (number % 16) as u8;
            *digit = if value < 10 { b'0' + value } else { b'a' - 10 + value };
            number /= 16;
            if number == 0 {
                break;
            }
        }
        self.0.get(first..).unwrap_or_default()
    }
}

/// Type that messages print without `core::fmt`, as `Display` and `LowerHex` print it.
#[doc(hidden)]
pub trait Plain {
    /// Text of the value.
    fn text<'a>(&'a self, is_hex: bool, digits: &'a mut Digits) -> Text<'a>;
}

macro_rules! integers {
    ($($integer:ty as $unsigned:ty),*) => {
        $(impl Plain for $integer {
            #[inline]
            fn text<'a>(&'a self, is_hex: bool, digits: &'a mut Digits) -> Text<'a> {
                let bits = *self as $unsigned as u64;
                #[allow(unused_comparisons, reason = "for the unsigned types")]
                let is_negative = *self < 0;
                Text::new(match (is_hex, is_negative) {
                    (true, _) => digits.hexadecimal(bits),
                    (false, false) => digits.decimal(bits, false),
                    (false, true) => digits.decimal((*self as i64).unsigned_abs(), true),
                })
            }
        })*
    };
}

integers!(i8 as u8, i16 as u16, i32 as u32, i64 as u64, isize as usize);
integers!(u8 as u8, u16 as u16, u32 as u32, u64 as u64, usize as usize);

impl Plain for bool {
    #[inline]
    fn text<'a>(&'a self, _is_hex: bool, _digits: &'a mut Digits) -> Text<'a> {
        Text::new(if *self { b"true" } else { b"false" })
    }
}

impl Plain for str {
    #[inline]
    fn text<'a>(&'a self, _is_hex: bool, _digits: &'a mut Digits) -> Text<'a> {
        Text::new(self.as_bytes())
    }
}

impl<T: Plain + ?Sized> Plain for &T {
    #[inline]
    fn text<'a>(&'a self, is_hex: bool, digits: &'a mut Digits) -> Text<'a> {
        (**self).text(is_hex, digits)
    }
}

/// Argument of a message. A method call on a reference to it takes [`ByPlain`] where the type is [`Plain`], else
/// [`ByFmt`], which needs one reference more.
#[doc(hidden)]
pub struct Argument<'a, T: ?Sized>(pub &'a T);

/// Methods of arguments without `core::fmt`.
#[doc(hidden)]
pub trait ByPlain {
    /// True: the argument has a text.
    fn klp_is_plain(&self) -> bool;
    /// Text of the argument.
    fn klp_text<'a>(&'a self, is_hex: bool, digits: &'a mut Digits) -> Text<'a>;
}

impl<T: Plain + ?Sized> ByPlain for Argument<'_, T> {
    #[inline(always)]
    fn klp_is_plain(&self) -> bool {
        true
    }

    #[inline(always)]
    fn klp_text<'a>(&'a self, is_hex: bool, digits: &'a mut Digits) -> Text<'a> {
        self.0.text(is_hex, digits)
    }
}

/// Methods of arguments of all other types, which `core::fmt` prints.
#[doc(hidden)]
pub trait ByFmt {
    /// False: the argument has no text.
    fn klp_is_plain(&self) -> bool;
    /// Empty text; the message is printed in another way.
    fn klp_text<'a>(&'a self, is_hex: bool, digits: &'a mut Digits) -> Text<'a>;
}

impl<T: ?Sized> ByFmt for &Argument<'_, T> {
    #[inline(always)]
    fn klp_is_plain(&self) -> bool {
        false
    }

    #[inline(always)]
    fn klp_text<'a>(&'a self, _is_hex: bool, _digits: &'a mut Digits) -> Text<'a> {
        Text::new(b"")
    }
}
