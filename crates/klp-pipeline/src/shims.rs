// SPDX-License-Identifier: GPL-2.0-or-later
//! Shims: C that gives the static inline functions and macros of a fix a symbol.
//!
//! A shim takes as an argument what the kernel's C code has as a constant. Mostly that costs a few instructions. User copies do
//! something else then: hardened usercopy looks at the memory of a copy whose size is no constant, and stops the task where
//! it does not like what it finds (`check_object_size` of `include/linux/thread_info.h`).

use std::collections::BTreeSet;

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};

use crate::bindings::MACRO;

/// What is called where the size of a copy is no constant.
const CHECKS: [&str; 1] = ["__check_object_size"];
/// What bindgen ends the name of a shim with.
const SHIM: &str = "__extern";

/// The first line of a shims' file: what C says of its own place must not depend on where it is compiled.
pub(crate) fn line_directive(module: &str) -> String {
    format!("#line 1 \"{module}_shims.c\"\n")
}

/// For each shim in the object that would check what the original does not: what to do instead.
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
            format!("    {name}: {why}; put \"vmlinux:{function}\" into `functions` and call that")
        }
        None => format!(
            "    {name}: {why}; write in Rust what it does, with \"vmlinux:_copy_to_user\" or \"vmlinux:_copy_from_user\" in `functions`"
        ),
    }
}

/// The exported function that copies without that check.
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
    fn a_user_copy_has_a_function_to_call_instead() {
        assert!(reason("copy_to_user").contains("\"vmlinux:_copy_to_user\" into `functions`"));
        assert!(reason("copy_struct_from_user").contains("write in Rust what it does"));
    }
}
