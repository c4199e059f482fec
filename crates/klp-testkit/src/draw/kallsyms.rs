// SPDX-License-Identifier: GPL-2.0-or-later
//! Independent parser of kallsyms that shares no code with the stages. It only counts names. Source:
//! `scripts/kallsyms.c`, `kernel/kallsyms.c`.

use std::collections::BTreeMap;

/// Number of tokens in the table for compressed names.
const TOKENS: usize = 256;
/// Number of symbols per marker.
const STEP: usize = 256;
/// Maximum distance in bytes from the start of the names to the tokens.
const FARTHEST: usize = 16 << 20;
/// Lower bound of the number of symbols in a kernel.
const FEWEST: usize = 1000;

/// Number of occurrences of each name in kallsyms of a decompressed kernel; `None` if kallsyms is not found.
pub(super) fn names(vmlinux: &[u8]) -> Option<BTreeMap<String, u32>> {
    // The tokens of the ten digits are the digits themselves.
    let digits = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
    let places = vmlinux.windows(digits.len()).enumerate().filter(|(_, window)| window == digits);
    places.filter_map(|(at, _)| tokens(vmlinux, at)).find_map(|tokens| names_before(vmlinux, &tokens))
}

/// Names before the tokens. The format is: number of names, then length and compressed bytes of each name.
fn names_before(vmlinux: &[u8], tokens: &[(usize, usize)]) -> Option<BTreeMap<String, u32>> {
    let table = tokens.first()?.0;
    let mut at = table.checked_sub(8)? & !3;
    while at >= table.saturating_sub(FARTHEST) {
        let count = u32::from_le_bytes(vmlinux.get(at..at + 4)?.try_into().ok()?) as usize;
        if count >= FEWEST && count < table {
            for start in [at + 4, at + 8] {
                if let Some(ends) = walk(vmlinux, start, count, table)
                    && has_markers(vmlinux, start, &ends)
                {
                    return Some(count_names(vmlinux, start, &ends, tokens));
                }
            }
        }
        at = at.checked_sub(4)?;
    }
    None
}

/// Start and end of each token, derived from the offset of the digits' tokens.
fn tokens(vmlinux: &[u8], digits: usize) -> Option<Vec<(usize, usize)>> {
    let mut start = digits;
    for _ in 0..usize::from(b'0') {
        let before = vmlinux.get(..start.checked_sub(1)?)?;
        start = before.iter().rposition(|byte| *byte == 0)? + 1;
    }
    let mut tokens = Vec::with_capacity(TOKENS);
    for _ in 0..TOKENS {
        let length = vmlinux.get(start..)?.iter().position(|byte| *byte == 0)?;
        tokens.push((start, start + length));
        start += length + 1;
    }
    Some(tokens)
}

/// End offsets of `count` compressed names from `start`; `None` if they do not end before `limit`.
fn walk(vmlinux: &[u8], start: usize, count: usize, limit: usize) -> Option<Vec<usize>> {
    let mut at = start;
    let mut ends = Vec::new();
    for _ in 0..count {
        let (length, begin) = length(vmlinux, at)?;
        at = begin + length;
        if length == 0 || at > limit {
            return None;
        }
        ends.push(at);
    }
    Some(ends)
}

/// Length of the compressed name at `at`, and offset of its bytes. A length above 127 takes two bytes.
fn length(vmlinux: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = usize::from(*vmlinux.get(at)?);
    if first < 0x80 {
        return Some((first, at + 1));
    }
    Some((first & 0x7f | usize::from(*vmlinux.get(at + 1)?) << 7, at + 2))
}

/// True if markers for every 256th name follow the names.
fn has_markers(vmlinux: &[u8], start: usize, ends: &[usize]) -> bool {
    let Some(last) = ends.last() else { return false };
    let marker =
        |at: usize| vmlinux.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let markers = [last.next_multiple_of(4), last.next_multiple_of(8)];
    markers.into_iter().any(|at| {
        (0..ends.len().div_ceil(STEP)).all(|number| {
            let expected = if number == 0 { 0 } else { ends[number * STEP - 1] - start };
            marker(at + 4 * number) == u32::try_from(expected).ok()
        })
    })
}

fn count_names(
    vmlinux: &[u8],
    start: usize,
    ends: &[usize],
    tokens: &[(usize, usize)],
) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let mut at = start;
    for end in ends {
        let begin = length(vmlinux, at).map_or(at, |(_, begin)| begin);
        let packed = vmlinux.get(begin..*end).unwrap_or_default();
        let bytes = packed.iter().filter_map(|token| tokens.get(usize::from(*token)));
        let bytes: Vec<u8> = bytes.flat_map(|(from, to)| &vmlinux[*from..*to]).copied().collect();
        // The first character is the symbol's type.
        let name = String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).into_owned();
        *counts.entry(name).or_insert(0) += 1;
        at = *end;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use klp_image::{KernelImage, decompress};

    #[test]
    #[ignore = "needs the pinned kernel; run by cargo xtask test"]
    fn both_readers_count_the_same_names() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let project = klp_pipeline::project::Project::open(&root).unwrap();
        let cache = klp_base::cache::Cache::from_env().unwrap();
        let pin = klp_kernel::Pin::load(&project.kernel_configs(), "debian-6.12").unwrap();
        let tree = pin.fetch(&cache, &klp_base::events::Silent).unwrap();
        let image = KernelImage::load(tree.image_file(), &cache, &klp_base::events::Silent).unwrap();
        let bytes = decompress(&std::fs::read(&tree.vmlinux).unwrap()).unwrap();
        let counts = names(&bytes).unwrap();
        assert!(counts.len() > 50_000, "{}", counts.len());
        for (name, count) in &counts {
            assert_eq!(image.symbols.count(name), *count as usize, "{name}");
        }
        assert_eq!(counts.values().sum::<u32>() as usize, image.symbols.len());
    }
}
