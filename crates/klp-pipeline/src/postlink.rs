// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 5: removes debug information and local labels, writes the ftrace sites, then creates livepatch
//! relocations. The only ELF writer.
//!
//! Source of the format: `Documentation/livepatch/module-elf-format.rst`. The order of the symbols does not
//! change.

mod sites;

use std::collections::BTreeMap;

use klp_format::ftrace::Sites;
use klp_format::{ALIAS_PREFIX, KlpSymbol, ObjectName, SHF_RELA_LIVEPATCH, SHN_LIVEPATCH, rela_section_name};
use object::build::Id;
use object::build::elf::{Builder, Relocation, SectionData, SectionId, SymbolId};
use object::elf;

use crate::resolved::Extern;

/// Reason why a module cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum PostlinkError {
    /// The bytes are not a module from kbuild.
    #[error("it is no relocatable ELF file that can be rewritten: {0}")]
    Elf(#[from] object::build::Error),
    /// A symbol has the prefix of an alias, but stage 1 did not create this alias.
    #[error("symbol {0} looks like an alias of a livepatch symbol, but stage 1 knows none of that name")]
    UnknownAlias(String),
    /// The module is already converted.
    #[error("it has livepatch relocations already; convert the module that kbuild made, not a finished one")]
    Converted,
    /// The ftrace sites of the functions differ from the compiler's expected output.
    #[error(
        "ftrace could not hook into its functions: {0}; compile the root crate with the flags of the kernel's sites"
    )]
    Sites(String),
}

/// Symbols of the kernel that a module uses.
pub struct Symbols<'a> {
    /// Symbols that the objects of its parts use.
    pub of_parts: Vec<&'a Extern>,
    /// Symbols that its C code uses and that the kernel does not export.
    pub of_shims: &'a [KlpSymbol],
}

/// Converts a module from kbuild into a livepatch module without debug information.
///
/// # Errors
/// The bytes are not such a module.
pub fn convert(module: &[u8], symbols: &Symbols<'_>, sites: Sites) -> Result<Vec<u8>, PostlinkError> {
    let mut builder = Builder::read(module)?;
    drop_debug(&mut builder);
    drop_labels(&mut builder);
    sites::list(&mut builder, sites)?;
    let livepatch = name_symbols(&mut builder, symbols)?;
    move_relocations(&mut builder, &livepatch);
    let mut bytes = Vec::new();
    builder.write(&mut bytes)?;
    Ok(bytes)
}

/// Removes the sections that `strip -g` removes. The module from kbuild is kept next to the result for
/// debuggers.
fn drop_debug(builder: &mut Builder<'_>) {
    for section in &mut builder.sections {
        let name: &[u8] = &section.name;
        section.delete |= [&b".debug_"[..], b".rela.debug_"].iter().any(|start| name.starts_with(start))
            || name == b".comment"
            || name == b".note.GNU-stack";
    }
    let gone: Vec<SectionId> = builder.sections.iter().filter(|s| s.delete).map(|s| s.id()).collect();
    for symbol in &mut builder.symbols {
        symbol.delete |= symbol.section.is_some_and(|section| gone.contains(&section))
            || symbol.st_type() == elf::STT_FILE;
    }
}

/// Removes the compiler's local labels (`.Ltmp0`), which would appear in /proc/kallsyms. Relocations against
/// a label are changed to relocations against its section.
fn drop_labels(builder: &mut Builder<'_>) {
    let own: BTreeMap<usize, SymbolId> = builder
        .symbols
        .iter()
        .filter(|symbol| symbol.st_type() == elf::STT_SECTION)
        .filter_map(|symbol| Some((symbol.section?.index(), symbol.id())))
        .collect();
    let mut labels = BTreeMap::new();
    for symbol in &mut builder.symbols {
        let is_label = symbol.st_bind() == elf::STB_LOCAL && symbol.name.starts_with(b".L");
        let section = symbol.section.and_then(|section| own.get(&section.index()));
        if let (true, Some(section)) = (is_label, section) {
            labels.insert(symbol.id().index(), (*section, symbol.st_value));
            symbol.delete = true;
        }
    }
    for section in &mut builder.sections {
        let SectionData::Relocation(relocations) = &mut section.data else { continue };
        for relocation in relocations {
            let label = relocation.symbol.and_then(|symbol| labels.get(&symbol.index()));
            if let Some((section, offset)) = label {
                relocation.symbol = Some(*section);
                relocation.r_addend = relocation.r_addend.wrapping_add_unsigned(*offset);
            }
        }
    }
}

