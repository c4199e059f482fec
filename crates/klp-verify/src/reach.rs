// SPDX-License-Identifier: GPL-2.0-or-later
//! Code of a module by the objects that it can run for, and presence of the other objects whose symbols it uses.
//!
//! The livepatch core fills in the symbols of an object when the object comes (`klp_init_object_loaded()` in
//! `kernel/livepatch/core.c`), and only of objects in the patch's tables. Until then an instruction that uses one leads to
//! what the compiler left there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use klp_format::{KlpSymbol, ObjectName, VMLINUX};
use klp_module::{Machine, Module, PatchTable, Place, Relocation, SymbolKind, SymbolSection};

use crate::{Findings, Subject};

/// Test that symbols of modules are used only while their modules are loaded. Returns the part that was not checked.
pub(crate) fn check(subject: &Subject<'_>, findings: &mut Findings) -> Option<String> {
    let module = &subject.module;
    let used: BTreeSet<ObjectName> = module
        .klp_symbols()
        .filter_map(|(_, name)| name.ok())
        .map(|symbol| symbol.object)
        .filter(|object| !object.is_vmlinux())
        .collect();
    if used.is_empty() {
        return None;
    }
    let table = match &subject.table {
        Ok(table) => table,
        Err(error) => {
            return Some(format!(
                "whether modules are there when code uses them: the tables cannot be read ({error})"
            ));
        }
    };
    let in_tables = |object: &ObjectName| {
        table.objects.iter().any(|entry| entry.name.as_deref() == Some(object.as_str()))
    };
    for object in used.iter().filter(|object| !in_tables(object)) {
        findings.error(
            object.as_str(),
            format!(
                "the module uses symbols of {object}, which is no object of the patch: the kernel never fills in their addresses, \
                 and the code that uses them runs into what stands behind it; the patch must change {object}, or have callbacks \
                 for it"
            ),
        );
    }
    let graph = Graph::of(module);
    let mut unknown = BTreeSet::new();
    for root in roots(module, table) {
        for (node, symbol) in graph.used_from(root.place) {
            if symbol.object.is_vmlinux() || !in_tables(&symbol.object) {
                continue;
            }
            match root.is_there(&symbol.object, subject) {
                Some(true) => {}
                Some(false) => findings.error(symbol.to_string(), message(module, &root, node, &symbol)),
                None => {
                    unknown.insert(format!("{} without {}", root.object, symbol.object));
                }
            }
        }
    }
    let unknown: Vec<String> = unknown.into_iter().collect();
    (!unknown.is_empty()).then(|| {
        format!("whether the kernel can have {}: of a file alone that is not known", unknown.join(", or "))
    })
}

fn message(module: &Module<'_>, root: &Root, node: Place, symbol: &KlpSymbol) -> String {
    let name =
        |place: Place| module.function_at(place.section, place.offset).map_or("data", |found| found.name);
    let (user, object) = (name(node), &symbol.object);
    format!(
        "{} comes to {user}, which uses it, and may run while {object} is not loaded: the kernel fills in the address when \
         {object} comes, until then the instruction leads into other code; use it in replacements of {object} alone, or take its \
         address in a callback of {object} and give it up in `post_unpatch`",
        root.what
    )
}

/// Entry of the kernel into the module.
struct Root {
    /// Name of the entry, for messages.
    what: String,
    /// The object that is there when it runs.
    object: String,
    place: Place,
}

impl Root {
    /// True if a module is loaded when this code runs. None: not known.
    fn is_there(&self, module: &ObjectName, subject: &Subject<'_>) -> Option<bool> {
        if self.object == module.as_str() {
            return Some(true);
        }
        if self.object == VMLINUX {
            return Some(false);
        }
        let patch = subject.expected.patch.as_ref()?;
        Some(patch.needs.get(&self.object).is_some_and(|needs| needs.contains(module.as_str())))
    }
}

