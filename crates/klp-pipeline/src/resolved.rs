// SPDX-License-Identifier: GPL-2.0-or-later
//! Names of a module, resolved for one kernel. Stage resolve passes this data to all later stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use klp_base::cache::sha256;
use klp_base::files::{read, write};
use klp_cdiff::inlined::Copies;
use klp_format::{ALIAS_PREFIX, KlpSymbol, ModuleName, THUNK_PREFIX};
use klp_module::KlpLayout;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rust_name::is_snake_case;
use crate::stage::Stage;

/// Name of the file in the directory of stage resolve.
const FILE: &str = "resolved.json";

/// Names of a module, resolved for one kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolved {
    /// Id of the kernel.
    pub kernel: String,
    /// Name of the module.
    pub module: String,
    /// One line of description.
    pub description: String,
    /// Functions to replace, in the order of the fixes and of their patch.toml.
    pub functions: Vec<Function>,
    /// Objects with callbacks: name of the fix, name of the object.
    pub callbacks: Vec<(String, String)>,
    /// System states that the fixes support.
    pub states: Vec<State>,
    /// Module parameters, with the counters of tripwires.
    #[serde(default)]
    pub params: Vec<ModuleParam>,
    /// True if the module replaces the loaded patches.
    pub replace: bool,
    /// Functions and variables of the kernel that the fixes use.
    pub externs: Vec<Extern>,
    /// Parts of the module that C diffs make.
    #[serde(default)]
    pub diffs: Vec<CDiff>,
    /// Dependencies of each patched module: modules that are loaded whenever it is.
    pub needs: BTreeMap<String, BTreeSet<String>>,
    /// Answers to the fixes' questions about the kernel.
    pub cfg: Vec<Answer>,
    /// Version magic that the kernel requires.
    pub vermagic: String,
    /// The kernel's GNU build id, in hexadecimal digits.
    #[serde(default)]
    pub kernel_build_id: Option<String>,
    /// GNU build ids of the patched modules that have one, by their names.
    #[serde(default)]
    pub module_build_ids: BTreeMap<String, String>,
    /// Layout of the livepatch structs.
    pub layout: KlpLayout,
}

/// Part of a module that a C diff makes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CDiff {
    /// Name of the fix.
    pub fix: String,
    /// Object files in the directory of stage resolve, each with its SHA-256.
    pub objects: Vec<(String, String)>,
    /// Symbols of the kernel that they use.
    pub symbols: Vec<Extern>,
    /// Functions that they replace, each with the name of its replacement.
    pub replaced: Vec<DiffFunction>,
}

/// A function that a C diff replaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffFunction {
    /// Symbol of the function.
    #[serde(with = "symbol_text")]
    pub symbol: KlpSymbol,
    /// Name of the replacement.
    pub entry: String,
}

/// A function to replace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Function {
    /// Name of the fix that replaces it.
    pub fix: String,
    /// Symbol of the function.
    #[serde(with = "symbol_text")]
    pub symbol: KlpSymbol,
    /// Name of the trait's method.
    pub method: String,
    /// The prototype in C.
    pub c_prototype: String,
    /// True if the prototype is unchecked, because BTF has none.
    pub asserted: bool,
    /// Offset of the function's own code behind its ftrace site, in bytes. `None` if it begins in an unknown way.
    #[serde(default)]
    pub body: Option<u64>,
    /// True if the function is static and nothing reaches it: the compiler inlined it into its callers.
    #[serde(default)]
    pub unreached: bool,
    /// Copies that the compiler inlined into other functions. `None` if the stage has not looked for them.
    #[serde(default)]
    pub copies: Option<Copies>,
    /// Symbols of functions with a copy that the fix leaves as they are, by the author's word.
    #[serde(default)]
    pub inlined_in: Vec<String>,
    /// True if the fix may call `replaced::original`.
    #[serde(default)]
    pub calls_original: bool,
}

