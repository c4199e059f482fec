// SPDX-License-Identifier: GPL-2.0-or-later
//! Start of a function's own code behind its ftrace site.
//!
//! The compiler starts a traceable function with an optional landing pad and the site: on x86_64 `call __fentry__` or a five-byte
//! nop, on arm64 two nops. The kernel changes the site at runtime, and never what follows it.

use klp_format::ftrace::{BTI_C, ENDBR64, NOP5};

use crate::elf::u32_at;

/// First byte of a call with a relative destination.
const CALL: u8 = 0xe8;
/// arm64: one instruction of a site that is not traced.
const NOP: u32 = 0xd503_201f;

/// Longest code that [`of_code`] reads, in bytes.
pub(crate) const LONGEST: u64 = 12;

/// Offset of the own code of the function that starts with `code`, in bytes. `None` for any other form.
pub(crate) fn of_code(code: &[u8]) -> Option<u8> {
    x86_64(code).or_else(|| arm64(code))
}

fn x86_64(code: &[u8]) -> Option<u8> {
    let pad = if code.starts_with(&ENDBR64) { ENDBR64.len() } else { 0 };
    let site = code.get(pad..pad + NOP5.len())?;
    let is_site = site[0] == CALL || *site == NOP5;
    is_site.then(|| (pad + NOP5.len()) as u8)
}

fn arm64(code: &[u8]) -> Option<u8> {
    let pad = if u32_at(code, 0)? == BTI_C { 4 } else { 0 };
    let is_site = u32_at(code, pad)? == NOP && u32_at(code, pad + 4)? == NOP;
    is_site.then(|| (pad + 8) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_forms_have_an_offset_and_others_have_none() {
        let x86 = |pad: &[u8], site: &[u8]| of_code(&[pad, site, &[0x55; 12]].concat());
        assert_eq!(x86(&ENDBR64, &[CALL, 1, 2, 3, 4]), Some(9));
        assert_eq!(x86(&[], &[CALL, 1, 2, 3, 4]), Some(5));
        assert_eq!(x86(&ENDBR64, &NOP5), Some(9));
        assert_eq!(x86(&ENDBR64, &[0xe9, 1, 2, 3, 4]), None);
        assert_eq!(x86(&[0x90], &NOP5), None);
        assert_eq!(of_code(&ENDBR64), None);
        let arm64 =
            |words: &[u32]| of_code(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        assert_eq!(arm64(&[BTI_C, NOP, NOP]), Some(12));
        assert_eq!(arm64(&[NOP, NOP, 0]), Some(8));
        assert_eq!(arm64(&[BTI_C, NOP, 0xd503_233f]), None);
        assert_eq!(arm64(&[BTI_C, NOP]), None);
    }
}