fn roots(module: &Module<'_>, table: &PatchTable) -> Vec<Root> {
    let mut roots = Vec::new();
    for object in &table.objects {
        let name = object.name.as_deref().unwrap_or(VMLINUX);
        let root = |what: String, place| Root { what, object: name.to_owned(), place };
        let functions = object.functions.iter();
        roots.extend(functions.map(|function| {
            root(format!("the replacement of {name}:{}", function.old_name), function.new_function)
        }));
        let callbacks = object.callback_places.iter();
        roots.extend(callbacks.map(|place| root(format!("a callback of {name}"), *place)));
    }
    // What runs when the module leaves; whatever it patched may have left before.
    if let Some(exit) = module.symbol("cleanup_module")
        && let SymbolSection::Section(section) = exit.section
    {
        let place = Place { section, offset: exit.value };
        roots.push(Root { what: "the module's exit".to_owned(), object: VMLINUX.to_owned(), place });
    }
    roots
}

/// References between functions and pieces of data. A piece ends at the next place that something refers to.
struct Graph<'m, 'a> {
    module: &'m Module<'a>,
    /// Of each section where its functions, or pieces of data, begin; and where functions end.
    starts: BTreeMap<usize, BTreeMap<u64, u64>>,
    edges: BTreeMap<Place, BTreeSet<Place>>,
    uses: BTreeMap<Place, BTreeSet<KlpSymbol>>,
}

impl<'m, 'a> Graph<'m, 'a> {
    fn of(module: &'m Module<'a>) -> Self {
        let mut graph =
            Self { module, starts: BTreeMap::new(), edges: BTreeMap::new(), uses: BTreeMap::new() };
        graph.find_starts();
        let alloc = |relocation: &Relocation| module.sections()[relocation.target].is_alloc();
        for relocation in module.relocations().filter(alloc) {
            let Some(from) = graph.node(relocation.target, relocation.offset) else { continue };
            let symbol = &module.symbols()[relocation.symbol];
            if symbol.section == SymbolSection::Livepatch {
                if let Ok(symbol) = KlpSymbol::from_elf_name(symbol.name) {
                    graph.uses.entry(from).or_default().insert(symbol);
                }
            } else if let Some(to) = graph.target(&relocation) {
                graph.edges.entry(from).or_default().insert(to);
            }
        }
        graph.add_branches();
        graph
    }

    fn find_starts(&mut self) {
        let module = self.module;
        let executable = |section: usize| module.sections()[section].is_executable();
        for symbol in module.symbols() {
            let SymbolSection::Section(section) = symbol.section else { continue };
            let (start, end) = (symbol.value, symbol.value.saturating_add(symbol.size));
            let named = match symbol.kind {
                SymbolKind::Function => true,
                SymbolKind::Section | SymbolKind::File => false,
                _ => !executable(section),
            };
            if named {
                let entry = self.starts.entry(section).or_default().entry(start).or_insert(end);
                *entry = end.max(*entry);
            }
        }
        for relocation in module.relocations() {
            if let Some(place) = place(module, &relocation)
                && !executable(place.section)
            {
                self.starts.entry(place.section).or_default().entry(place.offset).or_insert(place.offset);
            }
        }
    }

    /// The function or piece of data that an offset lies in.
    fn node(&self, section: usize, offset: u64) -> Option<Place> {
        let start = self.starts.get(&section).and_then(|starts| starts.range(..=offset).next_back());
        match start {
            Some((start, _)) => Some(Place { section, offset: *start }),
            // Data before the first name of its section.
            None => {
                (!self.module.sections()[section].is_executable()).then_some(Place { section, offset: 0 })
            }
        }
    }

    fn target(&self, relocation: &Relocation) -> Option<Place> {
        let place = place(self.module, relocation)?;
        self.node(place.section, place.offset)
    }

    /// Branches inside of a section that the assembler has put in without relocations.
    fn add_branches(&mut self) {
        let mut found = Vec::new();
        for (section, starts) in &self.starts {
            let section = &self.module.sections()[*section];
            if !section.is_executable() {
                continue;
            }
            for (start, end) in starts {
                let range = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
                let code = range.and_then(|(start, end)| section.data.get(start..end)).unwrap_or_default();
                let targets = branches(self.module.machine(), code, *start);
                for offset in targets.filter(|target| target != start && starts.contains_key(target)) {
                    let index = section.index;
                    found.push((Place { section: index, offset: *start }, Place { section: index, offset }));
                }
            }
        }
        for (from, to) in found {
            self.edges.entry(from).or_default().insert(to);
        }
    }

