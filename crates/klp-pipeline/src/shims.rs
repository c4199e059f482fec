// SPDX-License-Identifier: GPL-2.0-or-later
//! Shims: C functions that give the static inline functions and macros of a fix a symbol, and the C code of crate `klp`.
//!
//! A value that is a constant in the kernel's C code is an argument of the shim. Usually this costs only a
//! few instructions. User copies are different: hardened usercopy checks the memory of a copy with a
//! non-constant size, and kills the task if the check fails (`check_object_size` in
//! `include/linux/thread_info.h`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use klp_base::files::read_text;
use klp_kernel::exports::Exports;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};

use crate::bindings::MACRO;
use crate::error::Error;

/// Functions that are called for a copy with a non-constant size.
const CHECKS: [&str; 1] = ["__check_object_size"];
/// Suffix of a shim's name in bindgen's output.
const SHIM: &str = "__extern";

/// Name prefix of the C functions of crate `klp`.
const OWN: &str = "klp_shim_";

/// First line of a file with shims. It makes file names in C messages independent of the compilation
/// directory.
pub(crate) fn line_directive(module: &str) -> String {
    format!("#line 1 \"{module}_shims.c\"\n")
}

/// Remedy for each shim in the object that performs a check which the original does not perform.
pub(crate) fn checked_copies(object: &[u8]) -> Result<Vec<String>, String> {
    if object.is_empty() {
        return Ok(Vec::new());
    }
    let file = object::File::parse(object).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    for section in file.sections().filter(|section| section.kind() == object::SectionKind::Text) {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let target = file.symbol_by_index(index).ok();
            if !target.is_some_and(|symbol| symbol.name().is_ok_and(|name| CHECKS.contains(&name))) {
                continue;
            }
            let within = file.symbols().find(|symbol| {
                symbol.kind() == SymbolKind::Text
                    && symbol.section_index() == Some(section.index())
                    && (symbol.address()..symbol.address() + symbol.size()).contains(&offset)
            });
            let name =
                within.and_then(|symbol| symbol.name().ok().map(ToOwned::to_owned)).unwrap_or_default();
            let name = name.split(SHIM).next().unwrap_or_default();
            // Crate `klp` makes the check where C code makes it.
            if name.starts_with(OWN) {
                continue;
            }
            names.insert(name.strip_prefix(MACRO).unwrap_or(name).to_owned());
        }
    }
    Ok(names.iter().map(|name| reason(name)).collect())
}

/// Symbols that C code of a module uses and a plain module cannot have.
#[derive(Default)]
pub(crate) struct Missing {
    /// Names of functions and variables that the kernel does not export.
    pub(crate) symbols: Vec<String>,
    /// Description and remedy for each symbol that C code cannot have.
    pub(crate) reasons: Vec<String>,
}

/// Symbols that an object uses and does not define, as far as `concerns` is true for the name: those that the kernel does not
/// export, and those whose namespace is not in `imported`. (modpost knows them too, but its words differ between kernels.)
pub(crate) fn missing(
    object: &[u8],
    exports: &Exports,
    imported: &BTreeSet<&str>,
    concerns: impl Fn(&str) -> bool,
) -> Result<Missing, String> {
    let mut found = Missing::default();
    if object.is_empty() {
        return Ok(found);
    }
    let object = object::File::parse(object).map_err(|error| error.to_string())?;
    for (name, how) in undefined(&object) {
        let namespace = match exports.get(name) {
            _ if !concerns(name) => continue,
            Some(export) => export.namespace.as_deref(),
            None => {
                match unusable(name, how) {
                    Some(reason) => found.reasons.push(reason),
                    None => found.symbols.push(name.to_owned()),
                }
                continue;
            }
        };
        if let Some(namespace) = namespace.filter(|name| !imported.contains(name)) {
            found.reasons.push(format!(
                "    {name} is exported in the namespace {namespace}, which the module does not import; put \"vmlinux:{name}\" into \
                 `functions` (or `variables`) of [imports] too, and it does"
            ));
        }
    }
    Ok(found)
}

