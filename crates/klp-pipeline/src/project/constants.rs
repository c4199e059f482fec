// SPDX-License-Identifier: GPL-2.0-or-later
//! Entries of `constants` in `[imports]`.

use serde::Deserialize;

use super::entries::Entry;
use crate::rust_name::is_rust_name;

/// Constant macro or enumerator that a fix uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constant {
    /// Name in C.
    pub c_name: String,
    /// Name in Rust.
    pub name: String,
    /// Integer type of C that the constant has in Rust; `None`: the type that it has in C.
    pub c_type: Option<CType>,
}

/// Name of a type in C: `long`, `unsigned int`, `gfp_t`.
///
/// # Invariants
/// It consists of words. Whether it is an integer type is for clang to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CType(String);

impl CType {
    fn new(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(' ').collect();
        if words.iter().all(|word| is_word(word)) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("`{text}` is no integer type of C; write it as \"long\", \"unsigned int\" or \"gfp_t\""))
    }

    /// Name of the type.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConstantTable {
    name: String,
    #[serde(rename = "as")]
    rust_name: Option<String>,
    #[serde(rename = "type")]
    c_type: Option<String>,
}

/// An entry of `constants`.
pub(super) fn constant(entry: Entry<ConstantTable>) -> Result<Constant, String> {
    let (c_name, name, c_type) = match entry {
        Entry::Plain(name) => (name, None, None),
        Entry::Table(table) => (table.name, table.rust_name, table.c_type),
    };
    if !is_word(&c_name) {
        return Err(format!("`{c_name}` is no name of C"));
    }
    let name = name.unwrap_or_else(|| c_name.clone());
    if !is_rust_name(&name) {
        return Err(format!("`{name}` is no Rust name; write {{ name = \"{c_name}\", as = \"...\" }}"));
    }
    Ok(Constant { c_name, name, c_type: c_type.as_deref().map(CType::new).transpose()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Vec<Constant>, String> {
        #[derive(Deserialize)]
        struct File {
            constants: Vec<Entry<ConstantTable>>,
        }
        let file: File = toml::from_str(toml).map_err(|error| error.to_string())?;
        file.constants.into_iter().map(constant).collect()
    }

    #[test]
    fn entry_is_a_name_or_a_name_with_a_type() {
        let read = read("constants = ['A', { name = 'B', type = 'unsigned int' }, { name = 'B', as = 'C' }]")
            .unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|item| (item.c_name.as_str(), item.name.as_str(), item.c_type.as_ref().map(CType::as_str)))
            .collect();
        assert_eq!(read, [("A", "A", None), ("B", "B", Some("unsigned int")), ("B", "C", None)]);
    }

    #[test]
    fn wrong_entries_are_refused() {
        for (entry, expected) in [
            ("'4'", "`4` is no name of C"),
            ("{ type = 'int' }", "missing field `name`"),
            ("{ name = 'A', kind = 'int' }", "unknown field `kind`"),
            ("'yield'", "`yield` is no Rust name; write { name = \"yield\", as = \"...\" }"),
            ("{ name = 'A', type = 'void *' }", "`void *` is no integer type of C"),
            ("{ name = 'A', type = '' }", "no integer type"),
            ("{ name = 'A', type = 'int; int x' }", "no integer type"),
        ] {
            let error = read(&format!("constants = [{entry}]")).unwrap_err();
            assert!(error.contains(expected), "{entry}: {error}");
        }
    }
}
