// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on symbols that the kernel resolves when the module is loaded.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::events::Severity;
use klp_format::{ALIAS_PREFIX, KlpSymbol, RELA_PREFIX, SYMBOL_PREFIX, VMLINUX};
use klp_module::{Binding, Module, PatchTable, Symbol, SymbolSection};

use super::{Check, Rule};
use crate::analysis::Subject;
use crate::facts::ExpectedExport;
use crate::report::{Findings, Scope};

/// Livepatch symbols.
pub static KLP_SYMBOL: Rule = Rule {
    id: "klp-symbol",
    severity: Severity::Error,
    source: "`Documentation/livepatch/module-elf-format.rst`; `klp_resolve_symbols()` in `kernel/livepatch/core.c`.",
    summary: "Livepatch symbols have section index `SHN_LIVEPATCH` and a well-formed name, and only livepatch relocations use them.",
    explain: &[
        "The module loader takes such a symbol's value as it is, 0: an ordinary relocation against it becomes a null pointer, without \
         any message.",
        "**Symptom:** `Unknown symbol __klp_sym_... (err -2)`; `symbol ... has an incorrectly formatted name` (EINVAL); for an ordinary \
         relocation none, then a NULL pointer oops at the first call.",
        "**Remedy:** take the module of stage postlink, not that of kbuild.",
    ],
    check: Check::Module(livepatch),
};

/// Imports.
pub static UNDEFINED_SYMBOL: Rule = Rule {
    id: "undefined-symbol",
    severity: Severity::Error,
    source: "`simplify_symbols()` in `kernel/module/main.c`; `Module.symvers`.",
    summary: "Every undefined symbol is exported by this kernel, and none by a module that the live patch changes.",
    explain: &[
        "The kernel refuses the module. Weak symbols are left out: the kernel leaves them at address 0.",
        "A symbol of a module that the live patch changes must be a livepatch symbol: an ordinary import binds the two together.",
        "**Symptom:** `Unknown symbol ... (err -2)` (ENOENT).",
        "**Remedy:** name the symbol in patch.toml, so that the livepatch core resolves it.",
    ],
    check: Check::Module(undefined),
};

/// Namespaces of imports.
pub static SYMBOL_NAMESPACE: Rule = Rule {
    id: "symbol-namespace",
    severity: Severity::Error,
    source: "`verify_namespace_is_imported()` in `kernel/module/main.c`; `Documentation/core-api/symbol-namespaces.rst`; `Module.symvers`.",
    summary: "The module imports the namespace of each exported symbol that it uses.",
    explain: &[
        "A fix imports them by itself. The namespace `module:a,b` exports a symbol to these modules alone. With \
         `CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS` the kernel only says what is missing: a warning.",
        "**Symptom:** `module uses symbol ... from namespace ..., but does not import it.` (EINVAL).",
        "**Remedy:** `MODULE_IMPORT_NS()` in C; for a symbol of some modules alone, the livepatch core: name it in patch.toml.",
    ],
    check: Check::Module(namespaces),
};

/// Checksums of imports.
pub static SYMBOL_VERSION: Rule = Rule {
    id: "symbol-version",
    severity: Severity::Error,
    source: "`check_version()` in `kernel/module/version.c`.",
    summary: "The checksum that the module records for each import is that of the kernel, and none is missing.",
    explain: &[
        "Another checksum shows that the module was compiled against other types. The kernel refuses the module, but with \
         `CONFIG_MODULE_FORCE_LOAD` it loads one without any checksums.",
        "**Symptom:** `disagrees about version of symbol ...`, `no symbol version for ...` (EINVAL).",
        "**Remedy:** build the module for that kernel.",
    ],
    check: Check::Module(versions),
};

/// Size of a `struct modversion_info`: `unsigned long crc; char name[MODULE_NAME_LEN]` (`include/linux/module.h`).
pub const VERSION_ENTRY_SIZE: usize = 64;
/// Symbol whose checksum covers the layout of `struct module` and related types; every module records it.
const MODULE_LAYOUT: &str = "module_layout";
const VERSIONS: &str = "__versions";
/// Start of a namespace that lists the modules which may use a symbol.
const FOR_MODULES: &str = "module:";

