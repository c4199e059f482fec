// SPDX-License-Identifier: GPL-2.0-or-later
//! The part of rule klp-relocation on objects: code that uses symbols of an object runs only while the object is loaded.
//!
//! The livepatch core resolves the symbols of an object when the object is loaded (`klp_init_object_loaded()` in
//! `kernel/livepatch/core.c`), and only those of objects in the patch's tables. Before that, an instruction that uses such a
//! symbol has the bytes that the compiler left there.

use std::collections::BTreeSet;

use klp_format::{KlpSymbol, ObjectName, VMLINUX};
use klp_module::{Module, PatchTable, Place, SymbolSection};

use crate::analysis::{References, Subject};
use crate::report::{Findings, Scope};

/// Checks that code which uses the symbols of a module runs only while that module is loaded.
pub(super) fn loaded_when_used(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = subject.module;
    let used: BTreeSet<ObjectName> = module
        .klp_symbols()
        .filter_map(|(_, name)| name.ok())
        .map(|symbol| symbol.object)
        .filter(|object| !object.is_vmlinux())
        .collect();
    if used.is_empty() {
        return Scope::All;
    }
    let table = match &subject.table {
        Ok(table) => table,
        Err(error) => {
            return Scope::Unchecked(format!(
                "whether modules are there when code uses them: the tables cannot be read ({error})"
            ));
        }
    };
    let in_tables = |object: &ObjectName| {
        table.objects.iter().any(|entry| entry.name.as_deref() == Some(object.as_str()))
    };
    for object in used.iter().filter(|object| !in_tables(object)) {
        findings.error(
            object.as_str(),
            format!(
                "the module uses symbols of {object}, which is no object of the patch: the kernel never fills in their addresses, \
                 and the code that uses them runs into what stands behind it; the patch must change {object}, or have callbacks \
                 for it"
            ),
        );
    }
    let references = References::read(&subject.graph.program);
    let mut unchecked = BTreeSet::new();
    for (place, symbol) in
        references.outside_of_functions.iter().filter(|(_, symbol)| !symbol.object.is_vmlinux())
    {
        unchecked
            .insert(format!("the use of {symbol} at {}, which is in no function", subject.place(*place)));
    }
    for root in roots(module, table) {
        let reached = references.reached_from(root.place);
        for (node, symbol) in &reached.uses {
            if symbol.object.is_vmlinux() || !in_tables(&symbol.object) {
                continue;
            }
            match root.is_loaded(&symbol.object, subject) {
                Some(true) => {}
                Some(false) => findings.error(symbol.to_string(), message(module, &root, *node, symbol)),
                None => {
                    unchecked.insert(format!(
                        "whether the kernel can have {} without {}: of a file alone that is not known",
                        root.object, symbol.object
                    ));
                }
            }
        }
        let undecoded = reached.undecoded.iter().map(|place| subject.place(*place));
        unchecked.extend(undecoded.map(|place| format!("the code behind {place}, which is no instruction")));
    }
    Scope::all_but_unchecked(unchecked)
}

fn message(module: &Module<'_>, root: &Root, node: Place, symbol: &KlpSymbol) -> String {
    let name =
        |place: Place| module.function_at(place.section, place.offset).map_or("data", |found| found.name);
    let (user, object) = (name(node), &symbol.object);
    format!(
        "{} comes to {user}, which uses it, and may run while {object} is not loaded: the kernel fills in the address when \
         {object} comes, until then the instruction leads into other code; use it in replacements of {object} alone, or take its \
         address in a callback of {object} and give it up in `post_unpatch`",
        root.what
    )
}

/// Entry of the kernel into the module.
struct Root {
    /// Description for messages.
    what: String,
    /// Object that is loaded while the entry runs.
    object: String,
    place: Place,
}

impl Root {
    /// True if a module is loaded while the entry runs; `None` if its dependencies are unknown.
    fn is_loaded(&self, module: &ObjectName, subject: &Subject<'_>) -> Option<bool> {
        if self.object == module.as_str() {
            return Some(true);
        }
        if self.object == VMLINUX {
            return Some(false);
        }
        let patch = subject.expected.patch.as_ref()?;
        Some(patch.needs.get(&self.object).is_some_and(|needs| needs.contains(module.as_str())))
    }
}

fn roots(module: &Module<'_>, table: &PatchTable) -> Vec<Root> {
    let mut roots = Vec::new();
    for object in &table.objects {
        let name = object.name.as_deref().unwrap_or(VMLINUX);
        let root = |what: String, place| Root { what, object: name.to_owned(), place };
        let functions = object.functions.iter();
        roots.extend(functions.map(|function| {
            root(format!("the replacement of {name}:{}", function.old_name), function.new_function)
        }));
        let callbacks = object.callback_places.iter();
        roots.extend(callbacks.map(|place| root(format!("a callback of {name}"), *place)));
    }
    // The patched modules may be unloaded before the exit function runs.
    if let Some(exit) = module.symbol("cleanup_module")
        && let SymbolSection::Section(section) = exit.section
    {
        let place = Place { section, offset: exit.value };
        roots.push(Root { what: "the module's exit".to_owned(), object: VMLINUX.to_owned(), place });
    }
    roots
}
