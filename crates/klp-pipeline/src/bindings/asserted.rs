// SPDX-License-Identifier: GPL-2.0-or-later
//! Functions with an unchecked prototype (written by the author because BTF has none). bindgen reads it as a
//! header declaration.

use std::collections::BTreeMap;

use klp_base::cache::sha256;
use klp_format::KlpSymbol;
use quote::ToTokens;
use syn::{ForeignItem, Item};

use crate::project::CPrototype;
use crate::resolved::Resolved;

/// Unchecked prototypes of one module: C text by alias.
pub(super) struct Asserted(BTreeMap<String, String>);

/// C name for the declaration of a function. A header may declare another function with the real name, and
/// two fixes may declare different prototypes for one function.
pub(super) fn alias(symbol: &KlpSymbol, prototype: &str) -> String {
    format!("__klp_asserted_{}", &sha256(format!("{symbol} {prototype}").as_bytes())[..16])
}

impl Asserted {
    /// Functions for which stage 1 accepted an unchecked prototype.
    pub(super) fn of(resolved: &Resolved) -> Result<Self, String> {
        let declare = |(symbol, text): (&KlpSymbol, &str)| {
            let alias = alias(symbol, text);
            let declaration = CPrototype::new(text)?.renamed(&alias);
            Ok((alias, declaration))
        };
        resolved.asserted().map(declare).collect::<Result<_, _>>().map(Self)
    }

    /// C declarations of the functions.
    pub(super) fn declarations(&self) -> String {
        self.0.values().map(|text| format!("{text};\n")).collect()
    }

    /// Aliases of the functions.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.0.keys().cloned()
    }

    /// Rust signatures of the functions from bindgen's text: `(regs: *const pt_regs) -> ffi::c_long`.
    pub(super) fn signatures(&self, generated: &str) -> Result<BTreeMap<String, String>, String> {
        if self.0.is_empty() {
            return Ok(BTreeMap::new());
        }
        let file =
            syn::parse_file(generated).map_err(|error| format!("bindgen's text cannot be read: {error}"))?;
        let blocks = file.items.iter().filter_map(|item| match item {
            Item::ForeignMod(block) => Some(&block.items),
            _ => None,
        });
        let found: BTreeMap<String, String> = blocks
            .flatten()
            .filter_map(|item| match item {
                ForeignItem::Fn(item) if self.0.contains_key(&item.sig.ident.to_string()) => Some((
                    item.sig.ident.to_string(),
                    format!("({}) {}", item.sig.inputs.to_token_stream(), item.sig.output.to_token_stream()),
                )),
                _ => None,
            })
            .collect();
        match self.0.iter().find(|(alias, _)| !found.contains_key(*alias)) {
            Some((_, text)) => {
                Err(format!("clang does not take the prototype `{text}`; check it in patch.toml"))
            }
            None => Ok(found),
        }
    }
}
