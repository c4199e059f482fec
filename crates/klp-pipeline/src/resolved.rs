// SPDX-License-Identifier: GPL-2.0-or-later
//! The names of a module, resolved for one kernel: the data that stage resolve hands to all later stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use klp_base::cache::sha256;
use klp_base::files::{read, write};
use klp_format::{ALIAS_PREFIX, KlpSymbol, ModuleName};
use klp_module::KlpLayout;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rust_name::is_snake_case;
use crate::stage::Stage;

/// Name of the file in the directory of stage resolve.
const FILE: &str = "resolved.json";

/// A module's names, resolved for one kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolved {
    /// Id of the kernel.
    pub kernel: String,
    /// Name of the module.
    pub module: String,
    /// One line for people.
    pub description: String,
    /// Functions that are replaced, in the order of the fixes and of their patch.toml.
    pub functions: Vec<Function>,
    /// Objects for which fixes have callbacks: fix and object.
    pub callbacks: Vec<(String, String)>,
    /// System states that the fixes support.
    pub states: Vec<State>,
    /// Whether it takes the place of the patches that are loaded.
    pub replace: bool,
    /// Functions and variables of the kernel that the fixes use.
    pub externs: Vec<Extern>,
    /// For each module that is changed, the modules that are loaded whenever that one is.
    pub needs: BTreeMap<String, BTreeSet<String>>,
    /// What the fixes asked of the kernel.
    pub cfg: Vec<Answer>,
    /// What the kernel asks of the module's version magic.
    pub vermagic: String,
    /// The kernel's GNU build id, in hexadecimal digits.
    #[serde(default)]
    pub kernel_build_id: Option<String>,
    /// Layout of the tables.
    pub layout: KlpLayout,
}

/// A function that is replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Function {
    /// Name of the fix that replaces it.
    pub fix: String,
    /// Which function.
    #[serde(with = "symbol_text")]
    pub symbol: KlpSymbol,
    /// Name of the trait's method.
    pub method: String,
    /// The prototype in C.
    pub c_prototype: String,
    /// Whether the prototype is the author's word, where BTF has none.
    pub asserted: bool,
}

impl Function {
    /// Whether rustc's lint takes the names that the parameters have in C.
    pub(crate) fn has_snake_case_parameters(&self) -> bool {
        let (_, parameters) = self.c_prototype.split_once('(').unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        parameters
            .split([',', ')', '['])
            .all(|part| is_snake_case(part.rsplit(|c| !word(c)).next().unwrap_or("")))
    }
}

/// A system state that a fix supports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Name of the fix.
    pub fix: String,
    /// Name of its constant.
    pub name: String,
    /// Its id.
    pub id: u64,
    /// Its version.
    pub version: u32,
}

/// A `cfg` value of a fix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Name of the fix that asks.
    pub fix: String,
    /// `has_member`, `has_function` or `kernel_at_least`.
    pub name: String,
    /// What it asks after.
    pub value: String,
    /// Whether it holds of this kernel.
    pub holds: bool,
}

/// Whether an [`Extern`] is called or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExternKind {
    /// A function.
    Function,
    /// A variable.
    Variable,
}

/// A function or variable of the kernel that fixes use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Extern {
    /// Which.
    #[serde(with = "symbol_text")]
    pub symbol: KlpSymbol,
    /// Called, or read and written.
    pub kind: ExternKind,
    /// Its name in Rust.
    pub name: String,
    /// Whether the kernel exports it to modules; if not, the livepatch core resolves it.
    pub exported: bool,
    /// The namespace that it is exported in, which the module must import.
    pub namespace: Option<String>,
    /// The declaration in C; the name alone for variables that a header declares.
    pub c_declaration: String,
    /// Whether the declaration of a function is the author's word, where BTF has none.
    pub asserted: bool,
    /// Whether each CPU has its own, so that its address is an offset.
    pub per_cpu: bool,
}

impl Extern {
    /// The name that Rust code is linked against: the symbol's own, or a short alias that stage 5 replaces. (modpost has
    /// a limit on the length of names that `.klp.sym.<object>.<symbol>,<position>` easily breaks.)
    pub fn link_name(&self) -> String {
        if self.exported {
            return self.symbol.symbol.clone();
        }
        let digest = sha256(self.symbol.elf_name().as_bytes());
        format!("{ALIAS_PREFIX}{}", &digest[..16])
    }
}

mod symbol_text {
    use klp_format::KlpSymbol;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(symbol: &KlpSymbol, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(symbol)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KlpSymbol, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Resolved {
    /// Reads the result of stage resolve in a build directory.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn read(build_dir: &Path) -> Result<Self, Error> {
        let file = build_dir.join(Stage::Resolve.dir_name()).join(FILE);
        serde_json::from_slice(&read(&file)?)
            .map_err(|error| Error::Intermediate { file, message: error.to_string() })
    }

    /// Writes it into the directory of stage resolve.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        Ok(write(&dir.join(FILE), self.to_json())?)
    }

    /// The text of the file, which is also a part of later stages' keys.
    pub fn to_json(&self) -> String {
        // Plain data: there is nothing in it that could not be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Functions whose prototype is the author's word: symbol and prototype.
    pub fn asserted(&self) -> impl Iterator<Item = (&KlpSymbol, &str)> {
        let replaced = self.functions.iter().filter(|item| item.asserted);
        let called = self.externs.iter().filter(|item| item.asserted);
        let replaced = replaced.map(|item| (&item.symbol, item.c_prototype.as_str()));
        replaced.chain(called.map(|item| (&item.symbol, item.c_declaration.as_str())))
    }

    /// The module's name.
    ///
    /// # Errors
    /// The text is no module name.
    pub fn module_name(&self) -> Result<ModuleName, Error> {
        Ok(ModuleName::new(&self.module)?)
    }
}
