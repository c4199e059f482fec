// SPDX-License-Identifier: GPL-2.0-or-later
//! Declarations in the kernel's own Rust code (`kernel::bindings`). Each C type must have one Rust type, so a
//! fix on the `kernel` crate uses its types; only missing declarations are added.

use std::collections::BTreeSet;

use klp_base::files::read_text;
use klp_kernel::KernelTree;
use syn::{ForeignItem, Item};

use super::C_NAMES;
use super::clang::Request;
use crate::error::Error;
use crate::resolved::Extern;

/// bindgen's output of the kernel build, in the kernel tree.
const FILE: &str = "rust/bindings_generated.rs";

/// Declarations of `kernel::bindings`.
pub(super) struct KernelBindings {
    text: String,
    names: BTreeSet<String>,
}

/// First lines of crate `bindings` on top of `kernel::bindings`.
pub(super) fn head(tree: &KernelTree) -> String {
    format!(
        "//! Generated: what `kernel::bindings` of {} ({}) lacks.\n\
         {C_NAMES}\n#![allow(missing_docs, unreachable_pub)]\n\n\
         pub use kernel::bindings::*;\n/// The kernel's C types.\npub mod ffi {{\n    pub use kernel::ffi::*;\n}}\n\n",
        tree.id, tree.release
    )
}

/// Module `named`: names that the fixes and their prototypes use. All C declarations together would hide half
/// of the `kernel` crate's prelude.
pub(super) fn named(request: &Request, constants: &[String], externs: &[Extern]) -> String {
    let needed = &request.needed;
    let types = needed.full.keys().chain(needed.opaque.keys()).chain(needed.names.keys());
    let functions = externs.iter().map(|item| &item.name).chain(&request.inlines);
    let names: BTreeSet<&str> = types.chain(functions).chain(constants).map(String::as_str).collect();
    let names: Vec<&str> = names.into_iter().collect();
    format!(
        "\n/// What the fixes name.\npub mod named {{\n    pub use super::{{{}}};\n}}\n",
        names.join(", ")
    )
}

impl KernelBindings {
    /// Reads the declarations from the kernel tree.
    pub(super) fn read(tree: &KernelTree) -> Result<Self, Error> {
        let text = read_text(&tree.headers.join(FILE))?;
        let names = names(&text);
        Ok(Self { text, names })
    }

    /// Text of bindgen.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Generated items that the kernel does not declare. What is `ours` remains: variables of a fix have
    /// their own link names, and constants their own types.
    pub(super) fn rest_of(
        &self,
        generated: &str,
        ours: &BTreeSet<String>,
        tree: &KernelTree,
    ) -> Result<String, Error> {
        let mut file = syn::parse_file(generated).map_err(|error| Error::Bindings {
            kernel: tree.id.clone(),
            message: format!("what bindgen made cannot be read: {error}"),
        })?;
        let declared = |name: String| self.names.contains(&name) && !ours.contains(&name);
        file.items.retain(|item| !super::trim::owner_of_any(item).is_some_and(declared));
        for item in &mut file.items {
            if let Item::ForeignMod(block) = item {
                block.items.retain(|item| match item {
                    ForeignItem::Fn(item) => !declared(item.sig.ident.to_string()),
                    ForeignItem::Static(item) => !declared(item.ident.to_string()),
                    _ => true,
                });
            }
        }
        Ok(prettyplease::unparse(&file))
    }
}

/// Names of the types, constants, functions and variables in bindgen's text. (rustfmt formats this text:
/// items begin in the first column, foreign items are indented in their block.)
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut foreign = false;
    for line in text.lines() {
        if line.starts_with("extern \"C\" {") || line.starts_with("unsafe extern \"C\" {") {
            foreign = true;
        } else if line.starts_with('}') {
            foreign = false;
        }
        let item = match (foreign, line.strip_prefix("    pub ")) {
            (true, Some(rest)) => rest
                .strip_prefix("fn ")
                .or_else(|| rest.strip_prefix("static mut "))
                .or_else(|| rest.strip_prefix("static ")),
            _ => ["pub struct ", "pub union ", "pub enum ", "pub type ", "pub const ", "pub mod "]
                .iter()
                .find_map(|start| line.strip_prefix(start)),
        };
        let Some(item) = item else { continue };
        let name: String = item.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if !name.is_empty() {
            names.insert(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNELS: &str = "pub const EPERM: u32 = 1;\n#[repr(C)]\npub struct a {\n    pub b: b,\n}\nimpl a {\n    pub fn get(&self) -> u8 {\n        0\n    }\n}\npub type b = u32;\nextern \"C\" {\n    pub fn f(a: *mut a);\n}\nextern \"C\" {\n    pub static mut v: u32;\n}\n";

    #[test]
    fn items_are_distinguished_from_methods_and_members() {
        let found = names(KERNELS);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["EPERM", "a", "b", "f", "v"]);
    }
}
