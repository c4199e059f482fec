// SPDX-License-Identifier: GPL-2.0-or-later
//! Functions and variables of the kernel and its modules that fixes use: the kind of linking, and the check
//! that each exists while the fix runs.

use std::collections::{BTreeMap, BTreeSet};

use klp_format::{KlpSymbol, ObjectName, SymbolPosition};
use klp_image::Area;
use klp_kernel::KernelTree;
use klp_kernel::exports::{self, Export, Exports};

use super::refuse;
use super::typed::{Use, stays, typed, unique};
use crate::error::Error;
use crate::objects::Objects;
use crate::project::{Called, Fix, Target, Variable, objects_of};
use crate::resolved::{Extern, ExternKind};

/// All functions and variables that the fixes of a module use, without duplicates.
pub(super) fn externs(tree: &KernelTree, objects: &Objects, target: &Target) -> Result<Vec<Extern>, Error> {
    let exports = exports::of(tree)?;
    let mut externs: Vec<Extern> = Vec::new();
    for fix in &target.fixes {
        for called in &fix.imports.functions {
            add(&mut externs, function(tree, objects, &exports, fix, called)?);
        }
        for used in &fix.imports.variables {
            add(&mut externs, variable(tree, objects, &exports, fix, used)?);
        }
    }
    Ok(externs)
}

/// Adds an item if its name is new. Different items with one name were rejected when the files were read.
fn add(externs: &mut Vec<Extern>, item: Extern) {
    if !externs.iter().any(|other| other.name == item.name) {
        externs.push(item);
    }
}

/// Symbol of the kernel for a name that C code of a module uses and that the kernel does not export.
///
/// # Errors
/// The kernel has no such symbol or several, or it is not in memory, or is a per-CPU variable.
pub fn unexported(tree: &KernelTree, objects: &Objects, name: &str) -> Result<KlpSymbol, Error> {
    let symbol = KlpSymbol::new(ObjectName::new(klp_format::VMLINUX)?, name, SymbolPosition(0))?;
    unique(tree, objects, &symbol).map_err(|error| match error {
        Error::Symbol { symbol, kernel, message } => Error::Symbol {
            symbol,
            kernel,
            message: format!(
                "an inline function or macro of the fix uses it, and the kernel does not export it; {message}; write in Rust what the C \
                 function does"
            ),
        },
        error => error,
    })?;
    stays(tree, objects, &symbol)?;
    if objects.area(&symbol) == Some(Area::PerCpu) {
        return Err(refuse(
            tree,
            &symbol,
            "an inline function or macro of the fix uses it, and it is a per-CPU variable that the kernel does not export; write in Rust \
             what the C function does, with { symbol = \"...\", per_cpu = true } in `variables` of [imports]",
        ));
    }
    Ok(symbol)
}

fn function(
    tree: &KernelTree,
    objects: &Objects,
    exports: &Exports,
    fix: &Fix,
    called: &Called,
) -> Result<Extern, Error> {
    let symbol = &called.symbol;
    let typed = typed(tree, objects, symbol, called.prototype.as_ref(), Use::Called)?;
    stays(tree, objects, symbol)?;
    let export = importable(exports, symbol);
    if export.is_none() {
        unique(tree, objects, symbol)?;
        is_there(tree, objects, fix, symbol)?;
    }
    Ok(Extern {
        kind: ExternKind::Function,
        name: called.name.clone(),
        exported: export.is_some(),
        namespace: export.and_then(|export| export.namespace.clone()),
        c_declaration: typed.c_text(objects.types()),
        asserted: typed.is_asserted(),
        per_cpu: false,
        room: None,
        linked_as: None,
        symbol: symbol.clone(),
    })
}

