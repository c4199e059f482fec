// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 1: names to objects, positions and prototypes, out of the kernel's image.

mod advice;
mod c_type;
mod externs;
mod typed;

use std::collections::{BTreeMap, BTreeSet};

use klp_base::cache::sha256;
use klp_format::{ALIAS_PREFIX, KlpSymbol, ModuleName};
use klp_image::{BtfError, Symbol, Traceability, TypeKind, Types};
use klp_kernel::KernelTree;
use klp_module::KlpLayout;
use serde::{Deserialize, Serialize};

pub use self::typed::prototype;
use self::typed::{Use, typed};
use crate::bindings::render::is_snake_case;
use crate::error::Error;
use crate::objects::Objects;
use crate::project::Target;

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
    pub layout: Layout,
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

/// Sizes and offsets of the livepatch tables' structs, in bytes, as BTF has them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of KlpLayout")]
pub struct Layout {
    pub func_size: u64,
    pub func_old_name: u64,
    pub func_new_func: u64,
    pub func_old_sympos: u64,
    pub object_size: u64,
    pub object_name: u64,
    pub object_funcs: u64,
    pub patch_size: u64,
    pub patch_mod: u64,
    pub patch_objs: u64,
    pub patch_replace: u64,
    pub object_callbacks: u64,
    pub patch_states: u64,
    pub state_size: u64,
    pub state_id: u64,
    pub state_version: u64,
}

impl Layout {
    /// As `klp-module` takes it.
    pub fn for_reader(&self) -> KlpLayout {
        KlpLayout {
            func_size: self.func_size,
            func_old_name: self.func_old_name,
            func_new_func: self.func_new_func,
            func_old_sympos: self.func_old_sympos,
            object_size: self.object_size,
            object_name: self.object_name,
            object_funcs: self.object_funcs,
            patch_size: self.patch_size,
            patch_mod: self.patch_mod,
            patch_objs: self.patch_objs,
            patch_replace: self.patch_replace,
            object_callbacks: self.object_callbacks,
            patch_states: self.patch_states,
            state_size: self.state_size,
            state_id: self.state_id,
            state_version: self.state_version,
        }
    }

    /// Reads the layout of a kernel.
    ///
    /// # Errors
    /// Its types know no live patching.
    pub fn read(types: &Types) -> Result<Self, BtfError> {
        let (func_size, func) = members(types, "klp_func")?;
        let (object_size, object) = members(types, "klp_object")?;
        let (patch_size, patch) = members(types, "klp_patch")?;
        let (state_size, state) = members(types, "klp_state")?;
        Ok(Self {
            func_size,
            func_old_name: offset(&func, "old_name")?,
            func_new_func: offset(&func, "new_func")?,
            func_old_sympos: offset(&func, "old_sympos")?,
            object_size,
            object_name: offset(&object, "name")?,
            object_funcs: offset(&object, "funcs")?,
            patch_size,
            patch_mod: offset(&patch, "mod")?,
            patch_objs: offset(&patch, "objs")?,
            patch_replace: offset(&patch, "replace")?,
            object_callbacks: offset(&object, "callbacks")?,
            patch_states: offset(&patch, "states")?,
            state_size,
            state_id: offset(&state, "id")?,
            state_version: offset(&state, "version")?,
        })
    }
}

fn members(types: &Types, name: &str) -> Result<(u64, Vec<(String, u64)>), BtfError> {
    let missing = || {
        BtfError::Damaged(format!(
            "it does not know struct {name}; is the kernel built with CONFIG_LIVEPATCH?"
        ))
    };
    let id = *types.composites(name)?.first().ok_or_else(missing)?;
    match types.kind(id)? {
        TypeKind::Composite { size, members, .. } => {
            let named =
                members.into_iter().filter_map(|m| m.name.map(|name| (name, u64::from(m.bit_offset / 8))));
            Ok((size as u64, named.collect()))
        }
        _ => Err(missing()),
    }
}

