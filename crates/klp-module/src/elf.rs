// SPDX-License-Identifier: GPL-2.0-or-later
//! The ELF tables of a module: sections, symbols, relocations.

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{self, Header};
use goblin::elf::reloc::{self, RelocSection};
use goblin::elf::section_header::{self as sh, SectionHeader};
use goblin::elf::sym::{self, Sym};
use klp_format::{SHF_RELA_LIVEPATCH, SHN_LIVEPATCH};

use crate::error::Error;

const CONTEXT: Ctx = Ctx { container: Container::Big, le: Endian::Little };
const SECTION_HEADER_SIZE: usize = 64;
const SYMBOL_SIZE: usize = 24;
const RELA_SIZE: usize = 24;
/// Maximum length of a name, in bytes. Names are read one by one: without a limit a crafted file could make the parser
/// read its string table once per symbol. The kernel's own limit (`KSYM_NAME_LEN`) is 512.
const NAME_MAX: usize = 8192;

/// Processor architecture of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Arm64,
}

impl Machine {
    /// Name of the architecture, as printed by `uname -m`.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// psABI name of a relocation type without the leading `R_`: `X86_64_PLT32`.
    pub fn relocation_name(self, kind: u32) -> &'static str {
        reloc::r_to_str(kind, self.number())
    }

    /// Type number of the relocation that writes a 64-bit address.
    pub(crate) fn address_relocation(self) -> u32 {
        match self {
            Self::X86_64 => reloc::R_X86_64_64,
            Self::Arm64 => reloc::R_AARCH64_ABS64,
        }
    }

    fn number(self) -> u16 {
        match self {
            Self::X86_64 => header::EM_X86_64,
            Self::Arm64 => header::EM_AARCH64,
        }
    }
}

/// A section.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Index in the section table.
    pub index: usize,
    /// Section name.
    pub name: &'a str,
    /// Type (`SHT_...`).
    pub kind: u32,
    /// Flags (`SHF_...`).
    pub flags: u64,
    /// Size in memory, in bytes.
    pub size: u64,
    /// Alignment, in bytes.
    pub align: u64,
    /// Bytes in the file; empty for a section that only takes memory (`.bss`).
    pub data: &'a [u8],
    /// `sh_link`: section of the symbols for relocations, section of the names for symbols.
    pub link: u32,
    /// `sh_info`: for relocations the section that they change.
    pub info: u32,
}

impl Section<'_> {
    /// True if the section takes memory in the kernel.
    pub fn is_alloc(&self) -> bool {
        self.flags & u64::from(sh::SHF_ALLOC) != 0
    }

    /// True if the kernel maps the section writable.
    pub fn is_writable(&self) -> bool {
        self.flags & u64::from(sh::SHF_WRITE) != 0
    }

    /// True if the section contains code.
    pub fn is_executable(&self) -> bool {
        self.flags & u64::from(sh::SHF_EXECINSTR) != 0
    }

    /// True for relocation sections, ordinary or livepatch.
    pub fn is_rela(&self) -> bool {
        self.kind == sh::SHT_RELA
    }

    /// True for relocation sections that the livepatch core applies.
    pub fn is_klp_rela(&self) -> bool {
        self.is_rela() && self.flags & SHF_RELA_LIVEPATCH != 0
    }
}

/// Type of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    /// Unspecified.
    NoType,
    /// Data.
    Object,
    /// A function.
    Function,
    /// A section.
    Section,
    /// A source file.
    File,
    /// Another `STT_...`.
    Other(u8),
}

/// Binding of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Visible in this file only.
    Local,
    /// Visible in all files.
    Global,
    /// Visible in all files, and optional.
    Weak,
    /// Another `STB_...`.
    Other(u8),
}

/// Location of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolSection {
    /// Undefined: the module loader searches the exported symbols.
    Undefined,
    /// A number, not an address.
    Absolute,
    /// Not allocated; the kernel rejects it.
    Common,
    /// Resolved by the livepatch core (`SHN_LIVEPATCH`).
    Livepatch,
    /// Defined in the section with this index.
    Section(usize),
    /// Another reserved index.
    Other(u16),
}

