// SPDX-License-Identifier: GPL-2.0-or-later
//! Members of anonymous structs and unions: one function per member gives its place by its C name. Rust has no anonymous
//! members, so bindgen puts them into fields `__bindgen_anon_<number>`, often several levels deep.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use quote::ToTokens;
use syn::{Fields, ImplItem, Item};

use super::render::type_name;

/// Name prefix of the field of an anonymous member.
const FIELD: &str = "__bindgen_anon_";
/// Part of the name of an anonymous type.
const TYPE: &str = "__bindgen_ty_";

/// Starts of the names of fields that are no members in C: storage of bit-fields, and padding.
const GENERATED: [&str; 3] = ["_bitfield_", "__bindgen_padding_", "_padding_"];

/// Fields of a type: name and type.
type Members = Vec<(String, String)>;

/// Implementations for the types that `texts` define: `sk_buff::dev(skb)` is the place of the member in `*skb`.
///
/// # Errors
/// A text is no Rust.
pub(super) fn places(texts: &[&str]) -> Result<String, syn::Error> {
    let mut types: BTreeMap<String, Members> = BTreeMap::new();
    let mut methods: BTreeSet<(String, String)> = BTreeSet::new();
    for text in texts.iter().filter(|text| text.contains(FIELD)) {
        for item in syn::parse_file(text)?.items {
            match item {
                Item::Struct(item) => {
                    types.insert(item.ident.to_string(), members(&item.fields));
                }
                Item::Union(item) => {
                    types.insert(item.ident.to_string(), members(&Fields::Named(item.fields)));
                }
                Item::Impl(item) if item.trait_.is_none() => {
                    let owner = item.self_ty.to_token_stream().to_string();
                    let names = item.items.iter().filter_map(|item| match item {
                        ImplItem::Fn(method) => Some(method.sig.ident.to_string()),
                        _ => None,
                    });
                    methods.extend(names.map(|name| (owner.clone(), name)));
                }
                _ => {}
            }
        }
    }
    let mut made = String::new();
    for (owner, fields) in types.iter().filter(|(owner, _)| !owner.contains(TYPE)) {
        let mut found = Vec::new();
        collect(&types, fields, "", 0, &mut found);
        let own = |name: &str| fields.iter().any(|(field, _)| field == name);
        // Members of C are unique in their struct; a repeated name is one that was generated.
        let names: Vec<String> = found.iter().map(|(name, ..)| name.clone()).collect();
        found.retain(|(name, ..)| names.iter().filter(|other| *other == name).count() == 1);
        found.retain(|(name, ..)| !own(name) && !methods.contains(&(owner.clone(), type_name(name.clone()))));
        if found.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(made, "impl {owner} {{");
        for (name, path, kind) in found {
            let method = type_name(name.clone());
            let _ = writeln!(
                made,
                "    /// Place of the member `{name}` of an anonymous struct or union.\n    ///\n    /// # Safety\n    \
                 /// `this` points to a struct of this type.\n    #[inline(always)]\n    \
                 pub const unsafe fn {method}(this: *mut Self) -> *mut {kind} {{ unsafe {{ &raw mut (*this){path} }} }}"
            );
        }
        made.push_str("}\n");
    }
    Ok(made)
}

/// Named fields that are members in C. (`_size` gives a union its size.)
fn members(fields: &Fields) -> Members {
    let named = fields.iter().filter_map(|field| {
        let name = field.ident.as_ref()?.to_string();
        Some((name, field.ty.to_token_stream().to_string()))
    });
    named
        .filter(|(name, _)| name != "_size" && !GENERATED.iter().any(|start| name.starts_with(start)))
        .collect()
}

/// Adds name, path and type of each member of the anonymous fields.
fn collect(
    types: &BTreeMap<String, Members>,
    fields: &Members,
    path: &str,
    depth: usize,
    found: &mut Vec<(String, String, String)>,
) {
    for (name, kind) in fields {
        let path = format!("{path}.{name}");
        if name.starts_with(FIELD) {
            if let Some(inner) = types.get(kind) {
                collect(types, inner, &path, depth + 1, found);
            }
        } else if depth > 0 {
            let field = name.strip_prefix("r#").unwrap_or(name);
            found.push((field.to_owned(), path, kind.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_of_an_anonymous_union_has_a_place() {
        let text = "pub struct outer { pub __bindgen_anon_1: outer__bindgen_ty_1, pub len: u32 }\n\
                    pub union outer__bindgen_ty_1 { pub __bindgen_anon_1: outer__bindgen_ty_1__bindgen_ty_1, pub len: u8, pub seen: u64 }\n\
                    pub struct outer__bindgen_ty_1__bindgen_ty_1 { pub dev: *mut device, pub _bitfield_1: u8, pub _size: [u8; 8] }\n\
                    impl outer { pub fn seen(&self) -> u32 { 0 } }\n";
        let made = places(&[text]).unwrap();
        assert!(
            made.contains("fn dev(this: *mut Self) -> *mut * mut device { unsafe { &raw mut (*this).__bindgen_anon_1.__bindgen_anon_1.dev } }"),
            "{made}"
        );
        // A field or method of this name is there already, and storage of bit-fields has no name in C.
        for name in ["fn len(", "fn seen(", "bitfield", "_size"] {
            assert!(!made.contains(name), "{made}");
        }
    }
}