fn offset(members: &[(String, u64)], name: &str) -> Result<u64, BtfError> {
    let found = members.iter().find(|(member, _)| member == name).map(|(_, offset)| *offset);
    found.ok_or_else(|| BtfError::Damaged(format!("a livepatch struct has no member {name}")))
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
    /// As it is kept in stage 1's directory.
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

/// Resolves the names of a module for one kernel.
///
/// # Errors
/// The kernel has no such function, or not one that can be replaced from Rust.
pub fn resolve(tree: &KernelTree, objects: &Objects, target: &Target) -> Result<Resolved, Error> {
    let mut functions: Vec<Function> = Vec::new();
    for fix in &target.fixes {
        for replaced in &fix.replace {
            let symbol = replaced.symbol_on(tree.arch);
            let used = if replaced.syscall { Use::Syscall } else { Use::Replaced };
            let typed = typed(tree, objects, &symbol, replaced.prototype.as_ref(), used)?;
            match objects.traceability(&symbol) {
                Some(Traceability::Not(why)) => {
                    let instead = advice::syscall(objects, &symbol.symbol).map(|text| format!("; {text}"));
                    let message = format!("it cannot be replaced: {why}{}", instead.unwrap_or_default());
                    return Err(refuse(tree, &symbol, &message));
                }
                None => {
                    let message = "its object was not read, so that nobody knows whether ftrace reaches it";
                    return Err(refuse(tree, &symbol, message));
                }
                Some(_) => {}
            }
            if typed.is_variadic() {
                return Err(refuse(
                    tree,
                    &symbol,
                    "it takes a variable number of arguments, which Rust cannot define",
                ));
            }
            if let Some(other) = functions.iter().find(|other| other.symbol == symbol) {
                return Err(refuse(
                    tree,
                    &symbol,
                    &format!("it is replaced twice, by `{}` and by `{}`", other.fix, fix.name),
                ));
            }
            functions.push(Function {
                fix: fix.name.clone(),
                symbol,
                method: replaced.method.clone(),
                c_prototype: typed.c_text(objects.types()),
                asserted: typed.is_asserted(),
            });
        }
    }
    let layout = Layout::read(objects.types())
        .map_err(|error| klp_image::Error::Image { path: tree.image.clone(), message: error.to_string() })?;
    Ok(Resolved {
        kernel: tree.id.clone(),
        module: target.module_name(&tree.release)?.to_string(),
        description: target.description.clone(),
        functions,
        callbacks: target
            .fixes
            .iter()
            .flat_map(|fix| fix.callbacks.iter().map(|object| (fix.name.clone(), object.to_string())))
            .collect(),
        states: target
            .fixes
            .iter()
            .flat_map(|fix| fix.states.iter().map(|state| (fix.name.clone(), state.clone())))
            .map(|(fix, state)| State { fix, name: state.name, id: state.id, version: state.version })
            .collect(),
        replace: target.replace,
        externs: externs::externs(tree, objects, target)?,
        needs: externs::needs(objects, target),
        cfg: answers(tree, objects, target)?,
        vermagic: objects.kernel.facts.vermagic.clone(),
        kernel_build_id: objects.kernel.facts.build_id.clone(),
        layout,
    })
}

/// What holds of this kernel, of the things that a fix asks in `cfg` of its patch.toml.
fn answers(tree: &KernelTree, objects: &Objects, target: &Target) -> Result<Vec<Answer>, Error> {
    let mut answers = Vec::new();
    for fix in &target.fixes {
        for (name, value) in fix.cfg.questions() {
            let failed = |error: BtfError| klp_image::Error::Image {
                path: tree.image.clone(),
                message: error.to_string(),
            };
            let holds = match name {
                "has_function" => objects.kernel.symbols.named(value).iter().any(Symbol::is_code),
                "has_member" => has_member(objects.types(), value).map_err(failed)?,
                _ => tree.release.version() >= version(value).unwrap_or((u32::MAX, 0)),
            };
            answers.push(Answer {
                fix: fix.name.clone(),
                name: name.to_owned(),
                value: value.to_owned(),
                holds,
            });
        }
    }
    Ok(answers)
}

/// Whether any struct or union of this name has this member, given as `struct.member`; members of anonymous members
/// count.
fn has_member(types: &Types, path: &str) -> Result<bool, BtfError> {
    let Some((name, member)) = path.split_once('.') else { return Ok(false) };
    let mut pending = types.composites(name)?;
    while let Some(id) = pending.pop() {
        if let TypeKind::Composite { members, .. } = types.kind(types.bare(id)?)? {
            if members.iter().any(|found| found.name.as_deref() == Some(member)) {
                return Ok(true);
            }
            pending.extend(members.iter().filter(|found| found.name.is_none()).map(|found| found.type_id));
        }
    }
    Ok(false)
}

/// Major and minor number of `6.12`.
pub(crate) fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn refuse(tree: &KernelTree, symbol: &KlpSymbol, message: &str) -> Error {
    Error::Symbol { symbol: symbol.to_string(), kernel: tree.id.clone(), message: message.to_owned() }
}