/// A symbol.
#[derive(Clone, Copy, Debug)]
pub struct Symbol<'a> {
    /// Index in the symbol table.
    pub index: usize,
    /// Symbol name; empty for a section symbol.
    pub name: &'a str,
    /// Offset in the section, in bytes (in a module).
    pub value: u64,
    /// Size, in bytes.
    pub size: u64,
    /// Type of the symbol.
    pub kind: SymbolKind,
    /// Binding of the symbol.
    pub binding: Binding,
    /// Location of the symbol.
    pub section: SymbolSection,
}

/// A relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Index of the relocation section.
    pub section: usize,
    /// True if the livepatch core applies it, false if the module loader does.
    pub livepatch: bool,
    /// Index of the section that the relocation changes.
    pub target: usize,
    /// Offset in that section, in bytes.
    pub offset: u64,
    /// Type number (`R_...`).
    pub kind: u32,
    /// Index of the symbol.
    pub symbol: usize,
    /// Addend: constant that is added to the symbol value.
    pub addend: i64,
}

/// Validated sections and symbols.
pub(crate) struct Tables<'a> {
    pub(crate) machine: Machine,
    pub(crate) sections: Vec<Section<'a>>,
    pub(crate) symbols: Vec<Symbol<'a>>,
}

impl<'a> Tables<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, machine) = parse_header(bytes)?;
        let sections = parse_sections(bytes, &header)?;
        let symbols = parse_symbols(&sections)?;
        let tables = Self { machine, sections, symbols };
        tables.check_relocations(bytes.len())?;
        Ok(tables)
    }

    /// Relocation sections, in file order.
    pub(crate) fn relocation_sections(&self) -> impl Iterator<Item = &Section<'a>> {
        self.sections.iter().filter(|section| section.is_rela())
    }

    /// Relocations of one section.
    pub(crate) fn relocations_in(&self, section: &Section<'a>) -> impl Iterator<Item = Relocation> + use<'a> {
        let Section { index, info, data, .. } = *section;
        let livepatch = section.is_klp_rela();
        // Cannot fail: the section size is a multiple of the entry size (check_relocations).
        let entries = RelocSection::parse(data, 0, data.len(), true, CONTEXT).unwrap_or_default();
        (0..entries.len()).filter_map(move |at| entries.get(at)).map(move |entry| Relocation {
            section: index,
            livepatch,
            target: info as usize,
            offset: entry.r_offset,
            kind: entry.r_type,
            symbol: entry.r_sym,
            addend: entry.r_addend.unwrap_or(0),
        })
    }

    fn check_relocations(&self, file_length: usize) -> Result<(), Error> {
        let mut total: usize = 0;
        for section in &self.sections {
            if section.kind == sh::SHT_REL {
                let what = format!("section {} holds relocations without addends (SHT_REL)", section.name);
                return Err(Error::Malformed { what: format!("{what}, which this machine does not have") });
            }
            if !section.is_rela() {
                continue;
            }
            if section.data.len() % RELA_SIZE != 0 {
                let length = section.data.len();
                let what = format!("section {} has {length} bytes, no multiple of {RELA_SIZE}", section.name);
                return Err(Error::Malformed { what });
            }
            // Overlapping sections would make a small file expensive to parse.
            total = total.saturating_add(section.data.len());
            if total > file_length {
                return Err(Error::Malformed { what: "sections of relocations overlap".to_owned() });
            }
            self.check_relocation_section(section)?;
        }
        Ok(())
    }

    fn check_relocation_section(&self, section: &Section<'a>) -> Result<(), Error> {
        let count = self.sections.len();
        let target = self.sections.get(section.info as usize).ok_or_else(|| Error::BadIndex {
            what: format!("relocation section {}", section.name),
            target: "section",
            index: section.info.into(),
            count,
        })?;
        for relocation in self.relocations_in(section) {
            let what = || format!("the relocation for {:#x} in {}", relocation.offset, section.name);
            if relocation.symbol >= self.symbols.len() {
                return Err(Error::BadIndex {
                    what: what(),
                    target: "symbol",
                    index: relocation.symbol as u64,
                    count: self.symbols.len(),
                });
            }
            if relocation.offset >= target.size {
                return Err(Error::OutOfBounds {
                    what: format!("{}, against section {},", what(), target.name),
                    offset: relocation.offset,
                    size: 1,
                    available: target.size,
                });
            }
        }
        Ok(())
    }
}

