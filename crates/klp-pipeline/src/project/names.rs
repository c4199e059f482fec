// SPDX-License-Identifier: GPL-2.0-or-later
//! Rust names of kernel symbols that fixes import. The fixes of a module share crate `bindings`, in which
//! each name must be unique.

use std::collections::BTreeMap;

use super::Fix;

/// One name that a fix imports.
struct Import<'a> {
    fix: &'a str,
    /// The key of patch.toml.
    key: &'static str,
    name: &'a str,
    /// Symbol or item that the name stands for, as in patch.toml.
    what: String,
}

/// Message about the first name that stands for two different items, with the remedy. `fixes` are the fixes
/// of one module.
pub(super) fn clash(fixes: &[Fix]) -> Option<String> {
    let mut seen: BTreeMap<&str, Import<'_>> = BTreeMap::new();
    for import in fixes.iter().flat_map(imports) {
        match seen.get(import.name) {
            Some(other) if other.what != import.what => return Some(message(other, &import)),
            Some(_) => {}
            None => {
                seen.insert(import.name, import);
            }
        }
    }
    None
}

fn imports(fix: &Fix) -> Vec<Import<'_>> {
    let import = |key, name, what| Import { fix: &fix.name, key, name, what };
    let functions = fix.imports.functions.iter().map(|item| {
        let prototype = item.prototype.as_ref().map(|text| format!(" as `{}`", squeezed(text.text())));
        import("functions", item.name.as_str(), format!("{}{}", item.symbol, prototype.unwrap_or_default()))
    });
    let variables = fix.imports.variables.iter().map(|item| {
        let declaration = item.declaration.as_ref().map(|text| format!(" as `{}`", squeezed(text)));
        let per_cpu = if item.per_cpu { " (per CPU)" } else { "" };
        let what = format!("{}{}{per_cpu}", item.symbol, declaration.unwrap_or_default());
        import("variables", item.name.as_str(), what)
    });
    let inlines =
        fix.imports.inlines.iter().map(|name| import("inlines", name, format!("the inline function {name}")));
    let macros = fix
        .imports
        .macros
        .iter()
        .map(|item| import("macros", item.name(), format!("the macro `{}`", squeezed(item.text()))));
    let constants = fix.imports.constants.iter().map(|item| {
        let c_type = item.c_type.as_ref().map(|c_type| format!(" of type {}", c_type.as_str()));
        let what = format!("the constant {}{}", item.c_name, c_type.unwrap_or_default());
        import("constants", item.name.as_str(), what)
    });
    functions.chain(variables).chain(inlines).chain(macros).chain(constants).collect()
}

fn message(first: &Import<'_>, second: &Import<'_>) -> String {
    let place = |import: &Import<'_>| format!("{} (`{}` of `{}`)", import.what, import.key, import.fix);
    let named = |import: &Import<'_>| ["functions", "variables"].contains(&import.key);
    let advice = if named(first) || named(second) {
        "give one of them another name in Rust, as { symbol = \"...\", as = \"...\" }"
    } else if first.key == "constants" && second.key == "constants" {
        "write both alike, or give one of them another name in Rust, as { name = \"...\", as = \"...\" }"
    } else {
        "take one of them out, or write both alike"
    };
    format!("the name `{}` stands for {} and for {}; {advice}", second.name, place(first), place(second))
}

/// C text with each run of white space replaced by one space.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