fn livepatch(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = &subject.module;
    for symbol in module.symbols() {
        match symbol.section {
            SymbolSection::Undefined if is_unconverted(symbol) => findings.error(
                symbol.name,
                "it was not converted into a livepatch symbol: the kernel answers \"Unknown symbol\" (ENOENT); the module is \
                 kbuild's result, take the one of stage postlink",
            ),
            SymbolSection::Undefined => {}
            SymbolSection::Livepatch => {
                if let Err(error) = KlpSymbol::from_elf_name(symbol.name) {
                    findings.error(
                        symbol.name,
                        format!("{error}; the kernel refuses the module with EINVAL (\"incorrectly formatted name\")"),
                    );
                }
            }
            _ if symbol.name.starts_with(SYMBOL_PREFIX) => findings.error(
                symbol.name,
                "it has the name of a livepatch symbol, but its section index is not SHN_LIVEPATCH (0xff20): the livepatch \
                 core refuses a relocation that uses it with EINVAL",
            ),
            _ => {}
        }
    }
    used_by_the_module_loader(module, findings);
    Scope::All
}

/// Checks that no ordinary relocation uses a livepatch symbol. Rule klp-relocation checks the sections of livepatch relocations.
fn used_by_the_module_loader(module: &Module<'_>, findings: &mut Findings) {
    let ordinary = |section: usize| !module.sections()[section].name.starts_with(RELA_PREFIX);
    for relocation in module.relocations().filter(|r| !r.livepatch && ordinary(r.section)) {
        let symbol = &module.symbols()[relocation.symbol];
        if symbol.section == SymbolSection::Livepatch {
            findings.error(
                symbol.name,
                format!(
                    "section {} refers to it at {:#x}: the module loader takes a livepatch symbol for address 0; such \
                     relocations belong into a {RELA_PREFIX} section",
                    module.sections()[relocation.section].name, relocation.offset
                ),
            );
        }
    }
}

fn is_unconverted(symbol: &Symbol<'_>) -> bool {
    symbol.name.starts_with(SYMBOL_PREFIX) || symbol.name.starts_with(ALIAS_PREFIX)
}

/// Undefined symbols that the module loader looks up among the exports. Rule klp-symbol checks the unconverted ones.
fn imports<'m, 'a>(module: &'m Module<'a>) -> impl Iterator<Item = &'m Symbol<'a>> {
    module.symbols().iter().filter(|symbol| {
        symbol.section == SymbolSection::Undefined && !symbol.name.is_empty() && !is_unconverted(symbol)
    })
}

fn undefined(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Some(exports) = exports(subject, findings) else { return Scope::All };
    // The kernel leaves weak ones at address 0.
    for symbol in imports(subject.module).filter(|symbol| symbol.binding != Binding::Weak) {
        let Some(export) = exports.get(symbol.name) else {
            findings.error(
                symbol.name,
                format!(
                    "{} does not export it to modules: the kernel answers \"Unknown symbol\" (ENOENT); name it in patch.toml, \
                     so that the livepatch core resolves it",
                    subject.expected.kernel
                ),
            );
            continue;
        };
        // Rule replaced-function has the finding for an object with the kernel's name.
        let is_patched = |table: &PatchTable| {
            export.object != VMLINUX
                && table.objects.iter().any(|object| object.name.as_ref() == Some(&export.object))
        };
        if subject.table.as_ref().is_ok_and(is_patched) {
            findings.error(
                symbol.name,
                format!(
                    "it is of module {}, which the live patch changes: the kernel loads the patch only while that module is there \
                     (ENOENT), and the patch holds it; name the symbol in patch.toml, so that the livepatch core resolves it",
                    export.object
                ),
            );
        }
    }
    Scope::All
}

fn namespaces(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Some(exports) = exports(subject, findings) else { return Scope::All };
    let imported: BTreeSet<String> = subject
        .module
        .modinfo()
        .filter(|(key, _)| key == "import_ns")
        .map(|(_, value)| value.into_owned())
        .collect();
    let name = subject.module.name().map(|name| name.to_string()).unwrap_or_default();
    let mut any = false;
    for symbol in imports(subject.module) {
        let Some(namespace) = exports.get(symbol.name).and_then(|export| export.namespace.as_ref()) else {
            continue;
        };
        any = true;
        if let Some(modules) = namespace.strip_prefix(FOR_MODULES) {
            if !modules.split(',').any(|module| module == name) {
                let text = format!(
                    "it is exported to the modules {modules} alone: the kernel refuses the module with EINVAL"
                );
                findings.error(symbol.name, text);
            }
            continue;
        }
        if !imported.contains(namespace) {
            let text = format!("its namespace is {namespace}, which the module does not import");
            if subject.expected.namespaces_enforced {
                findings.error(symbol.name, format!("{text}: EINVAL; C: `MODULE_IMPORT_NS`"));
            } else {
                findings.warning(symbol.name, format!("{text}: the kernel says so in its log"));
            }
        }
    }
    if any { Scope::All } else { Scope::Nothing("the module uses no symbol of a namespace".to_owned()) }
}