fn parse_header(bytes: &[u8]) -> Result<(Header, Machine), Error> {
    if !bytes.starts_with(header::ELFMAG) {
        return Err(Error::NotElf { found: bytes.iter().take(4).copied().collect() });
    }
    expect("class", bytes.get(header::EI_CLASS), header::ELFCLASS64, "2 (64-bit)")?;
    expect("byte order", bytes.get(header::EI_DATA), header::ELFDATA2LSB, "1 (little-endian)")?;
    let header = goblin::elf::Elf::parse_header(bytes)
        .map_err(|source| Error::Elf { what: "the ELF header", source })?;
    let unsupported = |what, found: u16, expected| Error::Unsupported { what, found: found.into(), expected };
    if header.e_type != header::ET_REL {
        return Err(unsupported("type", header.e_type, "1 (relocatable)"));
    }
    let machine = match header.e_machine {
        header::EM_X86_64 => Machine::X86_64,
        header::EM_AARCH64 => Machine::Arm64,
        other => return Err(unsupported("machine", other, "62 (x86_64) or 183 (arm64)")),
    };
    if usize::from(header.e_shentsize) != SECTION_HEADER_SIZE {
        return Err(unsupported("section header size", header.e_shentsize, "64"));
    }
    // The kernel uses e_shnum directly and ignores a count in the null section.
    if header.e_shnum == 0 {
        return Err(unsupported("number of sections", 0, "at least 1"));
    }
    Ok((header, machine))
}

fn expect(what: &'static str, found: Option<&u8>, wanted: u8, expected: &'static str) -> Result<(), Error> {
    match found {
        Some(&found) if found == wanted => Ok(()),
        found => Err(Error::Unsupported { what, found: found.copied().unwrap_or(0).into(), expected }),
    }
}

fn parse_sections<'a>(bytes: &'a [u8], header: &Header) -> Result<Vec<Section<'a>>, Error> {
    let count = usize::from(header.e_shnum);
    let table = slice(bytes, header.e_shoff, (count * SECTION_HEADER_SIZE) as u64, || {
        "the section header table".to_owned()
    })?;
    let headers = SectionHeader::parse_from(table, 0, count, CONTEXT)
        .map_err(|source| Error::Elf { what: "the section header table", source })?;
    let data = headers
        .iter()
        .enumerate()
        .map(|(index, header)| section_data(bytes, index, header))
        .collect::<Result<Vec<_>, _>>()?;
    let names = *data.get(usize::from(header.e_shstrndx)).ok_or_else(|| Error::BadIndex {
        what: "the ELF header (for section names)".to_owned(),
        target: "section",
        index: header.e_shstrndx.into(),
        count,
    })?;
    let with_names = headers.iter().zip(data).enumerate();
    with_names
        .map(|(index, (header, data))| {
            Ok(Section {
                index,
                name: name_at(names, header.sh_name, || format!("section {index}"))?,
                kind: header.sh_type,
                flags: header.sh_flags,
                size: header.sh_size,
                align: header.sh_addralign,
                data,
                link: header.sh_link,
                info: header.sh_info,
            })
        })
        .collect()
}

fn section_data<'a>(bytes: &'a [u8], index: usize, header: &SectionHeader) -> Result<&'a [u8], Error> {
    match header.sh_type {
        sh::SHT_NULL | sh::SHT_NOBITS => Ok(&[]),
        _ => slice(bytes, header.sh_offset, header.sh_size, || format!("section {index}")),
    }
}

