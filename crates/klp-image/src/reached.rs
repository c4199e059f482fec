// SPDX-License-Identifier: GPL-2.0-or-later
//! Places in a module's code that the module calls, jumps to, or holds the address of.
//!
//! A reference is a relocation, or an instruction without one: the assembler fills in the distance to a local symbol of the same
//! section itself.

use std::collections::{BTreeMap, BTreeSet};

use klp_module::{Machine, Module, Section, SymbolSection};

use crate::calls::{self, Code, Use};

/// Sections of a module with the places of instructions, among them starts of functions, beside those of [`calls::SITES`]
/// (`scripts/module.lds.S`): no uses.
const SITES: [&str; 6] = [
    "__jump_table",
    "__kcfi_traps",
    "__mcount_loc",
    "__patchable_function_entries",
    "_kprobe_blacklist",
    ".static_call_sites",
];
/// Distance from the place of a relative relocation of x86 to the end of its instruction, from which the processor counts.
const FIELD: i64 = 4;

/// Offset in a section.
pub(crate) type Place = (usize, u64);

/// Referenced places of the module.
pub(crate) fn reached(module: &Module<'_>) -> BTreeSet<Place> {
    let mut found = BTreeSet::new();
    for section in module.sections().iter().filter(|section| section.is_alloc() && !is_site(section.name)) {
        let mut relocated = BTreeSet::new();
        for relocation in module.relocations_of(section.index) {
            relocated.insert(relocation.offset);
            let Some(symbol) = module.symbols().get(relocation.symbol) else { continue };
            let SymbolSection::Section(target) = symbol.section else { continue };
            // Whether the place counts from the end of an instruction depends on the type of the relocation: both count.
            for addend in [relocation.addend, relocation.addend.saturating_add(FIELD)] {
                found.extend(symbol.value.checked_add_signed(addend).map(|offset| (target, offset)));
            }
        }
        if section.is_executable() {
            in_code(module, section, &relocated, &mut found);
        }
    }
    found
}

fn is_site(section: &str) -> bool {
    SITES.contains(&section) || calls::SITES.contains(&section)
}

/// Adds the targets of the instructions of a section that have no relocation.
fn in_code(
    module: &Module<'_>,
    section: &Section<'_>,
    relocated: &BTreeSet<u64>,
    found: &mut BTreeSet<Place>,
) {
    let machine = match module.machine() {
        Machine::X86_64 => Code::X86_64,
        Machine::Arm64 => Code::Arm64,
    };
    let symbols = module
        .symbols()
        .iter()
        .filter(|symbol| symbol.section == SymbolSection::Section(section.index) && !symbol.name.is_empty());
    let starts: BTreeSet<u64> = symbols.map(|symbol| symbol.value).collect();
    let ends = starts.iter().skip(1).copied().chain([section.data.len() as u64]);
    let functions: BTreeMap<u64, u64> = starts.iter().copied().zip(ends).collect();
    for (start, end) in functions {
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let Some(code) = range.and_then(|(start, end)| section.data.get(start..end)) else { continue };
        calls::of_bytes(code, start, machine, |reference, used, next| {
            // Absolute addresses have a relocation; other numbers are none.
            if used != Use::Absolute && relocated.range(reference.place..next).next().is_none() {
                found.insert((section.index, reference.target));
            }
        });
    }
}
