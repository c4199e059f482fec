// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernel functions that crate `klp` calls: module `own` of the bindings. A fix may import functions with the
//! same names.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::FUNCTIONS;
use crate::resolved::{Extern, ExternKind};

/// True if a fix and crate `klp` call the same function, so that both use the header's declaration.
pub(super) fn is_shared(item: &Extern) -> bool {
    item.exported && item.name == item.symbol.symbol && FUNCTIONS.contains(&item.name.as_str())
}

/// Names of the functions that only fixes call, not crate `klp`.
pub(super) fn others(externs: &[Extern]) -> BTreeSet<&str> {
    let functions = externs.iter().filter(|item| item.kind == ExternKind::Function && !is_shared(item));
    functions.map(|item| item.name.as_str()).collect()
}

/// Text of module `own`. If fixes call a different function with one of the names (`others`), the declaration
/// in `generated` gets a separate name. `in_kernel_crate` contains the names that the kernel's own Rust code
/// declares; `generated` does not repeat them.
pub(super) fn module(
    generated: &mut String,
    others: &BTreeSet<&str>,
    in_kernel_crate: Option<&str>,
) -> String {
    let mut text =
        String::from("\n/// What crate `klp` calls, whatever fixes call by these names.\npub mod own {\n");
    let mut has = |name: &str| {
        let declaration = format!("pub fn {name}(");
        if in_kernel_crate.is_some_and(|text| text.contains(&declaration)) {
            return Some(format!("kernel::bindings::{name}"));
        }
        if !generated.contains(&declaration) {
            return None;
        }
        if others.contains(name) {
            let renamed = format!("#[link_name = \"{name}\"]\n    pub fn __klp_own_{name}(");
            *generated = generated.replace(&declaration, &renamed);
            return Some(format!("super::__klp_own_{name} as {name}"));
        }
        Some(format!("super::{name}"))
    };
    let mut found = [false; 2];
    for name in FUNCTIONS {
        if let Some(path) = has(name) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "    pub use {path};");
            for (found, allocates) in found.iter_mut().zip(["__kmalloc", "__kmalloc_noprof"]) {
                *found |= name == allocates;
            }
        }
    }
    if found == [false, true] {
        text.push_str("    pub use self::__kmalloc_noprof as __kmalloc;\n");
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fix_may_call_another_function_with_a_name_that_klp_uses() {
        let text = "unsafe extern \"C\" {\n    pub fn kfree(p: u8);\n    pub fn seq_write(p: u8);\n}\n";
        let mut generated = text.to_owned();
        let made = module(&mut generated, &BTreeSet::new(), None);
        assert_eq!(generated, text);
        assert!(
            made.contains("pub use super::kfree;") && made.contains("pub use super::seq_write;"),
            "{made}"
        );

        let made = module(&mut generated, &BTreeSet::from(["kfree"]), None);
        assert!(generated.contains("#[link_name = \"kfree\"]\n    pub fn __klp_own_kfree("), "{generated}");
        assert!(made.contains("pub use super::__klp_own_kfree as kfree;"), "{made}");

        let made = module(&mut String::new(), &BTreeSet::new(), Some(text));
        assert!(made.contains("pub use kernel::bindings::kfree;"), "{made}");
    }
}