fn parse_symbols<'a>(sections: &[Section<'a>]) -> Result<Vec<Symbol<'a>>, Error> {
    let mut tables = sections.iter().filter(|section| section.kind == sh::SHT_SYMTAB);
    let Some(table) = tables.next() else {
        return Ok(Vec::new());
    };
    if tables.next().is_some() {
        return Err(Error::Malformed { what: "it has more than one symbol table".to_owned() });
    }
    let names = sections.get(table.link as usize).ok_or_else(|| Error::BadIndex {
        what: "the symbol table (for names)".to_owned(),
        target: "section",
        index: table.link.into(),
        count: sections.len(),
    })?;
    if table.data.len() % SYMBOL_SIZE != 0 {
        let what = format!("the symbol table has {} bytes, no multiple of {SYMBOL_SIZE}", table.data.len());
        return Err(Error::Malformed { what });
    }
    let symbols = Sym::parse(table.data, 0, table.data.len() / SYMBOL_SIZE, CONTEXT)
        .map_err(|source| Error::Elf { what: "the symbol table", source })?;
    symbols
        .iter()
        .enumerate()
        .map(|(index, symbol)| {
            Ok(Symbol {
                index,
                name: name_at(names.data, symbol.st_name, || format!("symbol {index}"))?,
                value: symbol.st_value,
                size: symbol.st_size,
                kind: symbol_kind(symbol.st_type()),
                binding: binding(symbol.st_bind()),
                section: symbol_section(symbol, index, sections.len())?,
            })
        })
        .collect()
}

fn symbol_kind(kind: u8) -> SymbolKind {
    match kind {
        sym::STT_NOTYPE => SymbolKind::NoType,
        sym::STT_OBJECT => SymbolKind::Object,
        sym::STT_FUNC => SymbolKind::Function,
        sym::STT_SECTION => SymbolKind::Section,
        sym::STT_FILE => SymbolKind::File,
        other => SymbolKind::Other(other),
    }
}

fn binding(binding: u8) -> Binding {
    match binding {
        sym::STB_LOCAL => Binding::Local,
        sym::STB_GLOBAL => Binding::Global,
        sym::STB_WEAK => Binding::Weak,
        other => Binding::Other(other),
    }
}

fn symbol_section(symbol: &Sym, index: usize, count: usize) -> Result<SymbolSection, Error> {
    let number = symbol.st_shndx;
    let reserved = u16::try_from(number).ok().filter(|&reserved| u32::from(reserved) >= sh::SHN_LORESERVE);
    match reserved {
        Some(SHN_LIVEPATCH) => Ok(SymbolSection::Livepatch),
        Some(reserved) if u32::from(reserved) == sh::SHN_ABS => Ok(SymbolSection::Absolute),
        Some(reserved) if u32::from(reserved) == sh::SHN_COMMON => Ok(SymbolSection::Common),
        Some(reserved) => Ok(SymbolSection::Other(reserved)),
        None if number == 0 => Ok(SymbolSection::Undefined),
        None if number < count => Ok(SymbolSection::Section(number)),
        None => Err(Error::BadIndex {
            what: format!("symbol {index}"),
            target: "section",
            index: number as u64,
            count,
        }),
    }
}

fn slice(bytes: &[u8], offset: u64, size: u64, what: impl Fn() -> String) -> Result<&[u8], Error> {
    let range = || {
        let start = usize::try_from(offset).ok()?;
        bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    };
    range().ok_or_else(|| Error::OutOfBounds { what: what(), offset, size, available: bytes.len() as u64 })
}

fn name_at(names: &[u8], offset: usize, what: impl Fn() -> String) -> Result<&str, Error> {
    // With an empty string table, offset 0 is still valid: no name.
    if offset == 0 && names.is_empty() {
        return Ok("");
    }
    let bad = |why| Error::BadName { what: what(), offset: offset as u64, why };
    let rest = names.get(offset..).ok_or_else(|| bad("lies outside of it"))?;
    let window = &rest[..rest.len().min(NAME_MAX)];
    let end = window.iter().position(|&byte| byte == 0).ok_or_else(|| bad("has no end"))?;
    std::str::from_utf8(&window[..end]).map_err(|_| bad("is no UTF-8"))
}
