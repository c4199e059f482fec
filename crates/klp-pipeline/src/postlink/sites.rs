// SPDX-License-Identifier: GPL-2.0-or-later
//! ftrace sites of the functions. The compiler reserved space at the beginning of each function and listed
//! the functions. This module writes the instruction into the space and converts the list to the kernel's
//! format.

use klp_format::ftrace::{ENDBR64, FENTRY, NOP5, Site, Sites};
use object::build::elf::{Builder, Relocation, SectionData, SectionId, SymbolId};
use object::elf;

use super::PostlinkError;

/// The five-byte nop of LLVM.
const COMPILERS_NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x08];
/// A call with a destination from a relocation.
const CALL: [u8; 5] = [0xe8, 0, 0, 0, 0];

/// A position in a section.
struct Place {
    section: SectionId,
    offset: u64,
}

/// Converts the compiler's list of functions to the kernel's list.
pub(super) fn list(builder: &mut Builder<'_>, sites: Sites) -> Result<(), PostlinkError> {
    let missing = |what: &str| PostlinkError::Sites(format!("{what} is missing"));
    let list = named(builder, sites.root_section()).ok_or_else(|| missing(sites.root_section()))?;
    if sites.site == Site::Patchable {
        // The kernel reads the compiler's list itself.
        return Ok(());
    }
    let fentry = builder.symbols.iter().find(|symbol| *symbol.name == *FENTRY.as_bytes());
    let fentry = fentry.map(|symbol| symbol.id());
    let (relocations, mut entries) =
        entries_of(builder, list).ok_or_else(|| missing("the list's relocations"))?;
    for entry in &mut entries {
        let place = site(builder, entry, sites.before)?;
        match sites.site {
            Site::Call => {
                write(builder, &place, &CALL);
                let fentry = fentry.ok_or_else(|| missing("symbol __fentry__"))?;
                call(builder, &place, fentry);
            }
            Site::Nop | Site::Patchable => write(builder, &place, &NOP5),
        }
        let start = entry.symbol.map_or(0, |symbol| builder.symbols.get(symbol).st_value);
        entry.r_addend = (place.offset - start).cast_signed();
    }
    if let Some(kernels) = named(builder, sites.section()) {
        // The kernel's list contains the C shims; the C compiler wrote their sites.
        return append(builder, kernels, entries, [list, relocations]);
    }
    let section = builder.sections.get_mut(relocations);
    section.name = format!(".rela{}", sites.section()).into_bytes().into();
    section.data = SectionData::Relocation(entries);
    let section = builder.sections.get_mut(list);
    section.name = sites.section().as_bytes().into();
    section.sh_flags = elf::SHF_ALLOC;
    section.sh_addr = 0;
    section.sh_link_section = None;
    Ok(())
}

fn named(builder: &Builder<'_>, name: &str) -> Option<SectionId> {
    builder.sections.iter().find(|section| *section.name == *name.as_bytes()).map(|section| section.id())
}

/// Appends entries to the kernel's list, and removes the compiler's list and its relocations.
fn append(
    builder: &mut Builder<'_>,
    list: SectionId,
    mut entries: Vec<Relocation>,
    from: [SectionId; 2],
) -> Result<(), PostlinkError> {
    let damaged = || PostlinkError::Sites("the list of the C objects is damaged".to_owned());
    let (relocations, mut all) = entries_of(builder, list).ok_or_else(damaged)?;
    for id in from {
        builder.sections.get_mut(id).delete = true;
    }
    for symbol in &mut builder.symbols {
        symbol.delete |= symbol.section.is_some_and(|section| from.contains(&section));
    }
    // The section grows, so it moves after all sections that stay in memory.
    let end = super::end_of_alloc(builder);
    let section = builder.sections.get_mut(list);
    let SectionData::Data(data) = &mut section.data else { return Err(damaged()) };
    let before = data.len() as u64;
    let data = data.to_mut();
    data.resize(data.len() + entries.len() * 8, 0);
    section.sh_size = data.len() as u64;
    section.sh_offset = end;
    for (entry, offset) in entries.iter_mut().zip((before..).step_by(8)) {
        entry.r_offset = offset;
    }
    all.extend(entries);
    builder.sections.get_mut(relocations).data = SectionData::Relocation(all);
    Ok(())
}

