// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel's symbol table (kallsyms), found in the image by its content.
//!
//! The table has no header, and the order of its parts differs between versions (`scripts/kallsyms.c`). 6.1: offsets,
//! base, number, names, markers, sequence, tokens, token index. 6.12: number, names, markers, tokens, token index,
//! offsets, base. 7.3: like 6.12, but offsets are relative to their own address.
//!
//! The parser does not depend on the version: it searches for the tokens of the ten digits, finds the other parts from
//! there, and checks each part against another one (token index against tokens, markers against names, addresses by their
//! order and by `_stext`).

use crate::elf::{Section, Vmlinux, u16_at, u32_at, u64_at};
use crate::error::ImageError;
use crate::symbols::{Builder, Symbols};

/// Number of tokens: one for each byte value.
const TOKENS: usize = 256;
/// Number of names per marker.
const MARKER: usize = 256;
/// Minimum number of symbols of a kernel; with fewer symbols the check by markers is too weak.
const FEWEST: usize = 1024;
/// Maximum number of names visited during the search: a thousand times the need of a valid image, about one second.
const BUDGET: usize = 1 << 28;

/// Symbols of the kernel.
pub(crate) fn symbols(vmlinux: &Vmlinux<'_>) -> Result<Symbols, ImageError> {
    let missing =
        |what: &str| ImageError::Missing(format!("{what}; is the kernel built with CONFIG_KALLSYMS?"));
    let rodata = vmlinux.section(".rodata")?;
    let tokens = Tokens::find(rodata.data).ok_or_else(|| missing("table of symbols' tokens"))?;
    let names = Names::find(rodata.data, &tokens).ok_or_else(|| missing("table of symbols' names"))?;
    let texts = names.expand(rodata.data, &tokens)?;
    let anchor = texts.iter().position(|(kind, name)| kind == 'T' && name == "_stext");
    let anchor = anchor.ok_or_else(|| missing("symbol _stext"))?;
    let is_text = |address| vmlinux.section_at(address).is_some_and(|section| section.executable);
    let fits = |addresses: &Vec<u64>| {
        addresses.is_sorted() && addresses.get(anchor).is_some_and(|address| is_text(*address))
    };
    let addresses = candidates(rodata, &tokens, &names).into_iter().find(fits);
    let addresses = addresses.ok_or_else(|| missing("addresses of its symbols that are in order"))?;
    let mut builder = Builder::default();
    for ((kind, name), address) in texts.iter().zip(addresses) {
        builder.push(name, kind, address);
    }
    builder.finish()
}

/// The 256 tokens of symbol names.
struct Tokens<'a> {
    /// Start of the token table in the section.
    start: usize,
    /// End of the token index.
    end: usize,
    texts: Vec<&'a [u8]>,
}

impl<'a> Tokens<'a> {
    /// Finds the tokens of the ten digits, which are always the digits themselves, in sequence.
    fn find(data: &'a [u8]) -> Option<Self> {
        const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";
        let mut from = 0;
        while let Some(found) = find(data, DIGITS, from) {
            if let Some(tokens) = Self::around(data, found) {
                return Some(tokens);
            }
            from = found + 1;
        }
        None
    }

    /// Token table whose token `0` is at `zero`.
    fn around(data: &'a [u8], zero: usize) -> Option<Self> {
        let mut end = zero;
        for _ in usize::from(b'0')..TOKENS {
            let rest = data.get(end..)?;
            end += rest.iter().take(MARKER).position(|byte| *byte == 0)? + 1;
        }
        (0..8).find_map(|padding| {
            let index = end + padding;
            let zeroes = data.get(end..index)?.iter().all(|byte| *byte == 0);
            let start = zero.checked_sub(usize::from(u16_at(data, index + 2 * usize::from(b'0'))?))?;
            if zeroes { Self::with_index(data, start, index) } else { None }
        })
    }

    /// Token table at `start`, if every entry of the index matches it.
    fn with_index(data: &'a [u8], start: usize, index: usize) -> Option<Self> {
        let mut texts = Vec::with_capacity(TOKENS);
        let mut at = start;
        for token in 0..TOKENS {
            if usize::from(u16_at(data, index + 2 * token)?) != at - start {
                return None;
            }
            let rest = data.get(at..)?;
            let text = rest.get(..rest.iter().take(MARKER).position(|byte| *byte == 0)?)?;
            texts.push(text);
            at += text.len() + 1;
        }
        Some(Self { start, end: index + 2 * TOKENS, texts })
    }
}

/// Location of the compressed names.
struct Names {
    /// Offset of the number of symbols.
    number_at: usize,
    number: usize,
    /// Offset of the first name.
    start: usize,
}

impl Names {
    /// Finds number and names before the tokens; the markers after the names contain the offset of every 256th name.
    fn find(data: &[u8], tokens: &Tokens<'_>) -> Option<Self> {
        let mut budget = BUDGET;
        for number_at in (0..tokens.start).rev().filter(|at| at % 4 == 0) {
            let Some(number) = u32_at(data, number_at).and_then(|number| usize::try_from(number).ok()) else {
                continue;
            };
            if number < FEWEST || number > (tokens.start - number_at) / 2 {
                continue;
            }
            for start in [number_at + 4, number_at + 8] {
                if Self::verify(data, number, start, tokens.start, &mut budget)? {
                    return Some(Self { number_at, number, start });
                }
            }
        }
        None
    }

