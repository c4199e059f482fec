// SPDX-License-Identifier: GPL-2.0-or-later
//! Link names of the symbols that an object file needs. objtool and modpost see them; the livepatch core's names come after both.

use std::collections::BTreeSet;
use std::path::Path;

use klp_base::cache::sha256;
use klp_format::{KlpSymbol, ObjectName, SymbolPosition};
use klp_image::KernelImage;

use crate::shipped::Found;

/// Prefixes of the trampoline and of the key of a static call.
pub(crate) const STATIC_CALL: [&str; 2] = ["__SCT__", "__SCK__"];
/// Longest name of an undefined symbol that modpost takes (`MODULE_NAME_LEN` in `scripts/mod/modpost.c`), in bytes.
const LONGEST: usize = 55;
/// Files of the kernel's source with the names of functions that do not return: since 6.4, and before.
const LISTS: [(&str, &str, &str); 2] =
    [("tools/objtool/noreturns.h", "NORETURN(", ")"), ("tools/objtool/check.c", "\"", "\",")];

/// Global functions of which objtool knows by their names alone that they do not return. `root`: top directory of the kernel's
/// source. May have other words of the file, too.
pub(crate) fn never_returning(root: &Path) -> BTreeSet<String> {
    let list = LISTS.iter().find_map(|(file, start, end)| {
        let text = std::fs::read_to_string(root.join(file)).ok()?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix(start)?.strip_suffix(end));
        Some(names.map(str::to_owned).collect())
    });
    list.unwrap_or_default()
}

/// Link name of a symbol that the livepatch core resolves. objtool knows functions that do not return by their names, and looks for
/// the keys of static calls by theirs.
pub(crate) fn link_name(
    object: &ObjectName,
    found: &Found,
    kernel: &KernelImage,
    never_returning: &BTreeSet<String>,
) -> String {
    let is_clear = if object.is_vmlinux() {
        found.name.len() <= LONGEST && !STATIC_CALL.iter().any(|start| found.name.starts_with(start))
    } else {
        never_returning.contains(&found.name) && kernel.symbols.count(&found.name) == 0
    };
    if is_clear && found.is_global && found.position.0 == 0 {
        found.name.clone()
    } else {
        alias(object, &found.name, found.position.0)
    }
}

/// Link name of a symbol whose own name may mean something else to the tools. modpost drops a number behind a dot, and takes no
/// names longer than `LONGEST`.
pub(crate) fn alias(object: &ObjectName, name: &str, position: u32) -> String {
    let readable = format!("klp_c_{object}_{position}_{}", name.replace('.', "_dot_"));
    if readable.len() <= LONGEST {
        return readable;
    }
    format!("klp_c_{}", &sha256(readable.as_bytes())[..16])
}

/// Symbol as the livepatch core names it.
///
/// # Errors
/// The name is not valid for it.
pub fn klp_symbol(object: &str, symbol: &str, position: u32) -> Result<KlpSymbol, klp_format::NameError> {
    KlpSymbol::new(ObjectName::new(object)?, symbol, SymbolPosition(position))
}
