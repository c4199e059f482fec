// SPDX-License-Identifier: GPL-2.0-or-later
//! An object file of the compiler as functions and variables with what they refer to.
//!
//! The compiler gives each function and variable a section of its own (`-ffunction-sections -fdata-sections`), except where the
//! source names the section. So an item is the range of a symbol in a section.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};
use object::elf;
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::{LittleEndian, Object as _, ObjectSection, ObjectSymbol};

/// Fault of an object file.
#[derive(Debug, thiserror::Error)]
#[error("it is no object file that can be read: {0}")]
pub(crate) struct Damaged(pub(crate) String);

/// Number of an item in its object.
pub(crate) type ItemId = usize;

/// An object file.
pub(crate) struct Object {
    /// Sections; the number in the file is the index.
    pub(crate) sections: Vec<Section>,
    /// Symbols; the number in the file is the index.
    pub(crate) symbols: Vec<Symbol>,
    /// Functions and variables, in the order of sections and offsets.
    pub(crate) items: Vec<Item>,
    /// Items of each section, in the order of offsets.
    of_section: Vec<Vec<ItemId>>,
}

/// A section.
pub(crate) struct Section {
    pub(crate) name: String,
    /// Content; empty for a section without content in the file.
    pub(crate) data: Vec<u8>,
    /// Size in bytes.
    pub(crate) size: u64,
    /// `sh_flags`.
    pub(crate) flags: u64,
    /// `sh_type`.
    pub(crate) kind: u32,
    /// `sh_addralign`.
    pub(crate) align: u64,
    /// `sh_entsize`.
    pub(crate) entry_size: u64,
    /// Relocations, in the order of offsets.
    pub(crate) relocations: Vec<Relocation>,
}

/// A relocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation {
    /// Offset of the field in the section.
    pub(crate) offset: u64,
    /// `R_X86_64_...`.
    pub(crate) kind: u32,
    /// Number of the symbol.
    pub(crate) symbol: usize,
    pub(crate) addend: i64,
}

/// A symbol.
pub(crate) struct Symbol {
    pub(crate) name: String,
    pub(crate) value: u64,
    pub(crate) size: u64,
    /// Section; `None` for an undefined or absolute symbol.
    pub(crate) section: Option<usize>,
    /// `STB_...`.
    pub(crate) binding: u8,
    /// `STT_...`.
    pub(crate) kind: u8,
}

/// Kind of an [`Item`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Function,
    Variable,
    /// Content of a section without symbols.
    Nameless,
}

/// A function or variable.
pub(crate) struct Item {
    /// Name; empty for [`ItemKind::Nameless`].
    pub(crate) name: String,
    /// Further names of the same place.
    pub(crate) aliases: Vec<String>,
    pub(crate) kind: ItemKind,
    pub(crate) section: usize,
    /// Offset in the section.
    pub(crate) start: u64,
    /// Size in bytes; a variable may have none.
    pub(crate) size: u64,
    /// Bytes of padding that belong to it, before its start.
    pub(crate) pad: u64,
    /// True for a symbol that other files see.
    pub(crate) is_global: bool,
    pub(crate) is_weak: bool,
    /// Function whose unlikely part this is (`f.cold`).
    pub(crate) parent: Option<ItemId>,
    /// Instructions of the relocated fields, by offset of the field in the section; empty for a variable.
    pub(crate) instructions: Instructions,
}

impl Item {
    pub(crate) fn is_function(&self) -> bool {
        self.kind == ItemKind::Function
    }

    /// Range in the section.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        self.start..self.start + self.size
    }
}