/// Names that the relocations of an object refer to and that it does not define, with the kind of reference. (The linker keeps the
/// names of calls that it dropped.)
fn undefined<'o>(object: &'o object::File<'_>) -> BTreeMap<&'o str, Use> {
    let mut uses = BTreeMap::new();
    for section in object.sections() {
        let table = section.name().unwrap_or_default();
        for (_, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Ok(symbol) = object.symbol_by_index(index) else { continue };
            let Ok(name) = symbol.name() else { continue };
            // modpost defines `__this_module`.
            if symbol.is_undefined() && !["", "__this_module"].contains(&name) {
                let how = match table {
                    "__jump_table" => Use::StaticKey,
                    ".static_call_sites" => Use::StaticCall,
                    _ if name.starts_with("__SCT__") || name.starts_with("__SCK__") => Use::StaticCall,
                    _ => Use::Plain,
                };
                let kind = uses.entry(name).or_insert(how);
                *kind = how.max(*kind);
            }
        }
    }
    uses
}

/// C code of crate `klp` that the object of the Rust code calls: a function `klp_shim_<file>_...` is in `<file>.c` of
/// `dir`.
pub(crate) fn of_klp(object: &[u8], dir: &Path) -> Result<String, Error> {
    let unread = |message| Error::Intermediate { file: dir.to_owned(), message };
    let object = object::File::parse(object).map_err(|error| unread(error.to_string()))?;
    let called = undefined(&object);
    let files: BTreeSet<&str> =
        called.keys().filter_map(|name| name.strip_prefix(OWN)?.split('_').next()).collect();
    files.into_iter().map(|file| Ok(read_text(&dir.join(format!("{file}.c")))?)).collect()
}

/// Kind of reference to a symbol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Plain,
    StaticCall,
    StaticKey,
}

/// Description and remedy for a symbol that C code cannot have.
fn unusable(name: &str, how: Use) -> Option<String> {
    match how {
        Use::StaticKey => Some(format!(
            "    {name} is a static key, which the kernel does not export to modules: the jump on it would stand in a table of \
             this module that the kernel cannot fill; write in Rust what the C function does, and read the key, as \
             `(&raw const {name}.key.enabled.counter).read_volatile() > 0` with \"vmlinux:{name}\" in `variables` of [imports]"
        )),
        Use::StaticCall => Some(format!(
            "    {name} is a static call, which the kernel does not export to modules: it rewrites the call while it runs; name in \
             `functions` of [imports] the function that it leads to on this system, and write in Rust what the C function does"
        )),
        Use::Plain => None,
    }
}

fn reason(name: &str) -> String {
    let why = "hardened usercopy checks the memory of a copy whose size is no constant, and a shim takes the size as an argument: \
               the kernel would stop the task (`kernel BUG at mm/usercopy.c`) where the original copies";
    if let Some(functions) = of_user(name) {
        return format!("    {name}: {why}; call {functions} of `klp::core::user`");
    }
    match replacement(name) {
        Some(function) => {
            format!(
                "    {name}: {why}; put \"vmlinux:{function}\" into `functions` of [imports] and call that"
            )
        }
        None => {
            format!("    {name}: {why}; write in Rust what it does, with the functions of `klp::core::user`")
        }
    }
}

/// Functions of crate `klp` that copy as the C code does.
fn of_user(name: &str) -> Option<&'static str> {
    match name {
        "copy_to_user" | "__copy_to_user" | "__copy_to_user_inatomic" => Some("`write` or `copy_to`"),
        "copy_from_user" | "__copy_from_user" | "__copy_from_user_inatomic" => Some("`read` or `copy_from`"),
        _ => None,
    }
}

/// Exported function that copies without this check.
fn replacement(name: &str) -> Option<&'static str> {
    Some(match name {
        "copy_to_iter" | "copy_to_iter_full" => "_copy_to_iter",
        "copy_from_iter" | "copy_from_iter_full" => "_copy_from_iter",
        "copy_from_iter_nocache" | "copy_from_iter_full_nocache" => "_copy_from_iter_nocache",
        "copy_mc_to_iter" => "_copy_mc_to_iter",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_copy_shims_have_an_exported_replacement() {
        assert!(reason("copy_to_user").contains("`write` or `copy_to` of `klp::core::user`"));
        assert!(reason("copy_to_iter").contains("\"vmlinux:_copy_to_iter\" into `functions`"));
        assert!(reason("copy_struct_from_user").contains("write in Rust what it does"));
    }
}