/// Converts undefined aliases, and the undefined names of C code, into livepatch symbols. Returns the object of each.
fn name_symbols(
    builder: &mut Builder<'_>,
    symbols: &Symbols<'_>,
) -> Result<BTreeMap<usize, (SymbolId, ObjectName)>, PostlinkError> {
    let of_parts = symbols.of_parts.iter().filter(|item| !item.exported);
    let of_shims = symbols.of_shims.iter().map(|symbol| (symbol.symbol.clone(), symbol));
    let names: BTreeMap<String, &KlpSymbol> =
        of_parts.map(|item| (item.link_name(), &item.symbol)).chain(of_shims).collect();
    let mut livepatch = BTreeMap::new();
    for symbol in &mut builder.symbols {
        if symbol.st_shndx == elf::SymbolSection(SHN_LIVEPATCH) {
            return Err(PostlinkError::Converted);
        }
        let name = String::from_utf8_lossy(&symbol.name).into_owned();
        if symbol.st_shndx != elf::SHN_UNDEF {
            continue;
        }
        let Some(klp) = names.get(&name) else {
            if name.starts_with(ALIAS_PREFIX) {
                return Err(PostlinkError::UnknownAlias(name));
            }
            continue;
        };
        symbol.name = klp.elf_name().into_bytes().into();
        symbol.st_shndx = elf::SymbolSection(SHN_LIVEPATCH);
        livepatch.insert(symbol.id().index(), (symbol.id(), klp.object.clone()));
    }
    Ok(livepatch)
}

/// Moves the relocations against livepatch symbols into one section per object and target section.
fn move_relocations(builder: &mut Builder<'_>, livepatch: &BTreeMap<usize, (SymbolId, ObjectName)>) {
    let mut moved: BTreeMap<(ObjectName, usize), (SectionId, Vec<Relocation>)> = BTreeMap::new();
    let mut symtab = None;
    for section in &mut builder.sections {
        let Some(target) = section.sh_info_section else { continue };
        let SectionData::Relocation(relocations) = &mut section.data else { continue };
        symtab = section.sh_link_section;
        relocations.retain(|relocation| {
            let object = relocation.symbol.and_then(|symbol| livepatch.get(&symbol.index()));
            if let Some((_, object)) = object {
                let entry =
                    moved.entry((object.clone(), target.index())).or_insert_with(|| (target, Vec::new()));
                entry.1.push(*relocation);
            }
            object.is_none()
        });
    }
    let mut offset = end_of_alloc(builder);
    for ((object, _), (target, relocations)) in moved {
        let name = String::from_utf8_lossy(&builder.sections.get(target).name).into_owned();
        let size = relocations.len() as u64 * 24;
        let section = builder.sections.add();
        section.name = rela_section_name(&object, &name).into_bytes().into();
        section.sh_type = elf::SHT_RELA;
        section.sh_flags = elf::SHF_ALLOC | elf::SHF_INFO_LINK | elf::SectionFlags(SHF_RELA_LIVEPATCH as _);
        section.sh_link_section = symtab;
        section.sh_info_section = Some(target);
        section.sh_addralign = 8;
        section.sh_entsize = 24;
        section.sh_offset = offset;
        section.data = SectionData::Relocation(relocations);
        offset = (offset + size).next_multiple_of(8);
    }
}

/// File offset after the last section that stays in memory, for an additional section. The other sections
/// keep their offsets.
fn end_of_alloc(builder: &Builder<'_>) -> u64 {
    let staying = builder.sections.iter().filter(|section| section.is_alloc() && !section.delete);
    staying.map(|section| section.sh_offset + section.sh_size).max().unwrap_or(0).next_multiple_of(8)
}
