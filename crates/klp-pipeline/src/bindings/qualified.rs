// SPDX-License-Identifier: GPL-2.0-or-later
//! Types that have the name of a module: in crate `replaced` a trait has that name, and hides the type.

use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Item, TypePath};

/// The source of a crate `replaced`, with the path of each type that has the name of one of its traits. A text without such types is
/// returned unchanged.
pub(super) fn qualified(text: String) -> Result<String, syn::Error> {
    let mut file = syn::parse_file(&text)?;
    let traits = file.items.iter().filter_map(|item| match item {
        Item::Trait(item) => Some(item.ident.to_string()),
        _ => None,
    });
    let mut qualifier = Qualifier { traits: traits.collect(), found: false };
    for item in &mut file.items {
        if let Item::Trait(item) = item {
            qualifier.visit_item_trait_mut(item);
        }
    }
    Ok(if qualifier.found { prettyplease::unparse(&file) } else { text })
}

struct Qualifier {
    traits: Vec<String>,
    found: bool,
}

impl VisitMut for Qualifier {
    fn visit_type_path_mut(&mut self, path: &mut TypePath) {
        visit_mut::visit_type_path_mut(self, path);
        let name = path.to_token_stream().to_string();
        if self.traits.contains(&name)
            && let Ok(full) = syn::parse_str(&format!("bindings::{name}"))
        {
            *path = full;
            self.found = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_with_the_name_of_a_trait_gets_its_path() {
        let text = "/// Functions.\npub trait ring {\n    fn fill(ring: *mut ring, by: Option<unsafe extern \"C\" fn(*mut r#loop)>) -> u64;\n}\npub trait r#loop {}\npub const fn require<T: ring>() {}\n";
        let made = qualified(text.to_owned()).unwrap();
        for part in ["ring: *mut bindings::ring", "fn(*mut bindings::r#loop)", "T: ring", "/// Functions."] {
            assert!(made.contains(part), "{part}: {made}");
        }
    }

    #[test]
    fn text_without_such_types_is_unchanged() {
        let text = "// A comment.\npub trait ring { fn fill(ring: *mut u8); }\n";
        assert_eq!(qualified(text.to_owned()).unwrap(), text);
    }
}
