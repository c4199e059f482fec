// SPDX-License-Identifier: GPL-2.0-or-later
//! Renames parameters and local variables that have the name of a kernel variable. Rust rejects a local name
//! equal to a static in scope (E0530); C accepts it.

use std::collections::BTreeSet;

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, ForeignItemFn, ImplItemFn, ItemFn, Signature, TraitItemFn};

/// The same source with an underscore after every parameter and local variable whose name is in `variables`.
pub(super) fn unlike(text: &str, variables: &BTreeSet<String>) -> Result<String, syn::Error> {
    let mut file = syn::parse_file(text)?;
    let mut renamer = Renamer { variables, failed: None };
    renamer.visit_file_mut(&mut file);
    match renamer.failed {
        Some(error) => Err(error),
        None => Ok(prettyplease::unparse(&file)),
    }
}

/// Conservative test for a local variable or parameter with this name: false positives are possible, false
/// negatives are not.
pub(super) fn may_be_called(text: &str, name: &str) -> bool {
    text.contains(&format!("let {name} "))
        || text.contains(&format!("let mut {name} "))
        || text
            .match_indices(&format!("{name}: "))
            .any(|(at, _)| !text[..at].ends_with("static mut ") && !text[..at].ends_with("static "))
}

struct Renamer<'a> {
    variables: &'a BTreeSet<String>,
    failed: Option<syn::Error>,
}

impl Renamer<'_> {
    fn signature(&mut self, signature: &mut Signature) {
        for input in &mut signature.inputs {
            if let syn::FnArg::Typed(input) = input {
                let name = renamed(input.pat.to_token_stream(), self.variables);
                match syn::parse::Parser::parse2(syn::Pat::parse_single, name) {
                    Ok(pattern) => *input.pat = pattern,
                    Err(error) => self.failed = Some(error),
                }
            }
        }
    }

    fn block(&mut self, block: &mut Block) {
        match syn::parse2(renamed(block.to_token_stream(), self.variables)) {
            Ok(renamed) => *block = renamed,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl VisitMut for Renamer<'_> {
    fn visit_item_fn_mut(&mut self, item: &mut ItemFn) {
        self.signature(&mut item.sig);
        self.block(&mut item.block);
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut ImplItemFn) {
        self.signature(&mut item.sig);
        self.block(&mut item.block);
    }

    fn visit_trait_item_fn_mut(&mut self, item: &mut TraitItemFn) {
        self.signature(&mut item.sig);
        visit_mut::visit_trait_item_fn_mut(self, item);
    }

    fn visit_foreign_item_fn_mut(&mut self, item: &mut ForeignItemFn) {
        self.signature(&mut item.sig);
    }
}

/// Tokens with an underscore after each of the names, except for fields and methods.
fn renamed(tokens: TokenStream, names: &BTreeSet<String>) -> TokenStream {
    // One dot precedes a member; two dots are a range.
    let mut dots = 0;
    tokens
        .into_iter()
        .map(|token| {
            let member = dots == 1;
            dots = if matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '.') {
                dots + 1
            } else {
                0
            };
            match token {
                TokenTree::Ident(ident) if !member && names.contains(&ident.to_string()) => {
                    Ident::new(&format!("{ident}_"), ident.span()).into()
                }
                TokenTree::Group(group) => {
                    let mut inner = Group::new(group.delimiter(), renamed(group.stream(), names));
                    inner.set_span(group.span());
                    inner.into()
                }
                other => other,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_names_never_equal_a_variable_name() {
        let text = "unsafe extern \"C\" {\n    pub static mut index: u32;\n    pub fn f(index: u32, other: index_t);\n}\n\
                    pub trait T {\n    /// Kept.\n    unsafe extern \"C\" fn g(index: u8);\n}\n\
                    impl S {\n    pub fn index(&self, index: usize) -> u8 {\n        let val = index / 8;\n        self.index[val..index]\n    }\n}\n";
        let names = BTreeSet::from(["index".to_owned(), "val".to_owned()]);
        assert!(may_be_called(text, "index") && may_be_called(text, "val"));
        assert!(!may_be_called("pub static mut index: u32;\npub fn index() -> u8;\n", "index"));
        let made = unlike(text, &names).unwrap();
        for kept in [
            "static mut index: u32",
            "pub fn index(&self, index_: usize)",
            "self.index[val_..index_]",
            "/// Kept.",
        ] {
            assert!(made.contains(kept), "{kept}: {made}");
        }
        for now in ["f(index_: u32, other: index_t)", "fn g(index_: u8)", "let val_ = index_ / 8"] {
            assert!(made.contains(now), "{now}: {made}");
        }
    }
}