impl Function {
    /// The function as a symbol that the livepatch core resolves, for the thunk of its original. `None` if the fix does not call
    /// the original.
    pub(crate) fn original(&self) -> Option<Extern> {
        (self.calls_original && self.body.is_some()).then(|| Extern {
            symbol: self.symbol.clone(),
            kind: ExternKind::Function,
            name: self.method.clone(),
            exported: false,
            namespace: None,
            c_declaration: self.c_prototype.clone(),
            asserted: self.asserted,
            per_cpu: false,
            room: None,
            linked_as: None,
        })
    }

    /// Name of the thunk of the original.
    pub(crate) fn thunk(&self) -> String {
        short_name(THUNK_PREFIX, &self.symbol)
    }

    /// True if the C names of the parameters pass rustc's lint `non_snake_case`.
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

/// A module parameter in the finished module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleParam {
    /// Name.
    pub name: String,
    /// Type as in `parmtype` of `.modinfo`: `uint`, `array of int`.
    pub kind: String,
    /// Access mode.
    pub mode: u16,
}

/// A `cfg` value of a fix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Name of the fix that asks.
    pub fix: String,
    /// `has_member`, `has_function` or `kernel_at_least`.
    pub name: String,
    /// Argument of the question.
    pub value: String,
    /// True if the answer is yes for this kernel.
    pub holds: bool,
}

/// Kind of an [`Extern`].
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
    /// Symbol of the function or variable.
    #[serde(with = "symbol_text")]
    pub symbol: KlpSymbol,
    /// Function or variable.
    pub kind: ExternKind,
    /// Its name in Rust.
    pub name: String,
    /// True if the kernel exports the symbol to modules; otherwise the livepatch core resolves it.
    pub exported: bool,
    /// Namespace of the export, which the module must import.
    pub namespace: Option<String>,
    /// C declaration; only the name for a variable that a header declares.
    pub c_declaration: String,
    /// True if a function's prototype is unchecked, because BTF has none.
    pub asserted: bool,
    /// True for a per-CPU variable, whose address is an offset.
    pub per_cpu: bool,
    /// Bytes between a variable and the next symbol: it is not larger.
    #[serde(default)]
    pub room: Option<u64>,
    /// Link name, if an object file has another one than Rust code would.
    #[serde(default)]
    pub linked_as: Option<String>,
}

impl Extern {
    /// Link name of the symbol in Rust code: its own name, or a short alias that stage 5 replaces.
    /// (`.klp.sym.<object>.<symbol>,<position>` easily exceeds modpost's limit for the length of names.)
    pub fn link_name(&self) -> String {
        if let Some(name) = &self.linked_as {
            return name.clone();
        }
        if self.exported {
            return self.symbol.symbol.clone();
        }
        short_name(ALIAS_PREFIX, &self.symbol)
    }
}

/// Name of fixed length for a symbol.
fn short_name(prefix: &str, symbol: &KlpSymbol) -> String {
    format!("{prefix}{}", &sha256(symbol.elf_name().as_bytes())[..16])
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

    /// Writes the result into the directory of stage resolve.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        Ok(write(&dir.join(FILE), self.to_json())?)
    }

    /// Text of the file. It is also part of later stages' keys.
    pub fn to_json(&self) -> String {
        // Serialization of this plain data cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Functions to replace, in Rust and by C diffs.
    pub fn replaced(&self) -> impl Iterator<Item = &KlpSymbol> {
        let of_diffs = self.diffs.iter().flat_map(|diff| &diff.replaced).map(|function| &function.symbol);
        self.functions.iter().map(|function| &function.symbol).chain(of_diffs)
    }

    /// Functions with an unchecked prototype: symbol and prototype.
    pub fn asserted(&self) -> impl Iterator<Item = (&KlpSymbol, &str)> {
        let replaced = self.functions.iter().filter(|item| item.asserted);
        let called = self.externs.iter().filter(|item| item.asserted);
        let replaced = replaced.map(|item| (&item.symbol, item.c_prototype.as_str()));
        replaced.chain(called.map(|item| (&item.symbol, item.c_declaration.as_str())))
    }

    /// Name of the module.
    ///
    /// # Errors
    /// The text is not a valid module name.
    pub fn module_name(&self) -> Result<ModuleName, Error> {
        Ok(ModuleName::new(&self.module)?)
    }
}