    /// The symbols that are used by what can be reached from a place, and where.
    fn used_from(&self, root: Place) -> BTreeSet<(Place, KlpSymbol)> {
        let Some(root) = self.node(root.section, root.offset) else { return BTreeSet::new() };
        let mut seen = BTreeSet::from([root]);
        let mut pending = VecDeque::from([root]);
        let mut used = BTreeSet::new();
        while let Some(node) = pending.pop_front() {
            used.extend(self.uses.get(&node).into_iter().flatten().map(|symbol| (node, symbol.clone())));
            for next in self.edges.get(&node).into_iter().flatten() {
                if seen.insert(*next) {
                    pending.push_back(*next);
                }
            }
        }
        used
    }
}

/// Target of a relocation. A named target is taken by its name, since a distance to the end of the instruction, or to a
/// member, may be added; of what is not, the usual distance is taken off.
fn place(module: &Module<'_>, relocation: &Relocation) -> Option<Place> {
    let symbol = &module.symbols()[relocation.symbol];
    let SymbolSection::Section(section) = symbol.section else { return None };
    if symbol.kind != SymbolKind::Section {
        return Some(Place { section, offset: symbol.value });
    }
    const X86_PC32: u32 = 2;
    const X86_PLT32: u32 = 4;
    let relative = module.machine() == Machine::X86_64 && [X86_PC32, X86_PLT32].contains(&relocation.kind);
    let addend = relocation.addend.saturating_add(if relative { 4 } else { 0 });
    Some(Place { section, offset: symbol.value.wrapping_add_signed(addend) })
}

/// Targets of direct calls and jumps with 32-bit distances. On x86 instructions are not told from their operands:
/// what no function begins at is dropped by the caller.
fn branches(machine: Machine, code: &[u8], start: u64) -> Box<dyn Iterator<Item = u64> + '_> {
    match machine {
        Machine::X86_64 => {
            Box::new(code.windows(6).enumerate().chain(last(code)).filter_map(move |(at, bytes)| {
                let (length, distance) = match bytes {
                    [0xe8 | 0xe9, a, b, c, d, ..] => (5, [*a, *b, *c, *d]),
                    [0x0f, 0x80..=0x8f, a, b, c, d] => (6, [*a, *b, *c, *d]),
                    _ => return None,
                };
                let next = start + at as u64 + length;
                Some(next.wrapping_add_signed(i64::from(i32::from_le_bytes(distance))))
            }))
        }
        Machine::Arm64 => {
            Box::new(code.as_chunks::<4>().0.iter().enumerate().filter_map(move |(number, bytes)| {
                let word = u32::from_le_bytes(*bytes);
                // b and bl.
                let distance =
                    (word & 0x7c00_0000 == 0x1400_0000).then_some((word << 6).cast_signed() >> 4)?;
                Some((start + 4 * number as u64).wrapping_add_signed(i64::from(distance)))
            }))
        }
    }
}

/// The last five bytes, which may be a jump, as no window of six has them at its start.
fn last(code: &[u8]) -> Option<(usize, &[u8])> {
    let at = code.len().checked_sub(5)?;
    Some((at, code.get(at..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_seen_in_the_code() {
        let x86 = [0x90, 0xe8, 0x0a, 0, 0, 0, 0x0f, 0x84, 4, 0, 0, 0, 0xe9, 0xeb, 0xff, 0xff, 0xff];
        let found: Vec<u64> = branches(Machine::X86_64, &x86, 0x100).collect();
        assert_eq!(found, [0x110, 0x110, 0xfc]);
        let arm64 = [0x0000_0094_u32, 0x9400_0004, 0x17ff_ffff, 0xd65f_03c0];
        let bytes: Vec<u8> = arm64.iter().flat_map(|word| word.to_le_bytes()).collect();
        let found: Vec<u64> = branches(Machine::Arm64, &bytes, 0x100).collect();
        assert_eq!(found, [0x114, 0x104]);
    }
}
