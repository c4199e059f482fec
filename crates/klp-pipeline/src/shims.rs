// SPDX-License-Identifier: GPL-2.0-or-later
//! Shims: C functions that give the static inline functions and macros of a fix a symbol.
//!
//! A value that is a constant in the kernel's C code is an argument of the shim. Usually this costs only a
//! few instructions. User copies are different: hardened usercopy checks the memory of a copy with a
//! non-constant size, and kills the task if the check fails (`check_object_size` in
//! `include/linux/thread_info.h`).

use std::collections::BTreeSet;

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};

use crate::bindings::MACRO;

/// Functions that are called for a copy with a non-constant size.
const CHECKS: [&str; 1] = ["__check_object_size"];
/// Suffix of a shim's name in bindgen's output.
const SHIM: &str = "__extern";

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
            names.insert(name.strip_prefix(MACRO).unwrap_or(name).to_owned());
        }
    }
    Ok(names.iter().map(|name| reason(name)).collect())
}

fn reason(name: &str) -> String {
    let why = "hardened usercopy checks the memory of a copy whose size is no constant, and a shim takes the size as an argument: \
               the kernel would stop the task (`kernel BUG at mm/usercopy.c`) where the original copies";
    match replacement(name) {
        Some(function) => {
            format!(
                "    {name}: {why}; put \"vmlinux:{function}\" into `functions` of [imports] and call that"
            )
        }
        None => format!(
            "    {name}: {why}; write in Rust what it does, with \"vmlinux:_copy_to_user\" or \"vmlinux:_copy_from_user\" in `functions` of [imports]"
        ),
    }
}

/// Exported function that copies without this check.
fn replacement(name: &str) -> Option<&'static str> {
    Some(match name {
        "copy_to_user" | "__copy_to_user" | "__copy_to_user_inatomic" => "_copy_to_user",
        "copy_from_user" | "__copy_from_user" | "__copy_from_user_inatomic" => "_copy_from_user",
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
        assert!(reason("copy_to_user").contains("\"vmlinux:_copy_to_user\" into `functions`"));
        assert!(reason("copy_struct_from_user").contains("write in Rust what it does"));
    }
}