/// Place to which a relocation points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'o> {
    /// An item of the object, and an offset in it.
    Item(ItemId, i64),
    /// A text, without its end.
    Text(&'o [u8]),
    /// A constant in a section of constants with one size.
    Constant(&'o [u8]),
    /// A symbol of another file, and an offset.
    Outside(&'o str, i64),
    /// A place in a section whose content has no names: number and offset.
    Place(usize, i64),
}

/// Flags of sections.
pub(crate) const ALLOC: u64 = elf::SHF_ALLOC.0;
pub(crate) const EXECUTABLE: u64 = elf::SHF_EXECINSTR.0;
pub(crate) const WRITE: u64 = elf::SHF_WRITE.0;
const MERGE: u64 = elf::SHF_MERGE.0;
const STRINGS: u64 = elf::SHF_STRINGS.0;
/// Largest padding before a function (`CONFIG_FUNCTION_PADDING_BYTES` and alignment).
const NOP: u8 = 0x90;

impl Section {
    pub(crate) fn is_text(&self) -> bool {
        self.flags & (MERGE | STRINGS) == MERGE | STRINGS
    }

    fn is_constants(&self) -> bool {
        self.flags & (MERGE | STRINGS) == MERGE
    }

    pub(crate) fn is_alloc(&self) -> bool {
        self.flags & ALLOC != 0
    }

    pub(crate) fn is_code(&self) -> bool {
        self.flags & EXECUTABLE != 0
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.flags & WRITE != 0
    }

    /// Relocations of a range.
    pub(crate) fn relocations_in(&self, range: std::ops::Range<u64>) -> &[Relocation] {
        let from = self.relocations.partition_point(|relocation| relocation.offset < range.start);
        let to = self.relocations.partition_point(|relocation| relocation.offset < range.end);
        self.relocations.get(from..to.max(from)).unwrap_or_default()
    }

    /// Content of a range; empty for a section without content.
    pub(crate) fn bytes(&self, range: std::ops::Range<u64>) -> &[u8] {
        let range = usize::try_from(range.start).unwrap_or(0)..usize::try_from(range.end).unwrap_or(0);
        self.data.get(range).unwrap_or_default()
    }
}

impl Relocation {
    /// Size of the field, in bytes.
    pub(crate) fn size(&self) -> u64 {
        match elf::RelocationType(self.kind) {
            elf::R_X86_64_64 | elf::R_X86_64_PC64 => 8,
            elf::R_X86_64_PC8 => 1,
            elf::R_X86_64_NONE => 0,
            _ => 4,
        }
    }

    /// Distance from the field to the place that its value counts from, in bytes.
    pub(crate) fn behind(&self, instruction: Option<&Instruction>) -> u64 {
        if self.is_relative() { instruction.map_or(0, |instruction| instruction.rest) } else { 0 }
    }

    /// True if the field has the distance from itself.
    pub(crate) fn is_relative(&self) -> bool {
        matches!(
            elf::RelocationType(self.kind),
            elf::R_X86_64_PC8 | elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 | elf::R_X86_64_PC64
        )
    }
}

impl Object {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Damaged> {
        let damaged = |error: object::Error| Damaged(error.to_string());
        let file = ElfFile64::<LittleEndian>::parse(bytes).map_err(damaged)?;
        let mut sections = vec![Section::none()];
        for section in file.sections() {
            let header = section.elf_section_header();
            let mut relocations = Vec::new();
            for (offset, relocation) in section.relocations() {
                let object::RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
                let object::RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
                relocations.push(Relocation {
                    offset,
                    kind: r_type.0,
                    symbol: symbol.0,
                    addend: relocation.addend(),
                });
            }
            relocations.sort_by_key(|relocation| relocation.offset);
            let index = section.index().0;
            while sections.len() < index {
                sections.push(Section::none());
            }
            sections.push(Section {
                name: section.name().map_err(damaged)?.to_owned(),
                data: section.data().map_err(damaged)?.to_vec(),
                size: section.size(),
                flags: header.sh_flags(LittleEndian).0,
                kind: header.sh_type(LittleEndian).0,
                align: header.sh_addralign(LittleEndian),
                entry_size: header.sh_entsize(LittleEndian),
                relocations,
            });
        }
        let mut symbols = vec![Symbol::none()];
        for symbol in file.symbols() {
            while symbols.len() < symbol.index().0 {
                symbols.push(Symbol::none());
            }
            let raw = symbol.elf_symbol();
            symbols.push(Symbol {
                name: symbol.name().map_err(damaged)?.to_owned(),
                value: symbol.address(),
                size: symbol.size(),
                section: symbol.section_index().map(|index| index.0),
                binding: raw.st_bind().0,
                kind: raw.st_type().0,
            });
        }
        let mut object =
            Self { of_section: vec![Vec::new(); sections.len()], sections, symbols, items: Vec::new() };
        object.find_items();
        Ok(object)
    }

    fn find_items(&mut self) {
        let mut places: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
        for (number, symbol) in self.symbols.iter().enumerate() {
            let is_item = matches!(elf::SymbolType(symbol.kind), elf::STT_FUNC | elf::STT_OBJECT);
            let Some(section) = symbol.section.filter(|_| is_item) else { continue };
            if self.sections.get(section).is_some_and(Section::is_alloc) {
                places.entry((section, symbol.value)).or_default().push(number);
            }
        }
        for ((section, start), mut numbers) in places {
            // The first symbol of the file is the one that the source defines; a global one comes before its aliases.
            numbers.sort_by_key(|&number| {
                let symbol = &self.symbols[number];
                (std::cmp::Reverse(symbol.size), symbol.binding == elf::STB_WEAK.0, number)
            });
            let symbol = &self.symbols[numbers[0]];
            let is_function = symbol.kind == elf::STT_FUNC.0;
            self.items.push(Item {
                name: symbol.name.clone(),
                aliases: numbers[1..].iter().map(|&number| self.symbols[number].name.clone()).collect(),
                kind: if is_function { ItemKind::Function } else { ItemKind::Variable },
                section,
                start,
                size: symbol.size,
                pad: 0,
                is_global: numbers.iter().any(|&number| self.symbols[number].binding != elf::STB_LOCAL.0),
                is_weak: symbol.binding == elf::STB_WEAK.0,
                parent: None,
                instructions: Instructions::new(),
            });
        }
        self.add_nameless();
        self.items.sort_by_key(|item| (item.section, item.start));
        for (id, item) in self.items.iter().enumerate() {
            self.of_section[item.section].push(id);
        }
        self.find_parts();
        self.relocate_branches();
        for id in 0..self.items.len() {
            if self.items[id].is_function() {
                self.items[id].pad = self.padding(id);
                let item = &self.items[id];
                self.items[id].instructions = instructions(&self.sections[item.section], item.range());
            }
        }
    }

    /// Adds relocations for the branches between functions of one section, and for calls of a function by itself, which the assembler
    /// resolved.
    fn relocate_branches(&mut self) {
        for number in 0..self.sections.len() {
            let section = &self.sections[number];
            if !section.is_code() {
                continue;
            }
            let mut found = Vec::new();
            for &id in &self.of_section[number] {
                let range = self.items[id].range();
                let mut decoder =
                    Decoder::with_ip(64, section.bytes(range.clone()), range.start, DecoderOptions::NONE);
                while decoder.can_decode() {
                    let instruction = decoder.decode();
                    let (end, target) = (instruction.next_ip(), instruction.near_branch_target());
                    let is_near = instruction.op0_kind() == OpKind::NearBranch64;
                    let is_relocated = !section.relocations_in(instruction.ip()..end).is_empty();
                    let short = instruction.len() == 2;
                    let stays = range.contains(&target) && (short || target != range.start);
                    if !is_near || is_relocated || stays {
                        continue;
                    }
                    let Some(symbol) = self.function_symbol(number, target) else { continue };
                    let (kind, size) = if short { (elf::R_X86_64_PC8, 1) } else { (elf::R_X86_64_PC32, 4) };
                    let addend = target.wrapping_sub(self.symbols[symbol].value).cast_signed() - size;
                    let offset = end.wrapping_add_signed(-size);
                    found.push(Relocation { offset, kind: kind.0, symbol, addend });
                }
            }
            let section = &mut self.sections[number];
            section.relocations.extend(found);
            section.relocations.sort_by_key(|relocation| relocation.offset);
        }
    }

    /// Symbol of the function at an offset of a section.
    fn function_symbol(&self, section: usize, offset: u64) -> Option<usize> {
        let start = self.items[self.item_at(section, offset)?].start;
        self.symbols.iter().position(|symbol| {
            symbol.section == Some(section) && symbol.value == start && symbol.kind == elf::STT_FUNC.0
        })
    }

    /// Sections of data without symbols are items too.
    fn add_nameless(&mut self) {
        let named: std::collections::BTreeSet<usize> = self.items.iter().map(|item| item.section).collect();
        for (number, section) in self.sections.iter().enumerate() {
            let is_data = section.name.starts_with(".rodata") || section.name.starts_with(".data");
            let is_merged = section.is_text() || section.is_constants();
            if is_data && section.is_alloc() && !is_merged && section.size > 0 && !named.contains(&number) {
                self.items.push(Item {
                    name: String::new(),
                    aliases: Vec::new(),
                    kind: ItemKind::Nameless,
                    section: number,
                    start: 0,
                    size: section.size,
                    pad: 0,
                    is_global: false,
                    is_weak: false,
                    parent: None,
                    instructions: Instructions::new(),
                });
            }
        }
    }

    /// Finds the function of each unlikely part.
    fn find_parts(&mut self) {
        let functions: BTreeMap<String, ItemId> = self
            .items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.is_function())
            .map(|(id, item)| (item.name.clone(), id))
            .collect();
        for item in &mut self.items {
            let name = item.name.rsplit_once(".cold").map(|(name, _)| name);
            item.parent = name
                .filter(|_| item.kind == ItemKind::Function)
                .and_then(|name| functions.get(name).copied());
        }
    }

    /// Padding before a function: nops between it and what is before it in its section.
    fn padding(&self, id: ItemId) -> u64 {
        let item = &self.items[id];
        let before = self.of_section[item.section].iter().map(|&other| &self.items[other]);
        let limit =
            before.filter(|other| other.start < item.start).map(|other| other.start + other.size).max();
        let bytes = self.sections[item.section].bytes(limit.unwrap_or(0)..item.start);
        bytes.iter().rev().take_while(|byte| **byte == NOP).count().min(16) as u64
    }

    /// Item with this name.
    pub(crate) fn item(&self, name: &str) -> Option<ItemId> {
        self.items.iter().position(|item| item.name == name)
    }

    /// True if a section has no symbols of functions and variables.
    pub(crate) fn is_nameless(&self, section: usize) -> bool {
        self.of_section
            .get(section)
            .is_none_or(|items| items.iter().all(|&id| self.items[id].kind == ItemKind::Nameless))
    }

    /// Unlikely part of a function.
    pub(crate) fn cold(&self, id: ItemId) -> Option<ItemId> {
        self.items.iter().position(|item| item.parent == Some(id))
    }

    /// Item at an offset of a section; the end of an item counts if nothing else begins there.
    pub(crate) fn item_at(&self, section: usize, offset: u64) -> Option<ItemId> {
        let items = self.of_section.get(section)?;
        let after = items.partition_point(|&id| self.items[id].start <= offset);
        let id = *items.get(after.checked_sub(1)?)?;
        let item = &self.items[id];
        (offset <= item.start + item.size).then_some(id)
    }

    /// Relocations of an item.
    pub(crate) fn relocations_of(&self, id: ItemId) -> &[Relocation] {
        let item = &self.items[id];
        self.sections[item.section].relocations_in(item.range())
    }

    /// Place of a relocation in code of a function.
    pub(crate) fn target_in(&self, id: ItemId, relocation: &Relocation) -> Target<'_> {
        self.target(relocation, self.items[id].instructions.get(&relocation.offset))
    }

    /// Place of a relocation. `instruction` is that of the field, for code.
    pub(crate) fn target(&self, relocation: &Relocation, instruction: Option<&Instruction>) -> Target<'_> {
        let behind = relocation.behind(instruction);
        let addend = relocation.addend.wrapping_add_unsigned(behind);
        let symbol = &self.symbols[relocation.symbol];
        let Some(number) = symbol.section else { return Target::Outside(&symbol.name, addend) };
        let section = &self.sections[number];
        let offset = (symbol.value.cast_signed()).wrapping_add(addend);
        let at = u64::try_from(offset).unwrap_or(u64::MAX);
        if section.is_text() {
            let text = section.bytes(at..section.size);
            return Target::Text(text.split(|byte| *byte == 0).next().unwrap_or_default());
        }
        if section.is_constants() {
            return Target::Constant(section.bytes(at..at.saturating_add(section.entry_size)));
        }
        // A symbol with a name means its own item, whatever the offset.
        let named = (symbol.kind != elf::STT_SECTION.0).then(|| self.item_at(number, symbol.value)).flatten();
        // Code may count from a place outside of an array.
        let only = match self.of_section[number].as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        match named.or_else(|| self.item_at(number, at)).or(only) {
            Some(id) => Target::Item(id, offset.wrapping_sub_unsigned(self.items[id].start)),
            None => Target::Place(number, offset),
        }
    }
}