    /// True if `number` names start at `start` and are followed by their markers. `None` if the budget is exhausted.
    fn verify(data: &[u8], number: usize, start: usize, limit: usize, budget: &mut usize) -> Option<bool> {
        let mut at = start;
        let mut markers = Vec::new();
        for index in 0..number {
            *budget = budget.checked_sub(1)?;
            if index % MARKER == 0 {
                markers.push(at - start);
            }
            match name_end(data, at) {
                Some((_, end)) if end <= limit => at = end,
                _ => return Some(false),
            }
        }
        let agrees = |table: usize| {
            let mut expected = markers.iter().enumerate();
            expected
                .all(|(index, offset)| u32_at(data, table + 4 * index).is_some_and(|m| m as usize == *offset))
        };
        Some(agrees(at.next_multiple_of(4)) || agrees(at.next_multiple_of(8)))
    }

    /// Decompresses kinds and names.
    fn expand(&self, data: &[u8], tokens: &Tokens<'_>) -> Result<Expanded, ImageError> {
        let damaged = |what: &str| ImageError::Damaged(format!("its table of symbols has {what}"));
        let mut expanded = Expanded::default();
        let mut at = self.start;
        for _ in 0..self.number {
            let (begin, end) = name_end(data, at).ok_or_else(|| damaged("a name without an end"))?;
            let before = expanded.text.len();
            for token in data.get(begin..end).unwrap_or_default() {
                let text = tokens.texts.get(usize::from(*token)).copied().unwrap_or_default();
                let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii());
                expanded.text.push_str(text.ok_or_else(|| damaged("a name that is no text"))?);
            }
            let length = expanded.text.len() - before;
            if !(2..=Expanded::LONGEST).contains(&length) || expanded.text.len() > Expanded::LIMIT {
                return Err(damaged("a name that is empty or too long"));
            }
            expanded.ends.push(expanded.text.len());
            at = end;
        }
        Ok(expanded)
    }
}

/// Start and end of the tokens of the name at `at`. The number of tokens comes first: one byte, or two bytes if its
/// highest bit is set (ULEB128).
fn name_end(data: &[u8], at: usize) -> Option<(usize, usize)> {
    let low = usize::from(*data.get(at)?);
    let (begin, length) = if low & 0x80 == 0 {
        (at + 1, low)
    } else {
        (at + 2, (low & 0x7f) | usize::from(*data.get(at + 1)?) << 7)
    };
    (length > 0).then_some((begin, begin + length))
}

/// Kinds and names in sequence, each kind before its name.
#[derive(Default)]
struct Expanded {
    text: String,
    ends: Vec<usize>,
}

impl Expanded {
    /// Maximum length of a kind and a name, in bytes: four times the kernel's limit (`KSYM_NAME_LEN`).
    const LONGEST: usize = 2048;
    /// Maximum length of all names, in bytes: ten times that of the largest kernels.
    const LIMIT: usize = 1 << 26;

    fn iter(&self) -> impl Iterator<Item = (char, &str)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| {
            let text = self.text.get(start..*end)?;
            Some((text.chars().next()?, text.get(1..)?))
        })
    }
}

/// Addresses, decoded in each known format.
fn candidates(rodata: &Section<'_>, tokens: &Tokens<'_>, names: &Names) -> Vec<Vec<u64>> {
    let data = rodata.data;
    let number = names.number;
    let mut tables = Vec::new();
    for alignment in [4, 8] {
        let offsets = tokens.end.next_multiple_of(alignment);
        tables.push((offsets, (offsets + 4 * number).next_multiple_of(8)));
    }
    if let Some(base) = names.number_at.checked_sub(8)
        && let Some(offsets) = base.checked_sub((4 * number).next_multiple_of(8))
    {
        tables.push((offsets, base));
    }
    let mut found = Vec::new();
    for (offsets, base) in tables {
        let Some(table) = data.get(offsets..offsets.saturating_add(4 * number)) else { continue };
        let entries = || table.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes));
        if let Some(base) = u64_at(data, base) {
            // Addresses below the base are absolute (KALLSYMS_ABSOLUTE_PERCPU).
            found.push(
                entries()
                    .map(|entry| match u64::try_from(entry) {
                        Ok(absolute) => absolute,
                        Err(_) => base.wrapping_sub(1).wrapping_add_signed(-i64::from(entry)),
                    })
                    .collect(),
            );
            found.push(entries().map(|entry| base.wrapping_add(u64::from(entry.cast_unsigned()))).collect());
        }
        let place = rodata.address.wrapping_add(offsets as u64);
        let places = (0_u64..).map(|index| place.wrapping_add(4 * index));
        found.push(
            entries().zip(places).map(|(entry, place)| place.wrapping_add_signed(i64::from(entry))).collect(),
        );
    }
    found
}

/// Offset of the first `needle` at or after `from`.
fn find(data: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let rest = data.get(from..)?;
    rest.windows(needle.len()).position(|window| window == needle).map(|offset| from + offset)
}
