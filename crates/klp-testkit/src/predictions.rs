// SPDX-License-Identifier: GPL-2.0-or-later
//! Expected content of `available_filter_functions` on a running kernel, for the case that compares it
//! (`tests/cases/traceability`).

use std::collections::BTreeMap;
use std::fmt::Write;

use klp_image::{KernelImage, listed};

/// Expected values for a guest with this kernel as text: the line `seed <seed>`, then for each name of code
/// `<number of expected entries> <name> <reason if not traceable>`. Padding before functions is omitted,
/// because it would outnumber all other unlisted symbols.
pub fn predictions(image: &KernelImage, seed: u64) -> String {
    let listed = listed(&image.symbols, &image.trace);
    let mut text = format!("seed {seed}\n");
    let mut names = BTreeMap::new();
    for symbol in image.symbols.iter().filter(|symbol| symbol.is_code() && !symbol.is_padding()) {
        names.entry(symbol.name).or_insert(symbol);
    }
    for (name, symbol) in names {
        let times = listed.get(name).copied().unwrap_or(0);
        let why = match image.trace.reason_against(&symbol) {
            Some(reason) => format!("{reason:?}"),
            None => image.symbols.at(symbol.address).next().map_or_else(String::new, |first| {
                if first.name == name { String::new() } else { format!("alias of {}", first.name) }
            }),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", format!("{times} {name} {why}").trim_end());
    }
    text
}
