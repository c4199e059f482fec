// SPDX-License-Identifier: GPL-2.0-only
//! Calls of a module's functions: `klp_around_many` is not called for the byte 8, and its result is changed; the result of
//! `klp_around_plain` is doubled.
#![no_std]

use klp::prelude::*;
use replaced::original;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_around for Patch {
    unsafe extern "C" fn klp_around_many(
        quad: klp_around_quad,
        byte: u8_,
        flag: bool_,
        pair: klp_around_pair,
        word: s32,
        first: u64_,
        half: s16,
        letters: *const c_char,
        second: s64,
        third: u32_,
        wide: u128,
    ) -> klp_around_quad {
        if byte == 8 {
            return klp_around_quad { a: 1, b: 2, c: 3, d: 4 };
        }
        // SAFETY: the arguments are those of the replacement.
        let result = unsafe {
            original::klp_around::klp_around_many(
                quad, byte, flag, pair, word, first, half, letters, second, third, wide,
            )
        };
        klp_around_quad { a: result.a.wrapping_add(1), ..result }
    }

    unsafe extern "C" fn klp_around_plain(value: c_ulong) -> c_ulong {
        // SAFETY: the argument is that of the replacement.
        unsafe { original::klp_around::klp_around_plain(value) }.wrapping_mul(2)
    }
}

klp::livepatch!(Patch);