fn variable(
    tree: &KernelTree,
    objects: &Objects,
    exports: &Exports,
    fix: &Fix,
    used: &Variable,
) -> Result<Extern, Error> {
    let symbol = &used.symbol;
    let found = unique(tree, objects, symbol)?;
    if found.is_code() {
        return Err(refuse(
            tree,
            symbol,
            "it is no variable but code; a function is named in `functions` of [imports]",
        ));
    }
    stays(tree, objects, symbol)?;
    let per_cpu = objects.area(symbol) == Some(Area::PerCpu);
    match (per_cpu, used.per_cpu) {
        (true, false) => return Err(refuse(tree, symbol, &per_cpu_advice(used))),
        (false, true) => {
            return Err(refuse(tree, symbol, "it is no per-CPU variable; take `per_cpu = true` out"));
        }
        _ => {}
    }
    let export = importable(exports, symbol);
    if export.is_none() {
        is_there(tree, objects, fix, symbol)?;
    }
    Ok(Extern {
        kind: ExternKind::Variable,
        name: used.name.clone(),
        exported: export.is_some(),
        namespace: export.and_then(|export| export.namespace.clone()),
        c_declaration: used.declaration.as_ref().unwrap_or(&symbol.symbol).clone(),
        asserted: false,
        per_cpu,
        room: objects.room(symbol),
        linked_as: None,
        symbol: symbol.clone(),
    })
}

fn per_cpu_advice(used: &Variable) -> String {
    format!(
        "it is a per-CPU variable: its address is an offset, and reading there is a page fault; write \
         {{ symbol = \"{}\", per_cpu = true }}, and turn its address into one of this CPU's by C's macro: \
         macros = [\"void *this_cpu_ptr(void *p)\"] in [imports], then `this_cpu_ptr((&raw mut {}).cast())` with preemption off",
        used.symbol, used.name
    )
}

/// The export that a module may import. Exports of kernel modules are excluded: an import would prevent
/// loading of the live patch before that module, and unloading of that module.
fn importable<'e>(exports: &'e Exports, symbol: &KlpSymbol) -> Option<&'e Export> {
    let export = exports.get(&symbol.symbol).filter(|_| symbol.object.is_vmlinux())?;
    (export.object == klp_format::VMLINUX && export.is_for_all()).then_some(export)
}

/// Checks that a module is loaded while the fix uses its symbols: the fix patches this module, or a module
/// that depends on it.
fn is_there(tree: &KernelTree, objects: &Objects, fix: &Fix, symbol: &KlpSymbol) -> Result<(), Error> {
    let module = &symbol.object;
    let changed = objects_of([fix]);
    if module.is_vmlinux() || changed.iter().any(|object| needed_by(objects, object).contains(module)) {
        return Ok(());
    }
    let changed: Vec<&str> = changed.iter().map(ObjectName::as_str).collect();
    Err(refuse(
        tree,
        symbol,
        &format!(
            "{module} may be away when the fix runs: the fix changes {} alone, which {module} need not be loaded for, and the \
             kernel fills in the address only when {module} comes; replace a function of {module} that uses it, or take the \
             address in callbacks (callbacks = [\"{module}\"]) and give it up in `post_unpatch`",
            changed.join(", ")
        ),
    ))
}

/// A module and its direct and indirect dependencies, as far as their files were read.
fn needed_by(objects: &Objects, object: &ObjectName) -> BTreeSet<ObjectName> {
    let mut found = BTreeSet::new();
    let mut pending = vec![object.clone()];
    while let Some(object) = pending.pop() {
        let needs = objects.needs(&object).unwrap_or_default().iter();
        // A valid module name is a valid object name.
        pending.extend(
            needs.filter_map(|name| ObjectName::new(name.as_str()).ok()).filter(|name| !found.contains(name)),
        );
        found.insert(object);
    }
    found
}

/// Dependencies of each module of `changed`.
pub(super) fn needs(objects: &Objects, changed: &[ObjectName]) -> BTreeMap<String, BTreeSet<String>> {
    changed
        .iter()
        .filter(|object| !object.is_vmlinux())
        .map(|object| {
            let needed = needed_by(objects, object).into_iter().filter(|other| other != object);
            (object.to_string(), needed.map(|name| name.to_string()).collect())
        })
        .collect()
}
