// SPDX-License-Identifier: GPL-2.0-or-later
//! The root crate of a module: its tables, and the entry functions that the tables name.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::entries;
use crate::bindings::object_in_rust;
use crate::error::Error;
use crate::project::{Target, objects_of};
use crate::resolve::Resolved;

/// Source of the root crate of a module.
///
/// # Errors
/// The traits that stage 2 generated cannot be read.
pub(super) fn source(target: &Target, resolved: &Resolved, sources: &Path) -> Result<String, Error> {
    let names = entries::names(&resolved.functions);
    let mut text = tables(target, resolved, &names);
    text.push_str(&shared_shadows(target));
    for fix in &target.fixes {
        text.push_str(&entries::source(fix, resolved, &names, sources)?);
    }
    Ok(text)
}

/// The tables: the fixes' replacements, by object. `names` are those of the entry functions, in the order of
/// `resolved.functions`.
fn tables(target: &Target, resolved: &Resolved, names: &[String]) -> String {
    let mut text =
        format!("//! Generated: the tables of module {}.\n#![no_std]\n\nklp::patch! {{\n", resolved.module);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "    description: {:?},\n    replace: {},\n    states: [",
        resolved.description, resolved.replace
    );
    for state in &resolved.states {
        let _ = writeln!(text, "        ({}, {}),", state.id, state.version);
    }
    text.push_str("    ],\n    objects: [\n");
    for object in objects_of(&target.fixes) {
        let in_rust = object_in_rust(&object);
        let name = if object.is_vmlinux() { "None".to_owned() } else { format!("Some(c\"{object}\")") };
        let callbacks = target.fixes.iter().rev().filter(|fix| fix.callbacks.contains(&object));
        let callbacks = callbacks.fold("()".to_owned(), |rest, fix| {
            let fix = fix.crate_name();
            format!(
                "klp::core::callbacks::Then<fix_{fix}::__Patch, replaced_{fix}::objects::{in_rust}, {rest}>"
            )
        });
        let _ = writeln!(
            text,
            "        {{\n            name: {name},\n            callbacks: {callbacks},\n            functions: ["
        );
        let functions = resolved.functions.iter().zip(names);
        for (function, name) in functions.filter(|(function, _)| function.symbol.object == object) {
            let _ = writeln!(
                text,
                "                (c\"{}\", {}, {}::{name}),",
                function.symbol.symbol,
                function.symbol.position,
                entries::module_of(&function.fix),
            );
        }
        text.push_str("            ],\n        },\n");
    }
    text.push_str("    ],\n}\n");
    text
}

/// Asks rustc whether fixes that share ids of shadow variables give them one type.
fn shared_shadows(target: &Target) -> String {
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    let mut text = String::new();
    for fix in &target.fixes {
        for id in &fix.shadows {
            let value =
                format!("<fix_{}::__Patch as klp::core::shadow::HasShadow<{id}>>::Value", fix.crate_name());
            match first.get(id) {
                None => {
                    first.insert(*id, value);
                }
                Some(other) => {
                    let _ = writeln!(
                        text,
                        "const _: () = klp::core::shadow::same::<\n    {other},\n    {value},\n>();"
                    );
                }
            }
        }
    }
    text
}
