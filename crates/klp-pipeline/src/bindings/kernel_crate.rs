// SPDX-License-Identifier: GPL-2.0-or-later
//! What the kernel's own Rust code declares already (`kernel::bindings`): one Rust type per C type, so a fix that uses the
//! `kernel` crate takes its types, and only what is missing there is added.

use std::collections::BTreeSet;

use klp_base::files::read_text;
use klp_kernel::KernelTree;
use syn::{ForeignItem, Item};

use super::C_NAMES;
use super::clang::Request;
use crate::error::Error;
use crate::resolved::Extern;

/// The text that bindgen made in the kernel's build, as the kernel's tree keeps it.
const FILE: &str = "rust/bindings_generated.rs";

/// The declarations of `kernel::bindings`.
pub(super) struct KernelBindings {
    text: String,
    names: BTreeSet<String>,
}

/// Head of crate `bindings` on top of the kernel's.
pub(super) fn head(tree: &KernelTree) -> String {
    format!(
        "//! Generated: what `kernel::bindings` of {} ({}) lacks.\n\
         {C_NAMES}\n#![allow(missing_docs, unreachable_pub)]\n\n\
         pub use kernel::bindings::*;\n/// The kernel's C types.\npub mod ffi {{\n    pub use kernel::ffi::*;\n}}\n\n",
        tree.id, tree.release
    )
}

/// Module `named`: what the fixes name, and what their prototypes do. Everything that C declares would hide half of the
/// `kernel` crate's prelude.
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
    /// Reads them.
    pub(super) fn read(tree: &KernelTree) -> Result<Self, Error> {
        let text = read_text(&tree.headers.join(FILE))?;
        let names = names(&text);
        Ok(Self { text, names })
    }

    /// As bindgen wrote them.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What is left of generated items without those that the kernel declares. Variables that a fix names stay: they are
    /// linked under a name of ours.
    pub(super) fn rest_of(
        &self,
        generated: &str,
        variables: &BTreeSet<String>,
        tree: &KernelTree,
    ) -> Result<String, Error> {
        let mut file = syn::parse_file(generated).map_err(|error| Error::Bindings {
            kernel: tree.id.clone(),
            message: format!("what bindgen made cannot be read: {error}"),
        })?;
        let declared = |name: String| self.names.contains(&name) && !variables.contains(&name);
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

/// Names of the types, constants, functions and variables that bindgen's text declares. (It is laid out by rustfmt: items
/// begin in the first column, foreign ones are indented in their block.)
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
    fn items_are_told_from_methods_and_members() {
        let found = names(KERNELS);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["EPERM", "a", "b", "f", "v"]);
    }
}
