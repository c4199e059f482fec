// SPDX-License-Identifier: GPL-2.0-or-later
//! References between the functions and data of a module, and the livepatch symbols that each uses.
//!
//! Separate from the call graph ([`super::Graph`]), over the same instructions: this graph has nodes for data too, and follows
//! addresses in code and tables of pointers, because code that can be called by a pointer may run. The call graph does not follow
//! pointers: code would seem to have recursions and deep paths that it does not have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use klp_format::KlpSymbol;
use klp_module::{Machine, Module, Place, Relocation, SymbolKind, SymbolSection};

use super::places::section_of;
use super::program::Program;

/// References of a module. The nodes are its functions, and the pieces of data between the places that symbols and relocations
/// refer to; a node is named by its first place.
pub(crate) struct References<'p, 'm, 'a> {
    program: &'p Program<'m, 'a>,
    /// First offsets of the nodes of each section.
    starts: BTreeMap<usize, BTreeSet<u64>>,
    edges: BTreeMap<Place, BTreeSet<Place>>,
    uses: BTreeMap<Place, BTreeSet<KlpSymbol>>,
    /// Functions with bytes that are no instruction, and the place of the first such byte.
    undecoded: BTreeMap<Place, Place>,
    /// Uses of livepatch symbols in code before the first function of its section.
    pub(crate) outside_of_functions: Vec<(Place, KlpSymbol)>,
}

/// Result of following the references from a place.
#[derive(Default)]
pub(crate) struct Reached {
    /// Livepatch symbols in use, each with the node that uses it.
    pub(crate) uses: BTreeSet<(Place, KlpSymbol)>,
    /// Places behind which branches are not known, since they hold no instruction.
    pub(crate) undecoded: BTreeSet<Place>,
}

impl<'p, 'm, 'a> References<'p, 'm, 'a> {
    pub(crate) fn read(program: &'p Program<'m, 'a>) -> Self {
        let mut references = Self {
            program,
            starts: BTreeMap::new(),
            edges: BTreeMap::new(),
            uses: BTreeMap::new(),
            undecoded: BTreeMap::new(),
            outside_of_functions: Vec::new(),
        };
        references.find_starts();
        references.add_relocations();
        references.add_branches();
        references
    }

    fn add_relocations(&mut self) {
        let module = self.program.module;
        for relocation in module.relocations().filter(|r| module.sections()[r.target].is_alloc()) {
            let place = Place { section: relocation.target, offset: relocation.offset };
            let symbol = &module.symbols()[relocation.symbol];
            let uses = match symbol.section {
                SymbolSection::Livepatch => KlpSymbol::from_elf_name(symbol.name).ok(),
                _ => None,
            };
            match (self.node(place), uses) {
                (Some(from), Some(symbol)) => {
                    self.uses.entry(from).or_default().insert(symbol);
                }
                (None, Some(symbol)) => self.outside_of_functions.push((place, symbol)),
                (Some(from), None) => self.add_edge(from, target(module, &relocation)),
                (None, None) => {}
            }
        }
    }

    /// Adds the branches that the assembler resolved, so that they have no relocation.
    fn add_branches(&mut self) {
        for (at, function) in self.program.functions.iter().enumerate() {
            let targets = self.program.steps_of(at).flat_map(|step| [step.target, step.address]);
            let places = targets.flat_map(|target| self.program.places(target));
            // Data is found by relocations: an address in code may be the end of an array.
            let code = |place: &Place| self.program.module.sections()[place.section].is_executable();
            for place in places.filter(code).collect::<Vec<_>>() {
                self.add_edge(function.start, Some(place));
            }
            if let Some(place) = function.undecoded {
                self.undecoded.insert(function.start, place);
            }
        }
    }

    fn add_edge(&mut self, from: Place, to: Option<Place>) {
        if let Some(to) = to.and_then(|place| self.node(place)) {
            self.edges.entry(from).or_default().insert(to);
        }
    }

    fn find_starts(&mut self) {
        let module = self.program.module;
        let executable = |section: usize| module.sections()[section].is_executable();
        for symbol in module.symbols() {
            let SymbolSection::Section(section) = symbol.section else { continue };
            let named = match symbol.kind {
                SymbolKind::Function => true,
                SymbolKind::Section | SymbolKind::File => false,
                _ => !executable(section),
            };
            if named {
                self.starts.entry(section).or_default().insert(symbol.value);
            }
        }
        let targets = module.relocations().filter_map(|relocation| target(module, &relocation));
        for place in targets.filter(|place| !executable(place.section)) {
            self.starts.entry(place.section).or_default().insert(place.offset);
        }
    }

    /// The function or piece of data that a place is in; `None` for code before the first function of its section.
    fn node(&self, place: Place) -> Option<Place> {
        let starts = self.starts.get(&place.section);
        let start = starts.and_then(|starts| starts.range(..=place.offset).next_back().copied());
        let is_data = !self.program.module.sections()[place.section].is_executable();
        // Data before the first name of its section is a node too.
        start.or(is_data.then_some(0)).map(|offset| Place { offset, ..place })
    }

    /// Follows all references from a place.
    pub(crate) fn reached_from(&self, root: Place) -> Reached {
        let mut reached = Reached::default();
        let mut pending: VecDeque<Place> = self.node(root).into_iter().collect();
        let mut seen: BTreeSet<Place> = pending.iter().copied().collect();
        while let Some(node) = pending.pop_front() {
            let uses = self.uses.get(&node).into_iter().flatten();
            reached.uses.extend(uses.map(|symbol| (node, symbol.clone())));
            reached.undecoded.extend(self.undecoded.get(&node));
            for next in self.edges.get(&node).into_iter().flatten() {
                if seen.insert(*next) {
                    pending.push_back(*next);
                }
            }
        }
        reached
    }
}

/// Target of a relocation. A named symbol counts without its addend, which may be the distance to the end of the instruction or
/// the offset of a member; from the addend of a section symbol the usual distance is subtracted.
fn target(module: &Module<'_>, relocation: &Relocation) -> Option<Place> {
    const X86_PC32: u32 = 2;
    const X86_PLT32: u32 = 4;
    let symbol = &module.symbols()[relocation.symbol];
    let section = section_of(symbol)?;
    if symbol.kind != SymbolKind::Section {
        return Some(Place { section, offset: symbol.value });
    }
    let relative = module.machine() == Machine::X86_64 && [X86_PC32, X86_PLT32].contains(&relocation.kind);
    let addend = relocation.addend.saturating_add(if relative { 4 } else { 0 });
    Some(Place { section, offset: symbol.value.wrapping_add_signed(addend) })
}