/// Relocations of a section, and the section that contains them.
fn entries_of(builder: &Builder<'_>, target: SectionId) -> Option<(SectionId, Vec<Relocation>)> {
    builder.sections.iter().filter(|section| section.sh_info_section == Some(target)).find_map(|section| {
        match &section.data {
            SectionData::Relocation(list) => Some((section.id(), list.clone())),
            _ => None,
        }
    })
}

/// Position of the ftrace instruction of a listed function: after the `before` nops and the landing pad.
fn site(builder: &Builder<'_>, entry: &Relocation, before: u32) -> Result<Place, PostlinkError> {
    let unusable = |what: String| PostlinkError::Sites(what);
    let symbol = entry.symbol.map(|symbol| builder.symbols.get(symbol));
    let section = symbol.and_then(|symbol| symbol.section);
    let (Some(symbol), Some(section)) = (symbol, section) else {
        return Err(unusable(format!("entry {:#x} of the list leads nowhere", entry.r_offset)));
    };
    let SectionData::Data(code) = &builder.sections.get(section).data else {
        return Err(unusable(format!("entry {:#x} of the list leads to no code", entry.r_offset)));
    };
    let mut offset = symbol.st_value.wrapping_add_signed(entry.r_addend).wrapping_add(u64::from(before));
    let at = |offset: u64| usize::try_from(offset).ok().and_then(|offset| code.get(offset..));
    if at(offset).is_some_and(|code| code.starts_with(&ENDBR64)) {
        offset += ENDBR64.len() as u64;
    }
    if at(offset).is_some_and(|code| code.starts_with(&COMPILERS_NOP)) {
        return Ok(Place { section, offset });
    }
    let name = String::from_utf8_lossy(&builder.sections.get(section).name).into_owned();
    Err(unusable(format!("the compiler left no room at {name}+{offset:#x}, which it listed")))
}

fn write(builder: &mut Builder<'_>, place: &Place, instruction: &[u8]) {
    // The same position was read before, so it is within the section.
    if let SectionData::Data(code) = &mut builder.sections.get_mut(place.section).data
        && let Ok(start) = usize::try_from(place.offset)
        && let Some(code) = code.to_mut().get_mut(start..start + instruction.len())
    {
        code.copy_from_slice(instruction);
    }
}

/// Adds the relocation of a call.
fn call(builder: &mut Builder<'_>, place: &Place, to: SymbolId) {
    let relocation = Relocation {
        r_offset: place.offset + 1,
        symbol: Some(to),
        r_type: elf::R_X86_64_PLT32,
        r_addend: -4,
    };
    let of_code = builder.sections.iter_mut().find_map(|section| {
        let of_code = section.sh_info_section == Some(place.section);
        match &mut section.data {
            SectionData::Relocation(list) if of_code => Some(list),
            _ => None,
        }
    });
    if let Some(list) = of_code {
        let behind = list.iter().position(|other| other.r_offset > relocation.r_offset);
        list.insert(behind.unwrap_or(list.len()), relocation);
        return;
    }
    let symbol_table = builder.sections.iter().find(|section| section.sh_type == elf::SHT_SYMTAB);
    let symbol_table = symbol_table.map(|section| section.id());
    let name = [b".rela", &*builder.sections.get(place.section).name].concat();
    let section = builder.sections.add();
    section.name = name.into();
    section.sh_type = elf::SHT_RELA;
    section.sh_flags = elf::SHF_INFO_LINK;
    section.sh_link_section = symbol_table;
    section.sh_info_section = Some(place.section);
    section.sh_addralign = 8;
    section.sh_entsize = 24;
    section.data = SectionData::Relocation(vec![relocation]);
}
