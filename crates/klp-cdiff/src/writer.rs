// SPDX-License-Identifier: GPL-2.0-or-later
//! Writer of a relocatable object file.

use object::Endianness;
use object::build::ByteString;
use object::build::elf::{Builder, Relocation, SectionData, SectionId, SymbolId};
use object::elf;

/// An object file to write.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) sections: Vec<OutSection>,
    pub(crate) symbols: Vec<OutSymbol>,
}

/// A section.
pub(crate) struct OutSection {
    pub(crate) name: String,
    /// `sh_type`.
    pub(crate) kind: u32,
    /// `sh_flags`.
    pub(crate) flags: u64,
    pub(crate) align: u64,
    pub(crate) entry_size: u64,
    pub(crate) data: Vec<u8>,
    /// Size of a section without content.
    pub(crate) empty: u64,
    pub(crate) relocations: Vec<OutRelocation>,
}

/// A relocation.
pub(crate) struct OutRelocation {
    pub(crate) offset: u64,
    /// `R_X86_64_...`.
    pub(crate) kind: u32,
    pub(crate) target: Base,
    pub(crate) addend: i64,
}

/// Place to which a relocation adds its addend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// Start of a section of the output.
    Section(usize),
    /// A symbol of the output.
    Symbol(usize),
}

/// A symbol.
pub(crate) struct OutSymbol {
    pub(crate) name: String,
    /// Section and offset; `None` for an undefined symbol.
    pub(crate) place: Option<(usize, u64)>,
    pub(crate) size: u64,
    pub(crate) is_global: bool,
    pub(crate) is_function: bool,
}

impl OutSection {
    /// Adds bytes behind what is there, aligned. Returns their offset.
    pub(crate) fn push(&mut self, bytes: &[u8], align: u64, filler: u8) -> u64 {
        let start = (self.data.len() as u64).next_multiple_of(align.max(1));
        self.data.resize(usize::try_from(start).unwrap_or(usize::MAX), filler);
        self.data.extend(bytes);
        self.align = self.align.max(align);
        start
    }
}

impl Output {
    /// Number of the section with this name and flags, which is made if it is not there.
    pub(crate) fn section(&mut self, name: &str, kind: u32, flags: u64, entry_size: u64) -> usize {
        let found = self.sections.iter().position(|section| {
            section.name == name
                && section.flags == flags
                && section.entry_size == entry_size
                && section.kind == kind
        });
        found.unwrap_or_else(|| {
            self.sections.push(OutSection {
                name: name.to_owned(),
                kind,
                flags,
                align: 1,
                entry_size,
                data: Vec::new(),
                empty: 0,
                relocations: Vec::new(),
            });
            self.sections.len() - 1
        })
    }

    /// Number of the undefined symbol with this name, which is made if it is not there.
    pub(crate) fn undefined(&mut self, name: &str) -> usize {
        let found = self.symbols.iter().position(|symbol| symbol.name == name && symbol.place.is_none());
        found.unwrap_or_else(|| {
            self.symbols.push(OutSymbol {
                name: name.to_owned(),
                place: None,
                size: 0,
                is_global: true,
                is_function: false,
            });
            self.symbols.len() - 1
        })
    }

    /// Bytes of the file.
    pub(crate) fn write(self) -> Result<Vec<u8>, object::build::Error> {
        let mut builder = Builder::new(Endianness::Little, true);
        builder.header.e_type = elf::ET_REL;
        builder.header.e_machine = elf::EM_X86_64;
        let mut offset: u64 = 64;
        let mut ids = Vec::new();
        for section in &self.sections {
            let out = builder.sections.add();
            out.name = ByteString::from(section.name.clone().into_bytes());
            out.sh_type = elf::SectionType(section.kind);
            out.sh_flags = elf::SectionFlags(section.flags as _);
            out.sh_addralign = section.align.max(1);
            out.sh_entsize = section.entry_size;
            offset = offset.next_multiple_of(section.align.max(1));
            out.sh_offset = offset;
            out.data = if section.kind == elf::SHT_NOBITS.0 {
                SectionData::UninitializedData(section.empty)
            } else {
                offset += section.data.len() as u64;
                SectionData::Data(section.data.clone().into())
            };
            ids.push(out.id());
        }
        let own = ids.iter().map(|id| {
            let symbol = builder.symbols.add();
            symbol.section = Some(*id);
            symbol.set_st_info(elf::STB_LOCAL, elf::STT_SECTION);
            symbol.id()
        });
        let own: Vec<SymbolId> = own.collect();
        let mut symbols: Vec<Option<SymbolId>> = vec![None; self.symbols.len()];
        // Local symbols come first (`sh_info` of the symbol table).
        for global in [false, true] {
            for (number, symbol) in
                self.symbols.iter().enumerate().filter(|(_, symbol)| symbol.is_global == global)
            {
                let out = builder.symbols.add();
                out.name = ByteString::from(symbol.name.clone().into_bytes());
                let kind = match (symbol.place, symbol.is_function) {
                    (None, _) => elf::STT_NOTYPE,
                    (Some(_), true) => elf::STT_FUNC,
                    (Some(_), false) => elf::STT_OBJECT,
                };
                out.set_st_info(if global { elf::STB_GLOBAL } else { elf::STB_LOCAL }, kind);
                if let Some((section, value)) = symbol.place {
                    out.section = ids.get(section).copied();
                    out.st_value = value;
                    out.st_size = symbol.size;
                }
                symbols[number] = Some(out.id());
            }
        }
        let table = add(&mut builder, ".symtab", elf::SHT_SYMTAB, SectionData::Symbol);
        let names = add(&mut builder, ".strtab", elf::SHT_STRTAB, SectionData::String);
        add(&mut builder, ".shstrtab", elf::SHT_STRTAB, SectionData::SectionString);
        builder.sections.get_mut(table).sh_link_section = Some(names);
        for (section, id) in
            self.sections.iter().zip(&ids).filter(|(section, _)| !section.relocations.is_empty())
        {
            let relocations = section.relocations.iter().map(|relocation| Relocation {
                r_offset: relocation.offset,
                symbol: match relocation.target {
                    Base::Section(number) => own.get(number).copied(),
                    Base::Symbol(number) => symbols.get(number).copied().flatten(),
                },
                r_type: elf::RelocationType(relocation.kind),
                r_addend: relocation.addend,
            });
            let data = SectionData::Relocation(relocations.collect());
            let rela = add(&mut builder, &format!(".rela{}", section.name), elf::SHT_RELA, data);
            let rela = builder.sections.get_mut(rela);
            rela.sh_flags = elf::SHF_INFO_LINK;
            rela.sh_link_section = Some(table);
            rela.sh_info_section = Some(*id);
        }
        let mut bytes = Vec::new();
        builder.write(&mut bytes)?;
        Ok(bytes)
    }
}

fn add(
    builder: &mut Builder<'_>,
    name: &str,
    kind: elf::SectionType,
    data: SectionData<'static>,
) -> SectionId {
    let section = builder.sections.add();
    section.name = ByteString::from(name.as_bytes().to_vec());
    section.sh_type = kind;
    section.sh_addralign = 8;
    section.sh_entsize = match kind {
        elf::SHT_SYMTAB | elf::SHT_RELA => 24,
        _ => 0,
    };
    section.data = data;
    section.id()
}
