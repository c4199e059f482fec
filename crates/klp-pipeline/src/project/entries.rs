// SPDX-License-Identifier: GPL-2.0-or-later
//! Entries of `patch`, and of `functions` and `variables` in `[imports]`: a text, or a table without unknown keys.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Component, Path, PathBuf};

use klp_format::{KlpSymbol, NameError, ObjectName, SymbolPosition};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::prototype::is_c_name;
use super::{CPrototype, Called, Replaced, Variable};
use crate::rust_name::is_rust_name;

/// An entry as written in the file: `"vmlinux:f"`, or a table. (serde's untagged enumerations ignore unknown
/// keys or do not name them in the error.)
pub(super) enum Entry<T> {
    Plain(String),
    Table(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Entry<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text as \"vmlinux:cmdline_proc_show\", or a table as { symbol = \"...\" }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Entry::Plain(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Entry::Table)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchTable {
    symbol: Option<String>,
    syscall: Option<String>,
    #[serde(rename = "as")]
    method: Option<String>,
    prototype: Option<String>,
    #[serde(default)]
    inlined_in: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CalledTable {
    symbol: String,
    #[serde(rename = "as")]
    name: Option<String>,
    prototype: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VariableTable {
    symbol: String,
    #[serde(rename = "as")]
    name: Option<String>,
    declaration: Option<String>,
    #[serde(default)]
    per_cpu: bool,
}

/// An entry of `patch`.
pub(super) fn replaced(entry: Entry<PatchTable>) -> Result<Replaced, String> {
    let (text, method, prototype, inlined_in) = match entry {
        Entry::Plain(text) => (text, None, None, Vec::new()),
        Entry::Table(table) => match (table.symbol, table.syscall) {
            (Some(symbol), None) => (symbol, table.method, table.prototype, table.inlined_in),
            (None, Some(name)) if table.prototype.is_none() => {
                return Ok(Replaced { inlined_in: table.inlined_in, ..syscall(&name, table.method)? });
            }
            (None, Some(name)) => {
                return Err(format!("{{ syscall = \"{name}\" }} takes no `prototype`: all have the same"));
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err("an entry has either `symbol` or `syscall`".to_owned());
            }
        },
    };
    let symbol = parsed(&text)?;
    let method = given_name(&symbol, method, "")?;
    let prototype = prototype.map(|text| asserted(&text, &[&symbol.symbol, &method])).transpose()?;
    Ok(Replaced { symbol, method, syscall: false, prototype, inlined_in })
}

/// The wrapper of a system call: `{ syscall = "getpid" }`.
fn syscall(name: &str, method: Option<String>) -> Result<Replaced, String> {
    if !is_rust_name(name) || name.starts_with("sys_") || name.starts_with("__") {
        return Err(format!(
            "`{name}`: write the system call as in its manual page, as syscall = \"getpid\""
        ));
    }
    let symbol = format!("sys_{name}");
    let object = ObjectName::new(klp_format::VMLINUX).map_err(|error| error.to_string())?;
    let method = method.unwrap_or_else(|| symbol.clone());
    if !is_rust_name(&method) {
        return Err(format!("`{method}` is no Rust name"));
    }
    // The wrappers of all architectures with wrappers have this prototype; BTF contains only some of them.
    let prototype = CPrototype::new(&format!("long {symbol}(const struct pt_regs *regs)"))?;
    let symbol = KlpSymbol::new(object, &symbol, SymbolPosition(0)).map_err(|error| error.to_string())?;
    let inlined_in = Vec::new();
    Ok(Replaced { symbol, method, syscall: true, prototype: Some(prototype), inlined_in })
}

/// An entry of `functions`.
pub(super) fn called(entry: Entry<CalledTable>) -> Result<Called, String> {
    let (text, name, prototype) = match entry {
        Entry::Plain(text) => (text, None, None),
        Entry::Table(table) => (table.symbol, table.name, table.prototype),
    };
    let symbol = parsed(&text)?;
    let name = given_name(&symbol, name, "")?;
    let prototype = prototype.map(|text| asserted(&text, &[&symbol.symbol, &name])).transpose()?;
    Ok(Called { symbol, name, prototype })
}

/// An entry of `variables`.
pub(super) fn variable(entry: Entry<VariableTable>) -> Result<Variable, String> {
    let (text, name, declaration, per_cpu) = match entry {
        Entry::Plain(text) => (text, None, None, false),
        Entry::Table(table) => (table.symbol, table.name, table.declaration, table.per_cpu),
    };
    let symbol = parsed(&text)?;
    let name = given_name(&symbol, name, ", declaration = \"...\"")?;
    let declared = [symbol.symbol.as_str(), &name];
    let declared = declared.into_iter().find(|name| {
        is_c_name(name) && declaration.as_deref().is_some_and(|declaration| declares(declaration, name))
    });
    match (&declaration, declared) {
        (Some(text), None) => Err(format!(
            "`{text}` does not declare {symbol}; write C's declaration without `extern` and `;`, as \"struct mutex {name}\""
        )),
        (None, _) if !is_c_name(&symbol.symbol) => Err(format!(
            "no header declares {symbol}; write {{ symbol = \"{symbol}\", as = \"{name}\", declaration = \"struct mutex {name}\" }}"
        )),
        _ => {
            let declared_as = declared.unwrap_or(&symbol.symbol).to_owned();
            Ok(Variable { declared_as, symbol, name, declaration, per_cpu })
        }
    }
}

fn parsed(text: &str) -> Result<KlpSymbol, String> {
    text.parse().map_err(|error: NameError| error.to_string())
}

/// Name in Rust: the value of `as`, otherwise the name of the symbol. `more` lists the other keys of such a
/// table.
fn given_name(symbol: &KlpSymbol, given: Option<String>, more: &str) -> Result<String, String> {
    let name = given.unwrap_or_else(|| symbol.symbol.clone());
    if is_rust_name(&name) {
        return Ok(name);
    }
    Err(format!("`{name}` is no Rust name; write {{ symbol = \"{symbol}\", as = \"...\"{more} }}"))
}

/// Unchecked prototype of a function with one of these names.
fn asserted(text: &str, names: &[&str]) -> Result<CPrototype, String> {
    let prototype = CPrototype::new(text)?;
    if names.contains(&prototype.name()) {
        return Ok(prototype);
    }
    let mut names = names.to_vec();
    names.dedup();
    Err(format!("the prototype `{text}` is of `{}`, not of `{}`", prototype.name(), names.join("` or `")))
}

/// True if a text between `extern` and `;` declares a variable with this name.
fn declares(declaration: &str, name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    declaration.chars().all(|c| word(c) || " *()[],".contains(c))
        && !declaration.starts_with("extern")
        && declaration.split(|c| !word(c)).any(|part| part == name)
}

/// Modules of `out_of_tree` and their files.
///
/// # Errors
/// A name is no module's name, or a file no module's file.
pub(super) fn out_of_tree(table: BTreeMap<String, String>) -> Result<BTreeMap<ObjectName, String>, String> {
    let entry = |(name, file): (String, String)| {
        let name = ObjectName::new(&name).map_err(|error| error.to_string())?;
        if name.is_vmlinux() {
            return Err("the kernel itself is no module".to_owned());
        }
        if klp_module::file_stem(&file).is_none() {
            return Err(format!(
                "{name}: {file:?} is no file of a module ({})",
                klp_module::FILE_EXTENSIONS.join(", ")
            ));
        }
        Ok((name, file))
    };
    table.into_iter().map(entry).collect()
}

/// One text or a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

impl Default for OneOrSeveral {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

/// Files of the key `diff`, which are in the directory of the fix.
pub(super) fn diffs(dir: &Path, names: OneOrSeveral) -> Result<Vec<PathBuf>, String> {
    let names = match names {
        OneOrSeveral::One(name) => vec![name],
        OneOrSeveral::Several(names) => names,
    };
    if let Some((_, twice)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(format!("{twice:?} stands twice"));
    }
    let path = |name: &String| {
        let path = Path::new(name);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || !plain {
            return Err(format!("{name:?} is no path in the directory of the fix"));
        }
        if !dir.join(path).is_file() {
            return Err(format!("there is no file {name} in {}", dir.display()));
        }
        Ok(dir.join(path))
    };
    names.iter().map(path).collect()
}
