// SPDX-License-Identifier: GPL-2.0-or-later
//! Object file with the changed functions and all that only they bring along. What exists in the running kernel is referred to,
//! never copied; only texts and constants of the compiler are.

mod jump_labels;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use klp_format::{ObjectName, SymbolPosition, VMLINUX};
use klp_image::{Area, KernelImage, Memory, Symbol, Symbols};
use klp_kernel::exports::Exports;
use object::elf;
use serde::{Deserialize, Serialize};

use crate::names::{self, STATIC_CALL};
use crate::object::{
    ALLOC, EXECUTABLE, Flow, Instruction, ItemId, Object, Relocation, Target, WRITE, instructions,
};
use crate::pairs::{Comparison, is_by_content};
use crate::placement::Placement;
use crate::refusal::{self, Refusal, Rule};
use crate::shipped::{Found, Place, Pointed, Shipped};
use crate::special::{self, Entry};
use crate::writer::{Base, OutRelocation, OutSymbol, Output};

/// Name prefix of replacements, as in the kernel's own live patches in C.
const PREFIX: &str = "livepatch_";
/// Code that returns for a function (`CONFIG_MITIGATION_RETHUNK`).
const RETURN_THUNK: &str = "__x86_return_thunk";
/// Landing pad of an indirect branch.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// Sections whose content the kernel collects when it boots or loads a module, or frees afterwards.
pub(crate) const COLLECTED: [&str; 13] = [
    ".export_symbol",
    ".init",
    ".exit",
    "__ksymtab",
    "___ksymtab",
    ".initcall",
    "__param",
    ".modinfo",
    "_ftrace_events",
    "__tracepoints",
    "__syscalls_metadata",
    ".con_initcall",
    "__bpf_raw_tp_map",
];

/// Symbol of the kernel that the extracted code uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    /// Name in the object file.
    pub link_name: String,
    /// Object of the symbol.
    pub object: String,
    /// Name in that object.
    pub symbol: String,
    /// Symbol position.
    pub position: u32,
    /// True if the kernel exports it and the module imports it; otherwise the livepatch core resolves it.
    pub exported: bool,
    /// Namespace of the export.
    pub namespace: Option<String>,
    /// True for a function.
    pub is_function: bool,
}

/// A replaced function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// Object of the function.
    pub object: String,
    /// Name in that object.
    pub symbol: String,
    /// Symbol position.
    pub position: u32,
    /// Name of the replacement in the object file.
    pub entry: String,
}

/// Facts about the kernel for one extraction.
pub(crate) struct Facts<'f> {
    pub(crate) kernel: &'f KernelImage,
    pub(crate) exports: &'f Exports,
    /// Content of the kernel's memory.
    pub(crate) memory: &'f Memory,
    /// Object with the file.
    pub(crate) shipped: &'f Shipped<'f>,
    /// Name of the file.
    pub(crate) file: &'f str,
    /// Functions and variables that the files of the diff add for one another.
    pub(crate) added: &'f BTreeSet<String>,
    /// Functions whose landing pad the kernel removes when it boots.
    pub(crate) sealed: &'f BTreeSet<u64>,
    /// Functions of which objtool knows by name that they do not return.
    pub(crate) never_returning: &'f BTreeSet<String>,
    /// True if the kernel has landing pads of indirect branches (IBT).
    pub(crate) has_landing_pads: bool,
}

/// Result of an extraction.
pub(crate) struct Extracted {
    pub(crate) object: Vec<u8>,
    pub(crate) needed: Vec<Needed>,
    pub(crate) replaced: Vec<Replacement>,
    /// Functions and variables that are new.
    pub(crate) added: Vec<String>,
    /// New functions whose address the code takes.
    pub(crate) addresses: Vec<String>,
    /// Replaced functions that end in a jump.
    pub(crate) jumps: Vec<String>,
    /// Descriptors of dynamic debugging, and tracepoints, of a module, which the code passes by.
    pub(crate) passed_by: Vec<String>,
}

/// Place of a reference: base and offset.
type Referred = (Base, i64);