impl Section {
    fn none() -> Self {
        Self {
            name: String::new(),
            data: Vec::new(),
            size: 0,
            flags: 0,
            kind: 0,
            align: 0,
            entry_size: 0,
            relocations: Vec::new(),
        }
    }
}

impl Symbol {
    fn none() -> Self {
        Self { name: String::new(), value: 0, size: 0, section: None, binding: 0, kind: 0 }
    }
}

/// Instruction with a relocated field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Bytes from the field to the end of the instruction.
    pub(crate) rest: u64,
    pub(crate) flow: Flow,
}

/// Effect of an instruction on the flow of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// A direct call.
    Call,
    /// A direct jump, conditional or not.
    Jump,
    /// Any other instruction.
    Other,
}

/// Instructions by offset of their relocated field in the section.
pub(crate) type Instructions = BTreeMap<u64, Instruction>;

/// Instructions of the relocated fields of a range of code.
pub(crate) fn instructions(section: &Section, range: std::ops::Range<u64>) -> Instructions {
    let mut found = Instructions::new();
    let mut pending = section.relocations_in(range.clone()).iter().peekable();
    let mut decoder = Decoder::with_ip(64, section.bytes(range.clone()), range.start, DecoderOptions::NONE);
    while decoder.can_decode() && pending.peek().is_some() {
        let instruction = decoder.decode();
        let end = instruction.next_ip();
        let direct = instruction.op0_kind() == OpKind::NearBranch64;
        let flow = match instruction.flow_control() {
            FlowControl::Call if direct => Flow::Call,
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch if direct => Flow::Jump,
            _ => Flow::Other,
        };
        while let Some(relocation) = pending.next_if(|relocation| relocation.offset < end) {
            found.insert(relocation.offset, Instruction { rest: end - relocation.offset, flow });
        }
    }
    found
}

