// SPDX-License-Identifier: GPL-2.0-or-later
//! Types in a module's debug information beside the kernel's types (BTF), for the rules on layouts and prototypes.

use std::collections::BTreeMap;

use klp_cdiff::module_types::{self, ModuleTypes, StructLayout, pointer_to};
use klp_image::{BtfError, Prototype, TypeId, TypeKind, Types};
use klp_module::{KlpLayout, Module};
use klp_verify::{LayoutFact, PrototypeFact, TypeFacts, TypeLayout};

use crate::objects::Objects;

/// Deepest nesting of types without a name, and longest chain of types.
const DEEPEST: usize = 16;

/// Facts about the types of a module; `None` if it has no debug information. `debug` is the file with that, which may be the module
/// itself. `Err` has the reason why it cannot be read.
pub(crate) fn of(
    debug: &[u8],
    module: &[u8],
    layout: &KlpLayout,
    objects: &Objects,
) -> Result<Option<TypeFacts>, String> {
    let Some(found) = module_types::read(debug)? else { return Ok(None) };
    let types = objects.types();
    let unread = |error: BtfError| error.to_string();
    let mut facts = TypeFacts::default();
    for (name, layout) in &found.layouts {
        let kernel = layouts(types, name).map_err(unread)?;
        if !kernel.is_empty() {
            facts.layouts.push(LayoutFact { name: name.clone(), module: fact(layout), kernel });
        }
    }
    facts.prototypes = prototypes(&found, module, layout, objects).map_err(unread)?;
    Ok(Some(facts))
}

fn fact(layout: &StructLayout) -> TypeLayout {
    TypeLayout { size: layout.size, members: layout.members.clone() }
}

/// Replacements in C, with the prototypes of what they replace, as far as the kernel's types have these.
fn prototypes(
    found: &ModuleTypes,
    module: &[u8],
    layout: &KlpLayout,
    objects: &Objects,
) -> Result<Vec<PrototypeFact>, BtfError> {
    let mut facts = Vec::new();
    // The rules on the file and on its tables say what cannot be read.
    let Ok(module) = Module::parse(module) else { return Ok(facts) };
    let Ok(table) = module.tables(layout) else { return Ok(facts) };
    for (symbol, function) in table.symbols() {
        let place = &function.new_function;
        let Some(own) = module.function_at(place.section, place.offset) else { continue };
        let Some(shapes) = found.prototypes.get(own.name) else { continue };
        // BTF has no positions: of a name that stands for several functions its prototype is no evidence.
        if objects.symbols(&symbol.object).is_none_or(|symbols| symbols.count(&symbol.symbol) != 1) {
            continue;
        }
        let Ok(prototype) = objects.function(&symbol.object, &symbol.symbol) else { continue };
        let kernel = shapes_of(objects.types(), &prototype)?;
        facts.push(PrototypeFact {
            replacement: own.name.to_owned(),
            text: objects.types().c_prototype(&prototype),
            module: shapes.clone(),
            kernel,
            symbol,
        });
    }
    Ok(facts)
}

fn shapes_of(types: &Types, prototype: &Prototype) -> Result<Vec<String>, BtfError> {
    let ids = std::iter::once(prototype.returns).chain(prototype.parameters.iter().map(|(_, id)| *id));
    ids.map(|id| shape(types, id, 0)).collect()
}

/// Shape of a type, as [`module_types::ModuleTypes::prototypes`] has it.
fn shape(types: &Types, id: TypeId, depth: usize) -> Result<String, BtfError> {
    if depth >= DEEPEST {
        return Ok("void".to_owned());
    }
    let inner = |id| shape(types, id, depth + 1);
    let tagged = |union: bool, name: Option<String>| {
        let kind = if union { "union" } else { "struct" };
        name.map_or_else(|| kind.to_owned(), |name| format!("{kind} {name}"))
    };
    Ok(match types.kind(id)? {
        TypeKind::Int { size, .. } | TypeKind::Enum { size, .. } => format!("int{size}"),
        TypeKind::Pointer(id) | TypeKind::Array(id, _) => pointer_to(&inner(id)?),
        TypeKind::Composite { union, name, .. } => tagged(union, name),
        TypeKind::Forward { union, name } => tagged(union, Some(name)),
        TypeKind::Typedef(_, id) | TypeKind::Const(id) | TypeKind::Qualified(id) | TypeKind::Volatile(id) => {
            inner(id)?
        }
        TypeKind::Function(_) => "function".to_owned(),
        TypeKind::Void | TypeKind::Float(_) | TypeKind::Other => "void".to_owned(),
    })
}

/// Layouts of all structs or unions of a name: `struct file`. The kernel has several of some names.
fn layouts(types: &Types, name: &str) -> Result<Vec<TypeLayout>, BtfError> {
    let (kind, name) = name.split_once(' ').unwrap_or_default();
    let ids = match kind {
        // A typedef of a struct without a tag.
        "typedef" => types.typedef(name)?.into_iter().collect(),
        _ => types.composites(name)?,
    };
    let mut found = Vec::new();
    for id in ids {
        let TypeKind::Composite { union, size, .. } = types.kind(types.bare(id)?)? else { continue };
        if kind == "typedef" || union == (kind == "union") {
            let mut members = BTreeMap::new();
            add_members(types, types.bare(id)?, ("", 0), 0, &mut members)?;
            found.push(TypeLayout { size: size as u64, members });
        }
    }
    Ok(found)
}

/// Adds the members of a struct or union at a place of the outer one. `prefix` has the names up to there.
fn add_members(
    types: &Types,
    id: TypeId,
    (prefix, start): (&str, u64),
    depth: usize,
    all: &mut BTreeMap<String, u64>,
) -> Result<(), BtfError> {
    let TypeKind::Composite { members, .. } = types.kind(id)? else { return Ok(()) };
    for member in members {
        let at = start + u64::from(member.bit_offset);
        let whole = match (&member.name, prefix) {
            (Some(name), "") => name.clone(),
            (Some(name), prefix) => format!("{prefix}.{name}"),
            (None, prefix) => prefix.to_owned(),
        };
        let inner = types.bare(member.type_id)?;
        if depth < DEEPEST && matches!(types.kind(inner)?, TypeKind::Composite { name: None, .. }) {
            add_members(types, inner, (&whole, at), depth + 1, all)?;
        }
        if member.name.is_some() {
            all.insert(whole, at);
        }
    }
    Ok(())
}
