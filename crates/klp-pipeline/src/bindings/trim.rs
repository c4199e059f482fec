// SPDX-License-Identifier: GPL-2.0-or-later
//! Removes unrequested items from bindgen's text. bindgen follows anonymous members even of opaque structs,
//! which for the kernel includes almost every type.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{ForeignItem, Item, Type, UseTree};

/// Keeps the items with a name in `roots` and the items that they refer to. Structs that the headers only
/// declare are removed if they are in `known`, because BTF has their definition.
pub(super) fn trim(
    text: &str,
    roots: &BTreeSet<String>,
    known: &BTreeSet<String>,
) -> Result<String, syn::Error> {
    let mut file = syn::parse_file(text)?;
    let items: Vec<Item> = std::mem::take(&mut file.items)
        .into_iter()
        .flat_map(split)
        .filter(|item| !is_declaration(item, known))
        .collect();
    let mut by_owner: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(owner) = owner(item, roots) {
            by_owner.entry(owner).or_default().push(index);
        }
    }
    let mut kept = BTreeSet::new();
    let mut seen: BTreeSet<String> = roots.clone();
    let mut pending: Vec<String> = roots.iter().cloned().collect();
    while let Some(name) = pending.pop() {
        for index in by_owner.get(&name).into_iter().flatten() {
            if kept.insert(*index) {
                let mut names = BTreeSet::new();
                names_in(items[*index].to_token_stream(), &mut names);
                pending.extend(
                    names.into_iter().filter(|name| by_owner.contains_key(name) && seen.insert(name.clone())),
                );
            }
        }
    }
    let items = items
        .into_iter()
        .enumerate()
        .filter(|(index, _)| kept.contains(index))
        .map(|(_, item)| item)
        .collect();
    Ok(prettyplease::unparse(&syn::File { items, ..file }))
}

/// True if an item is bindgen's placeholder for a struct that is only declared.
fn is_declaration(item: &Item, known: &BTreeSet<String>) -> bool {
    let Item::Struct(item) = item else { return false };
    let stand_in = |field: &syn::Field| {
        field.ident.as_ref().is_some_and(|ident| ident == "_unused" || ident == "_address")
    };
    known.contains(&item.ident.to_string()) && item.fields.len() == 1 && item.fields.iter().all(stand_in)
}

/// Splits a foreign block into one item per function and variable.
fn split(item: Item) -> Vec<Item> {
    match item {
        Item::ForeignMod(block) => {
            let single = |foreign| {
                let mut block = block.clone();
                block.items = vec![foreign];
                Item::ForeignMod(block)
            };
            block.items.clone().into_iter().map(single).collect()
        }
        other => vec![other],
    }
}

/// The type, constant or alias that an item defines, or the type that an item implements.
pub(super) fn owner_of_any(item: &Item) -> Option<String> {
    match item {
        Item::ForeignMod(_) => None,
        Item::Const(item) => Some(item.ident.to_string()),
        other => owner(other, &BTreeSet::new()),
    }
}

/// Name that selects an item: its own name, or the name of the type for an implementation or an enumeration
/// constant.
fn owner(item: &Item, roots: &BTreeSet<String>) -> Option<String> {
    match item {
        Item::Struct(item) => Some(item.ident.to_string()),
        Item::Union(item) => Some(item.ident.to_string()),
        Item::Enum(item) => Some(item.ident.to_string()),
        Item::Type(item) => Some(item.ident.to_string()),
        Item::Impl(item) => type_name(&item.self_ty),
        Item::Const(item) if roots.contains(&item.ident.to_string()) => Some(item.ident.to_string()),
        Item::Const(item) => match type_name(&item.ty) {
            Some(name)
                if !matches!(name.as_str(), "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64") =>
            {
                Some(name)
            }
            _ => Some(item.ident.to_string()),
        },
        Item::ForeignMod(block) => match block.items.first()? {
            ForeignItem::Fn(item) => Some(item.sig.ident.to_string()),
            ForeignItem::Static(item) => Some(item.ident.to_string()),
            _ => None,
        },
        // A typedef of an enumeration: `pub use self::tag as name;`.
        Item::Use(item) => alias(&item.tree),
        _ => None,
    }
}

fn alias(tree: &UseTree) -> Option<String> {
    match tree {
        UseTree::Path(path) => alias(&path.tree),
        UseTree::Rename(rename) => Some(rename.rename.to_string()),
        _ => None,
    }
}

fn type_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}

fn names_in(tokens: TokenStream, names: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                names.insert(ident.to_string());
            }
            TokenTree::Group(group) => names_in(group.stream(), names),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_items_reachable_from_the_roots_remain() {
        let text = "pub struct a { pub b: *mut b, pub e: e } pub struct b { pub x: u8 } pub struct c { pub a: a }
            impl b { pub fn get(&self) -> u8 { 0 } } pub type e = u32; pub const e_ONE: e = 1; pub const OTHER: u32 = 1;
            unsafe extern \"C\" { pub fn f(a: *mut a); pub fn g(c: *mut c); }";
        let trimmed = trim(text, &BTreeSet::from(["f".to_owned()]), &BTreeSet::new()).unwrap();
        let text_of_use = "pub use self::e as e_t; pub const e_ONE: e = 1; pub type e = u32;
            pub use self::other as other_t; unsafe extern \"C\" { pub fn f() -> e_t; }";
        let trimmed_use = trim(text_of_use, &BTreeSet::from(["f".to_owned()]), &BTreeSet::new()).unwrap();
        assert!(trimmed_use.contains("pub use self::e as e_t") && trimmed_use.contains("pub const e_ONE"));
        assert!(trimmed_use.contains("pub type e") && !trimmed_use.contains("other"), "{trimmed_use}");
        for kept in ["pub struct a", "pub struct b", "impl b", "pub type e", "e_ONE", "pub fn f"] {
            assert!(trimmed.contains(kept), "{kept} is not in {trimmed}");
        }
        let declared = "pub struct d { _unused: [u8; 0] } pub struct e { _unused: [u8; 0] } pub fn f(d: *mut d, e: *mut e) {}";
        let declared = format!("unsafe extern \"C\" {{ pub fn f(d: *mut d, e: *mut e); }} {declared}");
        let known = BTreeSet::from(["d".to_owned()]);
        let trimmed_declared = trim(&declared, &BTreeSet::from(["f".to_owned()]), &known).unwrap();
        assert!(
            !trimmed_declared.contains("struct d") && trimmed_declared.contains("struct e"),
            "{trimmed_declared}"
        );
        for dropped in ["struct c", "fn g(", "OTHER"] {
            assert!(!trimmed.contains(dropped), "{dropped} is in {trimmed}");
        }
    }
}