/// True if no path of a function leads to a return or out of the function.
pub(crate) fn never_returns(object: &Object, id: ItemId) -> bool {
    let parts = [Some(id), object.cold(id)];
    parts.into_iter().flatten().all(|part| {
        let item = &object.items[part];
        let section = &object.sections[item.section];
        let jumps_out = object.relocations_of(part).iter().any(|relocation| {
            let jumps =
                item.instructions.get(&relocation.offset).is_some_and(|found| found.flow == Flow::Jump);
            let own = match object.target_in(part, relocation) {
                Target::Item(target, _) => target == id || object.items[target].parent == Some(id),
                _ => false,
            };
            jumps && !own
        });
        let mut decoder = Decoder::with_ip(64, section.bytes(item.range()), item.start, DecoderOptions::NONE);
        let mut returns = false;
        while decoder.can_decode() {
            let flow = decoder.decode().flow_control();
            returns |= matches!(flow, FlowControl::Return | FlowControl::IndirectBranch);
        }
        !jumps_out && !returns
    })
}

/// Length of the instruction at an offset of a section, in bytes.
pub(crate) fn length_at(section: &Section, offset: u64) -> u64 {
    let bytes = section.bytes(offset..section.size.min(offset + 16));
    Decoder::with_ip(64, bytes, offset, DecoderOptions::NONE).decode().len() as u64
}

/// Name without the number that the compiler gives a static variable of a function, or `__UNIQUE_ID` a name.
pub(crate) fn base_name(name: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.rsplit_once('.') {
        Some((base, number)) if digits(number) => base,
        _ if name.starts_with("__UNIQUE_ID_") => name.trim_end_matches(|c: char| c.is_ascii_digit()),
        _ => name,
    }
}

/// True if the compiler or the preprocessor numbered the name.
pub(crate) fn is_numbered(name: &str) -> bool {
    base_name(name).len() < name.len()
}