struct Extraction<'e> {
    comparison: &'e Comparison<'e>,
    /// Changed functions, by their numbers in the patched object.
    changed: &'e BTreeMap<ItemId, Found>,
    placement: &'e Placement,
    facts: &'e Facts<'e>,
    out: Output,
    /// Section and offset of the included items.
    included: BTreeMap<ItemId, (usize, u64)>,
    /// Included functions that got a landing pad, which stands before their offset.
    landing_pads: BTreeSet<ItemId>,
    /// Texts and constants: section and offset.
    literals: BTreeMap<(bool, Vec<u8>), (usize, u64)>,
    /// Code of alternatives: section and offset by range in the patched object. (An empty one begins where another one does.)
    slices: BTreeMap<(usize, u64, u64), (usize, u64)>,
    needed: BTreeMap<String, Needed>,
    replaced: Vec<Replacement>,
    addresses: BTreeSet<String>,
    jumps: BTreeSet<String>,
    passed_by: BTreeSet<String>,
    added: Vec<String>,
    pending: Vec<ItemId>,
    refusals: Vec<Refusal>,
}

/// Extracts the changed functions, and what they bring along.
///
/// # Errors
/// All reasons why a part cannot be extracted.
pub(crate) fn extract(
    comparison: &Comparison<'_>,
    changed: &BTreeMap<ItemId, Found>,
    placement: &Placement,
    facts: &Facts<'_>,
) -> Result<Extracted, Vec<Refusal>> {
    let mut extraction = Extraction {
        comparison,
        changed,
        placement,
        facts,
        out: Output::default(),
        included: BTreeMap::new(),
        landing_pads: BTreeSet::new(),
        literals: BTreeMap::new(),
        slices: BTreeMap::new(),
        needed: BTreeMap::new(),
        replaced: Vec::new(),
        addresses: BTreeSet::new(),
        jumps: BTreeSet::new(),
        passed_by: BTreeSet::new(),
        added: Vec::new(),
        pending: Vec::new(),
        refusals: Vec::new(),
    };
    for id in changed.keys() {
        extraction.include(*id);
    }
    // What other files of the diff use.
    let object = &comparison.patched.object;
    for (id, item) in object.items.iter().enumerate() {
        if item.is_global && facts.added.contains(&item.name) && comparison.pairs.original(id).is_none() {
            extraction.include(id);
        }
    }
    while let Some(id) = extraction.pending.pop() {
        extraction.fill(id);
    }
    extraction.finish()
}

