// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on relocations: those that the module loader applies, and those of the livepatch core.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::events::Severity;
use klp_format::{KlpSymbol, ObjectName, RELA_PREFIX, SHF_RELA_LIVEPATCH, parse_rela_section_name};
use klp_module::{Module, Relocation, Section, SymbolSection};

use super::{Check, Rule, objects};
use crate::analysis::{Subject, describe_place};
use crate::report::{Findings, Scope};

/// Types of the relocations that the module loader applies.
pub static RELOCATION_TYPE: Rule = Rule {
    id: "relocation-type",
    severity: Severity::Error,
    source: "`apply_relocate_add()` in `arch/*/kernel/module.c`.",
    summary: "Every relocation of a section that stays in memory has a type that the module loader supports.",
    explain: &[
        "On x86_64 the module loader supports `NONE`, `64`, `32`, `32S`, `PC32`, `PLT32` and `PC64`. Neither modpost nor objtool \
         checks the types: the first error is on the machine that loads the module.",
        "**Symptom:** `module: NAME: Unknown rela relocation: 9` (ENOEXEC).",
        "**Remedy:** compile without a global offset table: `-Crelocation-model=static -Zplt=yes`.",
    ],
    check: Check::Module(types),
};

/// Bytes that relocations write.
pub static RELOCATION_RANGE: Rule = Rule {
    id: "relocation-range",
    severity: Severity::Error,
    source: "`apply_relocate_add()` in `arch/*/kernel/module.c`.",
    summary: "All bytes that a relocation writes are inside of the section that it changes.",
    explain: &[
        "The module loader does not check the size of the section: the kernel would overwrite the bytes behind it. A relocation of \
         a type that the module loader does not support is *not checked*.",
        "**Symptom:** `Invalid relocation target, existing value is nonzero` if the bytes behind the section are not zero; none if \
         they are zero, and then they are overwritten.",
        "**Remedy:** the file is damaged: build it again.",
    ],
    check: Check::Module(ranges),
};

/// Sections of livepatch relocations.
pub static KLP_RELOCATION: Rule = Rule {
    id: "klp-relocation",
    severity: Severity::Error,
    source: "`Documentation/livepatch/module-elf-format.rst`; `klp_apply_section_relocs()` and `klp_init_object_loaded()` in \
             `kernel/livepatch/core.c`.",
    summary: "Sections of livepatch relocations are well-formed, and code that uses symbols of an object runs only while that object \
              is loaded.",
    explain: &[
        "Each section has the right name, type, flags, link and target, and uses symbols of its own object only. There is one section \
         for an object and target section, which is none that the kernel reads when it loads the live patch (static keys, static calls, \
         alternatives). The object is one of the patch. Only replacements and callbacks of that object, or of a \
         module that depends on it, lead to code that uses its symbols.",
        "With a wrong object or flag the relocations are never applied, or applied while the symbols are still at address 0. Code of \
         another object's replacement runs while the module with the symbols is not loaded: the instruction then leads to \
         whatever the compiler left in it.",
        "The dependencies of modules are known only if the patch is built by the pipeline. For a file alone, use of a module's \
         symbols by the replacement of another module is *not checked*; so is code that cannot be decoded.",
        "**Symptom:** `section ... has an incorrectly formatted name`, `symbol ... is not marked as a livepatch symbol` (EINVAL); \
         for two sections of one name `cannot create duplicate filename` (EEXIST); for a wrong object or a missing flag none, then \
         an oops at the first call.",
        "**Remedy:** take the module of stage postlink, not that of kbuild. Never run objcopy or strip on a finished module. \
         Use symbols of a module only in replacements and callbacks of that module.",
    ],
    check: Check::Module(livepatch),
};

/// Relocations of sections that stay in memory. The module loader skips all others.
fn applied<'s>(module: &'s Module<'_>) -> impl Iterator<Item = Relocation> + 's {
    module.relocations().filter(|relocation| module.sections()[relocation.target].is_alloc())
}

fn types(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = &subject.module;
    for relocation in applied(module) {
        let Relocation { kind, offset, symbol, target, .. } = relocation;
        if subject.arch.relocations.iter().any(|&(known, _)| known == kind) {
            continue;
        }
        findings.error(
            describe_place(module, target, offset),
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

fn ranges(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = &subject.module;
    let mut unknown = BTreeSet::new();
    for relocation in applied(module) {
        let Relocation { kind, offset, target, .. } = relocation;
        let known = subject.arch.relocations.iter().find(|&&(known, _)| known == kind);
        let Some(&(_, bytes)) = known else {
            // Rule relocation-type has the finding.
            unknown.insert(module.machine().relocation_name(kind));
            continue;
        };
        let size = module.sections()[target].size;
        if offset.checked_add(bytes).is_none_or(|end| end > size) {
            findings.error(
                describe_place(module, target, offset),
                format!(
                    "the relocation writes {bytes} bytes, but the section has only {size:#x}: the kernel would write over \
                     what stands behind it; the file is damaged, build it again"
                ),
            );
        }
    }
    Scope::all_but_unchecked(unknown.iter().map(|kind| format!("relocations of unknown type R_{kind}")))
}

fn livepatch(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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
        if !object.is_vmlinux() && READ_AT_LOAD.contains(&named) {
            findings.error(
                section.name,
                format!(
                    "the kernel reads section {named} when the live patch is loaded, and the symbols of {object} come when {object} does: \
                     until then the entries lead to address 0"
                ),
            );
        }
        if let Some(other) = seen.insert((object.clone(), section.info), section.name) {
            findings.error(
                section.name,
                format!("section {other} too holds livepatch relocations of {object} against {named}; there may be one"),
            );
        }
    }
    objects::loaded_when_used(subject, findings)
}

/// Checks type, flags and links of a section.
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
/// Sections that the kernel goes through when it loads a module (`module_finalize()` in `arch/*/kernel/module.c`,
/// `jump_label_add_module()`, `static_call_add_module()`, `ftrace_module_init()`).
const READ_AT_LOAD: [&str; 12] = [
    "__jump_table",
    ".static_call_sites",
    ".altinstructions",
    ".altinstr_replacement",
    ".parainstructions",
    ".retpoline_sites",
    ".return_sites",
    ".call_sites",
    ".smp_locks",
    ".orc_unwind_ip",
    "__mcount_loc",
    "__patchable_function_entries",
];

/// Checks that a section uses livepatch symbols of its own object only.
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
        // Rule klp-symbol has the finding for a malformed name.
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

/// Name of a symbol; for a section symbol the section's name.
fn name(module: &Module<'_>, symbol: usize) -> String {
    let symbol = &module.symbols()[symbol];
    match symbol.section {
        SymbolSection::Section(section) if symbol.name.is_empty() => {
            module.sections()[section].name.to_owned()
        }
        _ => symbol.name.to_owned(),
    }
}
