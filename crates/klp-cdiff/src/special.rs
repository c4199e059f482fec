// SPDX-License-Identifier: GPL-2.0-or-later
//! Sections with one entry per place in code: alternatives, jump labels, exception tables, bugs, ftrace sites, and objtool's
//! annotations. An entry belongs to the function that its first relocation points into.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::object::{Damaged, ItemId, Object, Relocation, Section, Target};

/// Sections whose entries go with their function: name and relocations per entry.
///
/// Source: `arch/x86/include/asm/{bug,asm,jump_label,alternative}.h`, `scripts/recordmcount.c`.
const KINDS: [(&str, usize); 7] = [
    (BUGS, 2),
    ("__ex_table", 2),
    (JUMPS, 3),
    (ALTERNATIVES, 2),
    (".smp_locks", 1),
    (".parainstructions", 1),
    ("__mcount_loc", 1),
];
/// Prefix of objtool's annotations, which have one relocation per entry.
const ANNOTATIONS: &str = ".discard.";
/// Annotations that are about symbols, not about code.
const NO_ANNOTATION: &str = ".discard.addressable";

/// Bugs and warnings. An entry has the line at offset 8.
const BUGS: &str = "__bug_table";
const LINE: Range<usize> = 8..10;
/// Descriptors of dynamic debugging.
pub(crate) const DEBUG: &str = "__dyndbg";
/// Prefix of the names of tracepoints.
pub(crate) const TRACEPOINT: &str = "__tracepoint_";
/// Jump labels.
pub(crate) const JUMPS: &str = "__jump_table";
/// Alternatives. The last byte of an entry is the length of its replacement.
pub(crate) const ALTERNATIVES: &str = ".altinstructions";
/// Numbers that the kernel writes into its own code when it boots, and never into that of modules: an address as the constant of
/// a `mov`, the count of a shift (`arch/x86/include/asm/runtime-const.h`).
pub(crate) const BOOT_POINTER: &str = "runtime_ptr_";
const BOOT_CONSTANTS: [&str; 2] = [BOOT_POINTER, "runtime_shift_"];

/// Code that an alternative puts in place.
pub(crate) const REPLACEMENTS: &str = ".altinstr_replacement";
/// Code that runs until alternatives are in place.
pub(crate) const BEFORE_ALTERNATIVES: &str = ".altinstr_aux";

/// An entry of a special section.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Number of the section.
    pub(crate) section: usize,
    /// Range in the section.
    pub(crate) range: Range<u64>,
    /// Offset of the place in the function.
    pub(crate) at: i64,
}

impl Entry {
    pub(crate) fn relocations<'o>(&self, object: &'o Object) -> &'o [Relocation] {
        object.sections[self.section].relocations_in(self.range.clone())
    }

    /// Content without relocated fields and without the line of a bug.
    pub(crate) fn content(&self, object: &Object) -> Vec<u8> {
        let section = &object.sections[self.section];
        let mut bytes = without_fields(section, self.range.clone());
        if section.name == BUGS
            && let Some(line) = bytes.get_mut(LINE)
        {
            line.fill(0);
        }
        bytes
    }

    /// Length of the code that an alternative puts in place.
    pub(crate) fn replacement(&self, object: &Object) -> u64 {
        let section = &object.sections[self.section];
        if section.name != ALTERNATIVES {
            return 0;
        }
        section.bytes(self.range.clone()).last().copied().unwrap_or(0).into()
    }
}

/// Content of a range, with zeroes in the relocated fields.
pub(crate) fn without_fields(section: &Section, range: Range<u64>) -> Vec<u8> {
    let mut bytes = section.bytes(range.clone()).to_vec();
    for relocation in section.relocations_in(range.clone()) {
        let from = usize::try_from(relocation.offset - range.start).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(relocation.size()).unwrap_or(0)).min(bytes.len());
        if let Some(field) = bytes.get_mut(from..to) {
            field.fill(0);
        }
    }
    bytes
}

/// True if the kernel writes a number into its code at the entry's place when it boots.
pub(crate) fn is_boot_constant(name: &str) -> bool {
    BOOT_CONSTANTS.iter().any(|start| name.starts_with(start))
}

/// Entries of each function, in the order of the sections and of the places.
pub(crate) fn entries(object: &Object) -> Result<BTreeMap<ItemId, Vec<Entry>>, Damaged> {
    let mut entries: BTreeMap<ItemId, Vec<Entry>> = BTreeMap::new();
    for (number, section) in object.sections.iter().enumerate() {
        let Some(per_entry) = relocations_per_entry(&section.name) else { continue };
        let count = section.relocations.len() / per_entry;
        if count == 0 {
            continue;
        }
        let size = section.size / count as u64;
        if size == 0 || size * count as u64 != section.size {
            return Err(Damaged(format!("section {} is no list of entries of one size", section.name)));
        }
        for start in (0..section.size).step_by(usize::try_from(size).unwrap_or(1)) {
            let range = start..start + size;
            let Some(first) = section.relocations_in(range.clone()).first() else { continue };
            if let Target::Item(owner, at) = object.target(first, None)
                && object.items[owner].is_function()
            {
                entries.entry(owner).or_default().push(Entry { section: number, range, at });
            }
        }
    }
    for list in entries.values_mut() {
        list.sort_by(|a, b| {
            let key =
                |entry: &Entry| (object.sections[entry.section].name.clone(), entry.at, entry.range.start);
            key(a).cmp(&key(b))
        });
    }
    Ok(entries)
}

/// True if the entries of a section go with their functions.
pub(crate) fn is_special(name: &str) -> bool {
    relocations_per_entry(name).is_some() || name == "__patchable_function_entries"
}

/// Functions with places that a section of unknown purpose refers to. What such a section does for the kernel's own code, nobody
/// does for that of a module.
pub(crate) fn unknown(object: &Object) -> BTreeMap<ItemId, String> {
    let mut found = BTreeMap::new();
    let sections = object.sections.iter().enumerate().filter(|(number, section)| {
        section.is_alloc() && !section.is_code() && !is_special(&section.name) && object.is_nameless(*number)
    });
    for (_, section) in sections {
        for relocation in &section.relocations {
            if let Target::Item(function, at) = object.target(relocation, None)
                && object.items[function].is_function()
                && at != 0
            {
                found.insert(function, section.name.clone());
            }
        }
    }
    found
}

fn relocations_per_entry(name: &str) -> Option<usize> {
    let of_table = KINDS.iter().find(|(kind, _)| *kind == name).map(|(_, count)| *count);
    let of_table =
        of_table.or_else(|| BOOT_CONSTANTS.iter().any(|start| name.starts_with(start)).then_some(1));
    of_table.or_else(|| (name.starts_with(ANNOTATIONS) && name != NO_ANNOTATION).then_some(1))
}

/// Range of the code of [`BEFORE_ALTERNATIVES`] at an offset: up to and with the first jump that is always taken.
pub(crate) fn before_alternatives(section: &Section, start: u64) -> Range<u64> {
    use iced_x86::{Decoder, DecoderOptions, FlowControl};
    let bytes = section.bytes(start..section.size);
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.flow_control() == FlowControl::UnconditionalBranch {
            return start..instruction.next_ip();
        }
    }
    start..section.size
}