fn versions(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    if !subject.expected.modversions {
        return Scope::Nothing("the kernel is built without CONFIG_MODVERSIONS".to_owned());
    }
    let Some(exports) = exports(subject, findings) else { return Scope::All };
    let module = &subject.module;
    let Some(section) = module.section(VERSIONS) else {
        findings.error(
            VERSIONS,
            "the section is missing, and with it the checksums of what the module imports: a kernel with \
             CONFIG_MODULE_FORCE_LOAD, as Debian's, loads it all the same, whatever it was compiled against",
        );
        return Scope::All;
    };
    match parse_versions(section.data) {
        Ok(recorded) => compare_versions(subject, exports, &recorded, findings),
        Err(reason) => findings.error(VERSIONS, reason),
    }
    match exports.contains_key(MODULE_LAYOUT) {
        true => Scope::All,
        false => {
            Scope::Unchecked(format!("the checksum of {MODULE_LAYOUT}: the kernel's exports do not have it"))
        }
    }
}

fn compare_versions(
    subject: &Subject<'_>,
    exports: &BTreeMap<String, ExpectedExport>,
    recorded: &BTreeMap<&[u8], u64>,
    findings: &mut Findings,
) {
    let imported = imports(subject.module).map(|symbol| symbol.name);
    let names: BTreeSet<&str> = imported.chain([MODULE_LAYOUT]).collect();
    // Rule undefined-symbol has the finding for a symbol that is not exported.
    for (name, wanted) in names.iter().filter_map(|name| Some((*name, exports.get(*name)?.checksum))) {
        match recorded.get(name.as_bytes()) {
            Some(&found) if found == u64::from(wanted) => {}
            Some(found) => findings.error(
                name,
                format!(
                    "the module records checksum {found:#010x}, {} has {wanted:#010x}: it was compiled against other types; \
                     the kernel refuses it with EINVAL (\"disagrees about version of symbol\"); build it for this kernel",
                    subject.expected.kernel
                ),
            ),
            None => findings.error(
                name,
                "the module records no checksum of it, so that nobody knows against which types it was compiled; the kernel \
                 refuses it with EINVAL (\"no symbol version\"), older ones let it pass",
            ),
        }
    }
}

fn exports<'s>(
    subject: &'s Subject<'_>,
    findings: &mut Findings,
) -> Option<&'s BTreeMap<String, ExpectedExport>> {
    match &subject.expected.exports {
        Ok(exports) => Some(exports),
        Err(reason) => {
            findings.unchecked(
                "the kernel's exports",
                format!("they are not known: {reason}; fetch the kernel again"),
            );
            None
        }
    }
}

/// Checksums by name; the first of several entries of one name, as in the kernel.
fn parse_versions(data: &[u8]) -> Result<BTreeMap<&[u8], u64>, String> {
    let (entries, rest) = data.as_chunks::<VERSION_ENTRY_SIZE>();
    if !rest.is_empty() {
        return Err(format!("the section has {} bytes, no multiple of {VERSION_ENTRY_SIZE}", data.len()));
    }
    let mut versions = BTreeMap::new();
    for entry in entries {
        let (crc, name) = entry.split_at(8);
        let crc = crc.iter().rev().fold(0, |crc, &byte| crc << 8 | u64::from(byte));
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        versions.entry(name).or_insert(crc);
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_kernel_does() {
        let mut data = vec![0; 2 * VERSION_ENTRY_SIZE];
        data[..14].copy_from_slice(b"\x04\x03\x02\x01\0\0\0\0printk");
        data[64..78].copy_from_slice(b"\x05\0\0\0\0\0\0\0printk");
        assert_eq!(parse_versions(&data).unwrap(), BTreeMap::from([(&b"printk"[..], 0x0102_0304)]));
        assert!(parse_versions(&data[1..]).unwrap_err().contains("127 bytes"));
    }
}
