// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on relocations: what the module loader applies, and what it leaves to the livepatch core.

use std::collections::BTreeMap;

use klp_format::{KlpSymbol, ObjectName, RELA_PREFIX, SHF_RELA_LIVEPATCH, parse_rela_section_name};
use klp_module::{Module, Relocation, Section, SymbolSection};

use crate::{Findings, Scope, Subject, reach};

/// Relocations of sections that stay in memory: the others are dropped, and nobody applies them.
fn applied<'s>(module: &'s Module<'_>) -> impl Iterator<Item = Relocation> + 's {
    module.relocations().filter(|relocation| module.sections()[relocation.target].is_alloc())
}

/// [`crate::rules::RELOCATION_TYPE`]
pub(crate) fn types(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = &subject.module;
    for relocation in applied(module) {
        let Relocation { kind, offset, symbol, target, .. } = relocation;
        if subject.arch.relocations.iter().any(|&(known, _)| known == kind) {
            continue;
        }
        findings.error(
            place(module, target, offset),
            format!(
                "relocation type {kind} (R_{}) against {}: the kernel's module loader does not know it and refuses the \
                 module with ENOEXEC; compile without the global offset table (-Crelocation-model=static, -Zplt=yes)",
                module.machine().relocation_name(kind),
                name(module, symbol)
            ),
        );
    }
    Scope::All
}

/// [`crate::rules::RELOCATION_RANGE`]
pub(crate) fn ranges(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = &subject.module;
    for relocation in applied(module) {
        let Relocation { kind, offset, target, .. } = relocation;
        // Types that are not in the table are those of rule relocation-type.
        let known = subject.arch.relocations.iter().find(|&&(known, _)| known == kind);
        let Some(&(_, bytes)) = known else { continue };
        let size = module.sections()[target].size;
        if offset.checked_add(bytes).is_none_or(|end| end > size) {
            findings.error(
                place(module, target, offset),
                format!(
                    "the relocation writes {bytes} bytes, but the section has only {size:#x}: the kernel would write over \
                     what stands behind it; the file is damaged, build it again"
                ),
            );
        }
    }
    Scope::All
}

/// [`crate::rules::KLP_RELOCATION`]
pub(crate) fn livepatch(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = &subject.module;
    let mut seen: BTreeMap<(ObjectName, u32), &str> = BTreeMap::new();
    let ours = |section: &&Section<'_>| {
        section.name.starts_with(RELA_PREFIX) || section.flags & SHF_RELA_LIVEPATCH != 0
    };
    for section in module.sections().iter().filter(ours) {
        form(module, section, findings);
        let (object, target) = match parse_rela_section_name(section.name) {
            Ok(parts) => parts,
            Err(error) => {
                findings.error(
                    section.name,
                    format!(
                        "{error}; the kernel refuses the module with EINVAL (\"incorrectly formatted name\")"
                    ),
                );
                continue;
            }
        };
        let named = module.sections().get(section.info as usize).map_or("", |target| target.name);
        if named != target {
            findings.error(
                section.name,
                format!("its name says {target:?}, but it changes section {named:?} (sh_info {}): the relocations would be written into it", section.info),
            );
        }
        symbols(module, section, &object, findings);
        if let Some(other) = seen.insert((object.clone(), section.info), section.name) {
            findings.error(
                section.name,
                format!("section {other} too holds livepatch relocations of {object} against {named}; there may be one"),
            );
        }
    }
    match reach::check(subject, findings) {
        None => Scope::All,
        Some(left_out) => Scope::But(left_out),
    }
}

/// Type, flags, links.
fn form(module: &Module<'_>, section: &Section<'_>, findings: &mut Findings) {
    if !section.is_rela() {
        findings.error(
            section.name,
            format!("its type is {}, not 4 (SHT_RELA): the format asks for relocations", section.kind),
        );
    }
    if section.flags & SHF_RELA_LIVEPATCH == 0 {
        findings.error(
            section.name,
            "flag SHF_RELA_LIVEPATCH is missing: the module loader would apply it with the symbols still at address 0",
        );
    }
    if !section.is_alloc() {
        findings.error(
            section.name,
            "flag SHF_ALLOC is missing: the section is not kept in memory, where the livepatch core reads it",
        );
    }
    let symbol_table =
        module.sections().get(section.link as usize).is_some_and(|table| table.kind == SHT_SYMTAB);
    if !symbol_table {
        findings.error(
            section.name,
            format!("it should be linked to the symbol table, and is to section {} (sh_link)", section.link),
        );
    }
    let target = module.sections().get(section.info as usize);
    if !target.is_some_and(Section::is_alloc) {
        findings.error(
            section.name,
            format!("it changes section {} (sh_info), which takes no memory in the kernel", section.info),
        );
    }
}

const SHT_SYMTAB: u32 = 2;

/// The symbols that a section uses: the livepatch core's, and of its own object.
fn symbols(module: &Module<'_>, section: &Section<'_>, object: &ObjectName, findings: &mut Findings) {
    for relocation in module.relocations_of(section.info as usize).filter(|r| r.section == section.index) {
        let symbol = &module.symbols()[relocation.symbol];
        let subject = format!("{} at {:#x}", section.name, relocation.offset);
        if symbol.section != SymbolSection::Livepatch {
            findings.error(
                subject,
                format!(
                    "it uses {}, which is no livepatch symbol: the kernel refuses the module with EINVAL (\"is not marked as \
                     a livepatch symbol\")",
                    name(module, relocation.symbol)
                ),
            );
            continue;
        }
        // A name that cannot be read is a finding of rule klp-symbol.
        let Ok(symbol) = KlpSymbol::from_elf_name(symbol.name) else { continue };
        if symbol.object != *object {
            findings.error(
                subject,
                format!(
                    "it uses {symbol}, a symbol of {}, but the section is applied when {object} is there; relocations of an \
                     object stand in the section of its name",
                    symbol.object
                ),
            );
        }
    }
}

pub(crate) fn place(module: &Module<'_>, section: usize, offset: u64) -> String {
    let section_name = module.sections()[section].name;
    match module.function_at(section, offset) {
        Some(function) => format!("{section_name}+{offset:#x} ({})", function.name),
        None => format!("{section_name}+{offset:#x}"),
    }
}

/// A symbol's name, or its section's.
fn name(module: &Module<'_>, symbol: usize) -> String {
    let symbol = &module.symbols()[symbol];
    match symbol.section {
        SymbolSection::Section(section) if symbol.name.is_empty() => {
            module.sections()[section].name.to_owned()
        }
        _ => symbol.name.to_owned(),
    }
}
