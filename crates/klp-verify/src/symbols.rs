// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on symbols: what the kernel must resolve when the module is loaded.

use std::collections::{BTreeMap, BTreeSet};

use klp_format::{ALIAS_PREFIX, KlpSymbol, RELA_PREFIX, SYMBOL_PREFIX};
use klp_module::{Binding, Module, Symbol, SymbolSection};

use crate::{Findings, Scope, Subject};

/// Size of a `struct modversion_info`: `unsigned long crc; char name[MODULE_NAME_LEN]` (`include/linux/module.h`).
pub const VERSION_ENTRY_SIZE: usize = 64;
/// The symbol whose checksum stands for the layout of `struct module` and the like; every module records it.
const MODULE_LAYOUT: &str = "module_layout";
const VERSIONS: &str = "__versions";

/// [`crate::rules::KLP_SYMBOL`]
pub(crate) fn livepatch(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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

/// Livepatch symbols in ordinary relocations. What is wrong with sections that are named like those of livepatch
/// relocations is for rule klp-relocation to say.
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

/// Undefined symbols that the module loader looks for among the exports. (Rule klp-symbol has the unconverted ones.)
fn imports<'m, 'a>(module: &'m Module<'a>) -> impl Iterator<Item = &'m Symbol<'a>> {
    module.symbols().iter().filter(|symbol| {
        symbol.section == SymbolSection::Undefined && !symbol.name.is_empty() && !is_unconverted(symbol)
    })
}

/// [`crate::rules::UNDEFINED_SYMBOL`]
pub(crate) fn undefined(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Some(exports) = exports(subject, findings) else { return Scope::All };
    // The kernel leaves weak ones at address 0.
    for symbol in imports(subject.module).filter(|symbol| symbol.binding != Binding::Weak) {
        if !exports.contains_key(symbol.name) {
            findings.error(
                symbol.name,
                format!(
                    "{} does not export it to modules: the kernel answers \"Unknown symbol\" (ENOENT); name it in patch.toml, \
                     so that the livepatch core resolves it",
                    subject.expected.kernel
                ),
            );
        }
    }
    Scope::All
}

/// [`crate::rules::SYMBOL_VERSION`]
pub(crate) fn versions(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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
    let recorded = match parse_versions(section.data) {
        Ok(recorded) => recorded,
        Err(reason) => {
            findings.error(VERSIONS, reason);
            return Scope::All;
        }
    };
    let names: BTreeSet<&str> = imports(module).map(|symbol| symbol.name).chain([MODULE_LAYOUT]).collect();
    // A symbol that is not exported is a finding of rule undefined-symbol.
    for (name, wanted) in names.iter().filter_map(|name| Some((*name, *exports.get(*name)?))) {
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
    Scope::All
}

fn exports<'s>(subject: &'s Subject<'_>, findings: &mut Findings) -> Option<&'s BTreeMap<String, u32>> {
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

/// Checksums by name; of several entries of a name the first, as the kernel takes it.
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