impl<'e> Extraction<'e> {
    fn object(&self) -> &'e Object {
        &self.comparison.patched.object
    }

    fn refuse(&mut self, rule: Rule, subject: &str, message: impl Into<String>) {
        let refusal = rule.refuse(self.facts.file, subject, message);
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    fn finish(self) -> Result<Extracted, Vec<Refusal>> {
        if !self.refusals.is_empty() {
            return Err(self.refusals);
        }
        let written = self.out.write();
        let object = written.map_err(|error| {
            vec![refusal::RELOCATION.refuse(self.facts.file, "the object file", error.to_string())]
        })?;
        Ok(Extracted {
            object,
            needed: self.needed.into_values().collect(),
            replaced: self.replaced,
            added: self.added,
            addresses: self.addresses.into_iter().collect(),
            jumps: self.jumps.into_iter().collect(),
            passed_by: self.passed_by.into_iter().collect(),
        })
    }

    /// Includes an item in the output. Returns its section and offset.
    fn include(&mut self, id: ItemId) -> (usize, u64) {
        if let Some(place) = self.included.get(&id) {
            return *place;
        }
        let item = &self.object().items[id];
        let place = if item.is_function() { self.include_function(id) } else { self.include_variable(id) };
        self.included.insert(id, place);
        self.pending.push(id);
        if self.comparison.pairs.original(id).is_none() && !is_by_content(item) && item.parent.is_none() {
            self.added.push(item.name.clone());
        }
        place
    }

    /// A function has a section of its own. Its unlikely part follows it there, so that the kernel's search of stacks finds a task
    /// in that part too.
    fn include_function(&mut self, id: ItemId) -> (usize, u64) {
        const PADDING: u8 = 0x90;
        let object = self.object();
        let item = &object.items[id];
        let section = &object.sections[item.section];
        let kind = elf::SHT_PROGBITS.0;
        let name = format!(".text.{}", item.name);
        let number = self.out.section(&name, kind, ALLOC | EXECUTABLE, 0);
        let out = &mut self.out.sections[number];
        // ftrace returns into a replacement; with IBT it has a landing pad all the same, like every other one.
        let lacks_pad = self.facts.has_landing_pads
            && self.changed.contains_key(&id)
            && !section.bytes(item.range()).starts_with(&ENDBR64);
        let mut whole = section.bytes(item.start - item.pad..item.start).to_vec();
        if lacks_pad {
            whole.extend(ENDBR64);
        }
        whole.extend(section.bytes(item.range()));
        let symbol = out.push(&whole, section.align, PADDING) + item.pad;
        let start = if lacks_pad { symbol + ENDBR64.len() as u64 } else { symbol };
        if lacks_pad {
            self.landing_pads.insert(id);
        }
        if let Some(cold) = object.cold(id) {
            let part = &object.items[cold];
            let bytes = object.sections[part.section].bytes(part.range());
            let at = out.push(bytes, object.sections[part.section].align, PADDING);
            self.included.insert(cold, (number, at));
            self.pending.push(cold);
        }
        let size = self.out.sections[number].data.len() as u64 - symbol;
        let (name, is_global) = match self.changed.get(&id) {
            Some(found) => (self.replace(found), true),
            None => (item.name.clone(), item.is_global && self.comparison.pairs.original(id).is_none()),
        };
        self.out.symbols.push(OutSymbol {
            name,
            place: Some((number, symbol)),
            size,
            is_global,
            is_function: true,
        });
        (number, start)
    }

    /// Names the replacement of a function.
    fn replace(&mut self, found: &Found) -> String {
        let word = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
        let mut entry = format!("{PREFIX}{}", word(&found.name));
        // Modules may have a function of one name, from a header.
        if !self.facts.shipped.name.is_vmlinux() {
            entry = format!("{PREFIX}{}_{}", self.facts.shipped.name, word(&found.name));
        }
        if found.position.0 != 0 {
            entry = format!("{entry}_{}", found.position);
        }
        self.replaced.push(Replacement {
            object: self.facts.shipped.name.to_string(),
            symbol: found.name.clone(),
            position: found.position.0,
            entry: entry.clone(),
        });
        entry
    }

    fn include_variable(&mut self, id: ItemId) -> (usize, u64) {
        let object = self.object();
        let item = &object.items[id];
        let section = &object.sections[item.section];
        if section.name.starts_with(".data..percpu") {
            self.refuse(refusal::PER_CPU, &item.name, "it is a new per-CPU variable");
        } else if COLLECTED.iter().any(|name| section.name.starts_with(name)) {
            self.refuse(refusal::SECTION, &item.name, format!("it is new, in section {}", section.name));
        }
        let number = self.out.section(
            &section.name,
            section.kind,
            section.flags & (ALLOC | WRITE),
            section.entry_size,
        );
        // The first item of a section has its alignment, another one what its offset tells.
        let align = if item.start == 0 {
            section.align
        } else {
            (1 << item.start.trailing_zeros().min(6)).min(section.align)
        };
        let out = &mut self.out.sections[number];
        let start = if section.kind == elf::SHT_NOBITS.0 {
            let start = out.empty.next_multiple_of(align.max(1));
            out.empty = start + item.size;
            out.align = out.align.max(align);
            start
        } else {
            out.push(section.bytes(item.range()), align, 0)
        };
        if !is_by_content(item) {
            self.out.symbols.push(OutSymbol {
                name: item.name.clone(),
                place: Some((number, start)),
                size: item.size,
                is_global: item.is_global,
                is_function: false,
            });
        }
        (number, start)
    }

    /// Writes the references of an included item.
    fn fill(&mut self, id: ItemId) {
        let object = self.object();
        let item = &object.items[id];
        if let Some(section) = self.comparison.patched.unknown.get(&id) {
            let message = format!("section {section} refers to its code, and its purpose is not known here");
            self.refuse(refusal::SECTION, &item.name, message);
        }
        let Some((section, start)) = self.included.get(&id).copied() else { return };
        for relocation in object.relocations_of(id) {
            let at = start + (relocation.offset - item.start);
            self.refer(relocation, item.instructions.get(&relocation.offset), Some(id), (section, at));
        }
        for entry in self.comparison.patched.entries_of(id).to_vec() {
            if special::is_boot_constant(&object.sections[entry.section].name) {
                self.load_boot_constant(id, &entry, (section, start));
            } else {
                self.add_entry(&entry, (section, start));
            }
        }
    }

    /// Makes a load of a constant that the kernel writes into its own code at boot: `mov $constant, %register` becomes
    /// `mov place(%rip), %register`, where the place is the constant in the code of a function that the kernel runs.
    fn load_boot_constant(&mut self, id: ItemId, entry: &Entry, (section, start): (usize, u64)) {
        const NOP_3: [u8; 3] = [0x0f, 0x1f, 0x00];
        let object = self.object();
        let (item, of) = (&object.items[id], &object.sections[entry.section].name);
        let constant = of.strip_prefix(special::BOOT_POINTER);
        let site = constant.and_then(|constant| self.boot_constant(constant));
        let from = entry.at - 2;
        let range = u64::try_from(from).map(|from| item.start + from..item.start + from + 2).unwrap_or(0..0);
        let code = object.sections[item.section].bytes(range);
        // REX.W, with B for the upper registers; B8 and the register.
        let (register, rex) = match code {
            [rex @ (0x48 | 0x49), opcode @ 0xb8..=0xbf] => {
                (opcode & 7, if *rex == 0x49 { 0x4c } else { 0x48 })
            }
            _ => (0, 0),
        };
        let (Some((symbol, offset)), true) = (site, rex != 0) else {
            let message = format!(
                "the kernel writes a number into its code when it boots ({of}), which it cannot do here"
            );
            self.refuse(refusal::SECTION, &item.name, message);
            return;
        };
        let at = start.wrapping_add_signed(from);
        let out = &mut self.out.sections[section];
        let code = [&[rex, 0x8b, register << 3 | 5, 0, 0, 0, 0][..], &NOP_3].concat();
        let place = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(bytes) = out.data.get_mut(place..place.saturating_add(code.len())) {
            bytes.copy_from_slice(&code);
        }
        out.relocations.push(OutRelocation {
            offset: at + 3,
            kind: elf::R_X86_64_PC32.0,
            target: Base::Symbol(symbol),
            addend: offset - 4,
        });
    }

    /// A place in the kernel's code that has a constant which the kernel writes when it boots: symbol of the output and offset.
    fn boot_constant(&mut self, name: &str) -> Option<(usize, i64)> {
        let mark = |edge: &str| {
            let found = self.facts.kernel.symbols.named(&format!("__{edge}_{}{name}", special::BOOT_POINTER));
            found.first().map(|symbol| symbol.address)
        };
        let (start, end) = (mark("start")?, mark("stop")?);
        let site = (start..end).step_by(4).find_map(|entry| {
            let distance = i32::from_le_bytes(*self.facts.memory.bytes(entry, 4)?.first_chunk()?);
            let place = entry.wrapping_add_signed(distance.into());
            let (symbol, offset) = self.facts.kernel.symbols.containing(place)?;
            // Code of the kernel's start is freed.
            let area = self.facts.kernel.area(symbol.name, symbol.position);
            (area == Ok(Area::Code)).then(|| (found_of(&symbol, &self.facts.kernel.symbols), offset))
        })?;
        let object = ObjectName::new(VMLINUX).ok()?;
        Some((self.livepatch(&object, &site.0), site.1.cast_signed()))
    }

    /// Adds an entry of a special section, for a function at a place of the output.
    fn add_entry(&mut self, entry: &Entry, (function, start): (usize, u64)) {
        let object = self.object();
        let section = &object.sections[entry.section];
        let number =
            self.out.section(&section.name, section.kind, section.flags & (ALLOC | WRITE | EXECUTABLE), 0);
        let at = self.out.sections[number].push(section.bytes(entry.range.clone()), section.align, 0);
        let mut relocations = entry.relocations(object).iter();
        if let Some(first) = relocations.next() {
            self.out.sections[number].relocations.push(OutRelocation {
                offset: at + (first.offset - entry.range.start),
                kind: first.kind,
                target: Base::Section(function),
                addend: entry.at.wrapping_add_unsigned(start),
            });
        }
        for relocation in relocations {
            let place = (number, at + (relocation.offset - entry.range.start));
            let name = |number: usize| object.sections[number].name.as_str();
            match object.target(relocation, None) {
                Target::Place(other, offset) if name(other) == special::REPLACEMENTS => {
                    let from = u64::try_from(offset).unwrap_or(0);
                    let slice = self.slice(other, from..from + entry.replacement(object));
                    self.put(relocation, place, (Base::Section(slice.0), slice.1.cast_signed()), 0);
                }
                target => match self.switch_of_module(&section.name, &target) {
                    Some(referred) => self.put(relocation, place, referred, 0),
                    None => self.refer(relocation, None, None, place),
                },
            }
        }
    }

    /// Copies code of a section without names. Returns its place in the output.
    fn slice(&mut self, section: usize, range: Range<u64>) -> (usize, u64) {
        if let Some(place) = self.slices.get(&(section, range.start, range.end)) {
            return *place;
        }
        let object = self.object();
        let from = &object.sections[section];
        let number = self.out.section(&from.name, from.kind, from.flags & (ALLOC | WRITE | EXECUTABLE), 0);
        let at = self.out.sections[number].push(from.bytes(range.clone()), 1, 0x90);
        self.slices.insert((section, range.start, range.end), (number, at));
        let code = instructions(from, range.clone());
        for relocation in from.relocations_in(range.clone()) {
            let place = (number, at + (relocation.offset - range.start));
            self.refer(relocation, code.get(&relocation.offset), None, place);
        }
        (number, at)
    }

    /// Writes a reference at a place of the output. `within` is the item that has it.
    fn refer(
        &mut self,
        relocation: &Relocation,
        instruction: Option<&Instruction>,
        within: Option<ItemId>,
        place: (usize, u64),
    ) {
        let object = self.object();
        let flow = instruction.map_or(Flow::Other, |instruction| instruction.flow);
        self.note_jump(relocation, flow, within);
        let referred = match object.target(relocation, instruction) {
            Target::Text(text) => Some(self.literal(true, text)),
            Target::Constant(bytes) => Some(self.literal(false, bytes)),
            // The bytes behind the field are a part of the addend again when it is written.
            Target::Outside(name, offset) => {
                self.outside(name, flow).map(|symbol| (Base::Symbol(symbol), offset))
            }
            Target::Item(id, offset) => self.item(id, offset, flow, within),
            Target::Place(section, offset) => self.nameless(section, offset),
        };
        if let Some(referred) = referred {
            self.put(relocation, place, referred, relocation.behind(instruction));
        }
    }

    /// Notes a jump out of a replaced function: a task that sleeps in the other function would have nothing of the replacement on its
    /// stack. A short jump cannot be relocated.
    fn note_jump(&mut self, relocation: &Relocation, flow: Flow, within: Option<ItemId>) {
        let object = self.object();
        let Some(within) = within.filter(|_| flow == Flow::Jump) else { return };
        let function = object.items[within].parent.unwrap_or(within);
        let stays = match object.target_in(within, relocation) {
            Target::Item(target, _) => target == function || object.items[target].parent == Some(function),
            Target::Outside(name, _) => name == RETURN_THUNK,
            Target::Place(..) => true,
            _ => false,
        };
        if !stays && (self.changed.contains_key(&function) || relocation.size() == 1) {
            self.jumps.insert(object.items[function].name.clone());
        }
    }

    fn put(
        &mut self,
        relocation: &Relocation,
        (section, offset): (usize, u64),
        referred: Referred,
        behind: u64,
    ) {
        let out = &mut self.out.sections[section];
        // The module loader takes fields without content only. Those that the assembler had resolved have one.
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(relocation.size()).unwrap_or(0));
        if let Some(field) = out.data.get_mut(from..to) {
            field.fill(0);
        }
        out.relocations.push(OutRelocation {
            offset,
            kind: relocation.kind,
            target: referred.0,
            addend: referred.1.wrapping_sub_unsigned(behind),
        });
    }

    fn literal(&mut self, is_text: bool, bytes: &[u8]) -> Referred {
        let key = (is_text, bytes.to_vec());
        let place = self.literals.get(&key).copied().unwrap_or_else(|| {
            let name = if is_text { ".rodata.str" } else { ".rodata.cst" };
            let number = self.out.section(name, elf::SHT_PROGBITS.0, ALLOC, 0);
            let mut content = bytes.to_vec();
            if is_text {
                content.push(0);
            }
            let align = if is_text { 1 } else { (bytes.len() as u64).next_power_of_two() };
            (number, self.out.sections[number].push(&content, align, 0))
        });
        self.literals.insert(key, place);
        (Base::Section(place.0), place.1.cast_signed())
    }

    /// Reference to a place in a section without names.
    fn nameless(&mut self, section: usize, offset: i64) -> Option<Referred> {
        let object = self.object();
        let from = &object.sections[section];
        let start = u64::try_from(offset).ok().filter(|_| from.name == special::BEFORE_ALTERNATIVES);
        let Some(start) = start else {
            self.refuse(
                refusal::SECTION,
                &from.name,
                format!("the code refers to offset {offset} of this section"),
            );
            return None;
        };
        let slice = self.slice(section, special::before_alternatives(from, start));
        Some((Base::Section(slice.0), slice.1.cast_signed()))
    }

    /// Reference to a function or variable of the file.
    fn item(&mut self, id: ItemId, offset: i64, flow: Flow, within: Option<ItemId>) -> Option<Referred> {
        let object = self.object();
        let item = &object.items[id];
        let within = within.map(|within| object.items[within].parent.unwrap_or(within));
        let own_part = within.is_some_and(|within| within == id || item.parent == Some(within));
        // Labels of alternatives and tables of an included function.
        let is_label = item.is_function() && (offset != 0 || item.parent.is_some());
        let label = is_label && (own_part || self.included.contains_key(&id));
        let original = self.comparison.pairs.original(id);
        let brought = label
            || is_by_content(item)
            || match original {
                None => !self.comparison.pairs.is_ambiguous(id),
                Some(original) if item.is_function() && flow != Flow::Other => {
                    self.changed.contains_key(&id) || self.is_static_without_return(original)
                }
                Some(_) => false,
            };
        if !brought {
            return match original {
                Some(original) => {
                    self.existing(original, id, flow).map(|symbol| (Base::Symbol(symbol), offset))
                }
                None => {
                    let message = "a static variable of a function, and the unchanged source has several of this name, another number of them in this function";
                    self.refuse(refusal::STATIC_LOCAL, &item.name, message);
                    None
                }
            };
        }
        if item.is_function() && !label && flow == Flow::Other && !self.changed.contains_key(&id) {
            self.addresses.insert(item.name.clone());
        }
        let (section, mut start) = self.include(id);
        if self.landing_pads.contains(&id) && !label {
            start -= ENDBR64.len() as u64;
        }
        Some((Base::Section(section), offset.wrapping_add_unsigned(start)))
    }

    /// Symbol of the output for an item that the kernel has.
    fn existing(&mut self, original: ItemId, patched: ItemId, flow: Flow) -> Option<usize> {
        let item = &self.comparison.original.object.items[original];
        let name = &self.object().items[patched].name;
        if item.is_global
            && let Some(symbol) = self.exported(&item.name)
        {
            return Some(symbol);
        }
        let Some(found) = self.placement.symbol(item, self.facts.shipped) else {
            self.refuse(
                refusal::SYMBOL,
                name,
                "no code of its file shows where the kernel has it, and its name does not tell",
            );
            return None;
        };
        if item.is_function() && flow == Flow::Other && self.comparison.only_branches_use(original) {
            self.check_landing_pad(&found, self.facts.shipped.name.is_vmlinux());
        }
        Some(self.livepatch(&self.facts.shipped.name, &found))
    }

    /// Symbol of the output for a symbol of another file.
    fn outside(&mut self, name: &str, flow: Flow) -> Option<usize> {
        if self.facts.added.contains(name) {
            return Some(self.out.undefined(name));
        }
        if let Some(symbol) = self.exported(name) {
            return Some(symbol);
        }
        if let Some(Pointed::Here(place)) = self.placement.outside(name) {
            let found = self.facts.shipped.at(*place).into_iter().find(|found| found.name == name);
            if let Some(found) = found {
                self.check_address_of_other(&found, flow, self.facts.shipped.name.is_vmlinux());
                return Some(self.livepatch(&self.facts.shipped.name, &found));
            }
        }
        let own = self.facts.shipped.named(name);
        let candidates: Vec<Found> =
            match own.iter().filter(|found| found.is_global).collect::<Vec<_>>().as_slice() {
                [found] => vec![(*found).clone()],
                _ => own,
            };
        if let [found] = candidates.as_slice() {
            self.check_address_of_other(found, flow, self.facts.shipped.name.is_vmlinux());
            return Some(self.livepatch(&self.facts.shipped.name, found));
        }
        self.of_kernel(name, flow)
    }

    /// Symbol of the output for a global symbol of the kernel itself, for code of a module.
    fn of_kernel(&mut self, name: &str, flow: Flow) -> Option<usize> {
        let named = self.facts.kernel.symbols.named(name);
        let global = |kind: char| kind.is_ascii_uppercase();
        let mut chosen = named.iter().filter(|symbol| named.len() == 1 || global(symbol.kind));
        let (Some(symbol), None) = (chosen.next(), chosen.next()) else {
            self.refuse(
                refusal::SYMBOL,
                name,
                match named.len() {
                    0 => "the diff uses it, and the kernel has no symbol of this name".to_owned(),
                    count => format!("the diff uses it, and the kernel has {count} symbols of this name"),
                },
            );
            return None;
        };
        let found = Found { is_global: true, ..found_of(symbol, &self.facts.kernel.symbols) };
        self.check_address_of_other(&found, flow, true);
        let object = ObjectName::new(VMLINUX).ok()?;
        Some(self.livepatch(&object, &found))
    }

    /// Symbol of the output for an exported symbol; `None` if the kernel exports none of this name.
    fn exported(&mut self, name: &str) -> Option<usize> {
        let export = self.facts.exports.get(name)?;
        let object = ObjectName::new(&export.object_name()).ok()?;
        // objtool makes the site of a static call with its key, which the kernel's own code does not name. The kernel finds the key by
        // the trampoline only if that alone is exported (`__static_call_tramps` in `kernel/static_call_inline.c`).
        let has_key = name
            .strip_prefix(STATIC_CALL[0])
            .is_some_and(|call| self.facts.exports.contains_key(&format!("{}{call}", STATIC_CALL[1])));
        let (link_name, exported) = if object.is_vmlinux() && export.is_for_all() && !has_key {
            (name.to_owned(), true)
        } else {
            // An ordinary import of a module's symbol would make the patch depend on that module.
            (names::alias(&object, name, 0), false)
        };
        let needed = Needed {
            link_name: link_name.clone(),
            object: object.to_string(),
            symbol: name.to_owned(),
            position: 0,
            exported,
            namespace: export.namespace.clone().filter(|_| exported),
            is_function: true,
        };
        self.needed.insert(link_name.clone(), needed);
        Some(self.out.undefined(&link_name))
    }

    /// Symbol of the output that the livepatch core resolves.
    fn livepatch(&mut self, object: &ObjectName, found: &Found) -> usize {
        let link_name = names::link_name(object, found, self.facts.kernel, self.facts.never_returning);
        self.needed.entry(link_name.clone()).or_insert_with(|| Needed {
            link_name: link_name.clone(),
            object: object.to_string(),
            symbol: found.name.clone(),
            position: found.position.0,
            exported: false,
            namespace: None,
            is_function: found.is_code,
        });
        self.out.undefined(&link_name)
    }

    /// With IBT, an indirect call of a function without landing pad faults, and the kernel removes those that it does not need
    /// itself.
    fn check_landing_pad(&mut self, found: &Found, in_kernel: bool) {
        if !self.facts.has_landing_pads {
            return;
        }
        let length = ENDBR64.len() as u64;
        let begins = if in_kernel {
            self.facts.memory.bytes(found.place.address, length)
        } else {
            self.facts.shipped.bytes(found.place, length)
        };
        if begins != Some(&ENDBR64[..]) {
            let message = "the diff takes its address, and it has no landing pad";
            self.refuse(refusal::NO_LANDING_PAD, &found.name, message);
        } else if in_kernel && self.facts.sealed.contains(&found.place.address) {
            let message = "the diff takes its address, and the kernel removes its landing pad when it boots";
            self.refuse(refusal::NO_LANDING_PAD, &found.name, message);
        }
    }

    /// As [`Self::check_landing_pad`] for a function of another file, whose address the unchanged source does not take.
    fn check_address_of_other(&mut self, found: &Found, flow: Flow, in_kernel: bool) {
        if found.is_code && flow == Flow::Other && !self.comparison.original_takes_address(&found.name) {
            self.check_landing_pad(found, in_kernel);
        }
    }

    /// True for a static function that does not return. objtool finds this out by its body.
    fn is_static_without_return(&self, original: ItemId) -> bool {
        let object = &self.comparison.original.object;
        let item = &object.items[original];
        !item.is_global && !item.is_weak && crate::object::never_returns(object, original)
    }
}

/// A symbol of the kernel itself.
fn found_of(symbol: &Symbol<'_>, symbols: &Symbols) -> Found {
    Found {
        name: symbol.name.to_owned(),
        position: if symbols.count(symbol.name) == 1 { SymbolPosition(0) } else { symbol.position },
        place: Place { section: 0, address: symbol.address },
        is_code: symbol.is_code(),
        is_global: symbol.kind.is_ascii_uppercase(),
    }
}
