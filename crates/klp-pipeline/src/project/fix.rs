// SPDX-License-Identifier: GPL-2.0-or-later
//! Content of `patch.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use klp_base::arch::Arch;
use klp_base::cache;
use klp_base::files::read_text;
use klp_format::{KlpSymbol, ModuleName, ObjectName};
use proc_macro2::{TokenStream, TokenTree};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::cfg::Cfg;
use super::constants::{Constant, ConstantTable, constant};
use super::entries::{
    CalledTable, Entry, OneOrSeveral, PatchTable, VariableTable, called, diffs, out_of_tree, replaced,
    variable,
};
use super::headers::{Header, header};
use super::params::{Param, ParamTable, Tripwire, param, tripwire};
use super::{CPrototype, module_name, names, params, parse_toml};
use crate::error::Error;
use crate::rust_name::is_rust_name;

/// Name of rust-analyzer's project file in the directory of a fix. It is generated, and git ignores it.
pub const EDITOR_FILE: &str = "rust-project.json";

/// One fix with the content of its `patch.toml`.
#[derive(Clone, Debug)]
pub struct Fix {
    /// Name of its directory. The crate has the same name with underscores.
    pub name: String,
    /// `patches/<name>`.
    pub dir: PathBuf,
    /// One line of description.
    pub description: String,
    /// True if a module of this fix alone is stacked on the loaded patches instead of replacing them.
    pub stacked: bool,
    /// True if a line of the fix that can panic is an error instead of a warning.
    pub deny_panic: bool,
    /// Name of a module of this fix alone; `None`: `kpatch_<fix>`.
    pub module: Option<ModuleName>,
    /// Functions to replace, with the names of the trait's methods.
    pub patch: Vec<Replaced>,
    /// Objects with callbacks.
    pub callbacks: Vec<ObjectName>,
    /// True if the fix has an exit function, which runs before its module is unloaded.
    pub exit: bool,
    /// System states that the fix supports.
    pub states: Vec<State>,
    /// Module parameters.
    pub params: Vec<Param>,
    /// Tripwires, whose counters are module parameters too.
    pub tripwires: Vec<Tripwire>,
    /// Ids of shadow variables that other fixes of a module use too.
    pub shadows: Vec<u64>,
    /// Names of the kernel that the fix uses.
    pub imports: Imports,
    /// Questions about the target kernel.
    pub cfg: Cfg,
    /// CVEs that the fix repairs.
    pub cves: Vec<String>,
    /// CVEs of the same code that the fix does not repair.
    pub affected: Vec<Affected>,
    /// Runtime of the fix.
    pub runtime: Runtime,
    /// Files with C diffs, in the order of their application.
    pub diffs: Vec<PathBuf>,
    /// Files of modules that are not the kernel's own; `{kernel}` and `{release}` in a path stand for those of the build.
    pub out_of_tree: BTreeMap<ObjectName, String>,
}

/// Names of the kernel that a fix uses (table `[imports]`).
#[derive(Clone, Debug, Default)]
pub struct Imports {
    /// C headers for the bindings, in addition to the default headers.
    pub headers: Vec<Header>,
    /// C types whose members the fix uses, in addition to the types in the prototypes.
    pub types: Vec<String>,
    /// Kernel functions that the fix calls.
    pub functions: Vec<Called>,
    /// Kernel variables that the fix reads or writes.
    pub variables: Vec<Variable>,
    /// Static inline functions of its headers that the fix calls.
    pub inlines: Vec<String>,
    /// Macros of its headers that the fix calls as functions with these prototypes.
    pub macros: Vec<CPrototype>,
    /// Constant macros of its headers, and enumerators.
    pub constants: Vec<Constant>,
}

/// Runtime of a fix: the crates that it is based on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// Crate `klp` on a separately compiled `core` library: for every kernel.
    #[default]
    Klp,
    /// The kernel's own `kernel` crate and the half `klp::core`: for kernels with this crate.
    Kernel,
}

impl Fix {
    /// Name of the crate.
    pub fn crate_name(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Root file of the crate.
    pub fn source(&self) -> PathBuf {
        self.dir.join("src/lib.rs")
    }

    /// True if the fix is a C diff alone, without Rust code.
    pub fn is_diff_alone(&self) -> bool {
        !self.diffs.is_empty() && !self.source().exists()
    }

    /// Root file of the crate that is compiled: the author's, or the generated one of a C diff alone. `sources` is the directory
    /// of stage bindings.
    pub(crate) fn compiled_source(&self, sources: &Path) -> PathBuf {
        if self.is_diff_alone() { sources.join(format!("fixes/{}.rs", self.name)) } else { self.source() }
    }

    /// All files that the author wrote, sorted. [`EDITOR_FILE`] is generated, and holds paths of this machine.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn files(&self) -> Result<Vec<PathBuf>, cache::Error> {
        let mut files = cache::walk(&self.dir)?;
        // A file that is just being written has a longer name.
        let generated = |file: &PathBuf| {
            let name = file.strip_prefix(&self.dir).unwrap_or(file).to_string_lossy();
            name.starts_with(EDITOR_FILE)
        };
        files.retain(|file| !generated(file));
        Ok(files)
    }

    /// True if a source file has this identifier, or cannot be read as Rust. Comments and strings do not count.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn names(&self, identifier: &str) -> Result<bool, Error> {
        let is_source = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "rs");
        for file in self.files()?.into_iter().filter(is_source) {
            let text = read_text(&file)?;
            if text.contains(identifier)
                && text.parse::<TokenStream>().map_or(true, |tokens| has_identifier(tokens, identifier))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn has_identifier(tokens: TokenStream, identifier: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(found) => found == identifier,
        TokenTree::Group(group) => has_identifier(group.stream(), identifier),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// A function to replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Symbol of the function. A system call is `sys_<name>` without the architecture's prefix.
    pub symbol: KlpSymbol,
    /// Name of the trait's method.
    pub method: String,
    /// True for a system call. The replaced function is then the architecture's wrapper.
    pub syscall: bool,
    /// Unchecked prototype, for a function without a prototype in BTF.
    pub prototype: Option<CPrototype>,
    /// Symbols of functions with an inlined copy, which the fix leaves as they are.
    pub inlined_in: Vec<String>,
}

impl Replaced {
    /// Symbol of the function on an architecture.
    pub fn symbol_on(&self, arch: Arch) -> KlpSymbol {
        let mut symbol = self.symbol.clone();
        if self.syscall {
            symbol.symbol = format!("{}{}", arch.syscall_prefix(), symbol.symbol);
        }
        symbol
    }
}

/// A kernel function that a fix calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Symbol of the function.
    pub symbol: KlpSymbol,
    /// Its name in Rust.
    pub name: String,
    /// Unchecked prototype, for a function without a prototype in BTF.
    pub prototype: Option<CPrototype>,
}

/// A system state that a fix supports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Name of the constant in `replaced::states`.
    pub name: String,
    /// Id, the same in all versions of a stream.
    pub id: u64,
    /// Version. A patch that replaces this one must support the state with this version or a higher one.
    pub version: u32,
}

/// A CVE that a fix does not repair (status `affected` of OpenVEX).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affected {
    /// Name, as `CVE-2026-12345`.
    pub cve: String,
    /// Reason why it is not repaired, in one line.
    pub reason: String,
    /// Action that removes or mitigates it, in one line.
    pub action: String,
}

/// A kernel variable that a fix uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Symbol of the variable.
    pub symbol: KlpSymbol,
    /// Its name in Rust.
    pub name: String,
    /// C declaration if no header declares the variable (most static variables). It is unchecked, because BTF
    /// contains no such variables.
    pub declaration: Option<String>,
    /// Name in the C declaration.
    pub declared_as: String,
    /// True for a per-CPU variable, whose address is an offset.
    pub per_cpu: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixFile {
    description: String,
    #[serde(default)]
    deny_panic: bool,
    #[serde(default)]
    stacked: bool,
    #[serde(default)]
    patch: Vec<Entry<PatchTable>>,
    #[serde(default)]
    diff: OneOrSeveral,
    #[serde(default)]
    callbacks: Vec<String>,
    #[serde(default)]
    exit: bool,
    #[serde(default)]
    states: Vec<State>,
    module: Option<String>,
    #[serde(default)]
    params: Vec<ParamTable>,
    #[serde(default)]
    tripwires: Vec<Tripwire>,
    #[serde(default)]
    shadows: Vec<u64>,
    #[serde(default)]
    imports: ImportsTable,
    #[serde(default)]
    cfg: Cfg,
    #[serde(default)]
    runtime: Runtime,
    #[serde(default)]
    out_of_tree: BTreeMap<String, String>,
    #[serde(default)]
    cves: Vec<String>,
    #[serde(default)]
    affected: Vec<Affected>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportsTable {
    #[serde(default)]
    functions: Vec<Entry<CalledTable>>,
    #[serde(default)]
    variables: Vec<Entry<VariableTable>>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    inlines: Vec<String>,
    #[serde(default)]
    macros: Vec<String>,
    #[serde(default)]
    constants: Vec<Entry<ConstantTable>>,
}

/// Keys of earlier versions, with their successors.
const OLD_KEYS: [(&str, &str); 9] = [
    ("replace", "patch = [...]"),
    ("functions", "functions = [...] in the table [imports]"),
    ("symbols", "variables = [...] in the table [imports]"),
    ("types", "types = [...] in the table [imports]"),
    ("headers", "headers = [...] in the table [imports]"),
    ("inlines", "inlines = [...] in the table [imports]"),
    ("macros", "macros = [...] in the table [imports]"),
    ("constants", "constants = [...] in the table [imports]"),
    ("language", "runtime = \"klp\" (it was \"core\") or runtime = \"kernel\""),
];

/// Message for the keys of earlier versions in a file.
fn old_keys(found: &BTreeMap<String, IgnoredAny>) -> Option<String> {
    let old = OLD_KEYS.iter().filter(|(key, _)| found.contains_key(*key));
    let lines: Vec<String> = old.map(|(key, new)| format!("`{key}` is now {new}")).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// Reads `patch.toml` of the fix in `dir`.
///
/// # Errors
/// The file is missing, or an entry is invalid; the error names the key.
pub fn read_fix(name: &str, dir: &Path) -> Result<Fix, Error> {
    let file = dir.join("patch.toml");
    let failed = |message| klp_kernel::Error::Config { file: file.clone(), message };
    if let Some(message) = old_keys(&parse_toml(&file)?) {
        return Err(failed(message).into());
    }
    let parsed: FixFile = parse_toml(&file)?;
    checked(name, dir, parsed).map_err(|message| failed(message).into())
}

/// Error message for the value of a key.
fn wrong(key: &str, message: impl fmt::Display) -> String {
    format!("`{key}`: {message}")
}

/// The fix of a file, or the message for its first fault.
fn checked(name: &str, dir: &Path, parsed: FixFile) -> Result<Fix, String> {
    let diffs = diffs(dir, parsed.diff).map_err(|message| wrong("diff", message))?;
    if parsed.patch.is_empty() && parsed.callbacks.is_empty() && diffs.is_empty() {
        let message = "is empty: name at least one function, as \"vmlinux:cmdline_proc_show\", or a C diff with diff = \"fix.patch\"";
        return Err(wrong("patch", message));
    }
    let patch = all_replaced(parsed.patch)?;
    let callbacks = parsed.callbacks.iter().map(|text| ObjectName::new(text)).collect::<Result<Vec<_>, _>>();
    let callbacks = callbacks.map_err(|error| wrong("callbacks", error))?;
    if let Some(twice) = repeated(&callbacks) {
        return Err(wrong("callbacks", format_args!("{twice} stands twice")));
    }
    check_states(&parsed.states)?;
    if let Some(message) = parsed.cfg.wrong() {
        return Err(wrong("cfg", message));
    }
    check_cves(&parsed.cves, &parsed.affected)?;
    let imports = imports(name, dir, parsed.imports)?;
    let fix = Fix {
        name: name.to_owned(),
        dir: dir.to_owned(),
        description: parsed.description,
        stacked: parsed.stacked,
        deny_panic: parsed.deny_panic,
        module: parsed.module.as_deref().map(module_name).transpose()?,
        params: all(parsed.params, "params", param)?,
        tripwires: all(parsed.tripwires, "tripwires", tripwire)?,
        patch,
        callbacks,
        diffs,
        exit: parsed.exit,
        states: parsed.states,
        shadows: parsed.shadows,
        imports,
        cfg: parsed.cfg,
        runtime: parsed.runtime,
        out_of_tree: out_of_tree(parsed.out_of_tree).map_err(|message| wrong("out_of_tree", message))?,
        cves: parsed.cves,
        affected: parsed.affected,
    };
    refuse_rewritten_code(&fix)?;
    if let Some(message) = params::clash(std::slice::from_ref(&fix)) {
        return Err(wrong("params", message));
    }
    names::clash(std::slice::from_ref(&fix)).map_or(Ok(fix), Err)
}

/// The table `[imports]` of the fix `name` in `dir`, or the message for its first fault.
fn imports(name: &str, dir: &Path, table: ImportsTable) -> Result<Imports, String> {
    if let Some(name) = table.inlines.iter().find(|name| !is_rust_name(name)) {
        return Err(wrong("imports.inlines", format_args!("`{name}` is no name of C")));
    }
    let macros = all(&table.macros, "imports.macros", |text| CPrototype::new(text))?;
    if let Some(item) = macros.iter().find(|item| item.parameters().is_none()) {
        return Err(wrong("imports.macros", format_args!("`{}`: each parameter needs a name", item.text())));
    }
    Ok(Imports {
        headers: all(&table.headers, "imports.headers", |text| header(name, dir, text))?,
        types: table.types,
        functions: all(table.functions, "imports.functions", called)?,
        variables: all(table.variables, "imports.variables", variable)?,
        inlines: table.inlines,
        macros,
        constants: all(table.constants, "imports.constants", constant)?,
    })
}

/// Converts the values of a key.
fn all<I: IntoIterator, T>(
    values: I,
    key: &str,
    convert: impl Fn(I::Item) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    values.into_iter().map(convert).collect::<Result<_, _>>().map_err(|message| wrong(key, message))
}

/// Functions that a fix replaces. Each occurs once and has a unique name in the trait of its object.
fn all_replaced(entries: Vec<Entry<PatchTable>>) -> Result<Vec<Replaced>, String> {
    let mut all: Vec<Replaced> = Vec::new();
    for entry in entries {
        let entry = replaced(entry).map_err(|message| wrong("patch", message))?;
        let symbol = &entry.symbol;
        if all.iter().any(|other| other.symbol == *symbol) {
            return Err(wrong("patch", format_args!("{symbol} stands twice")));
        }
        if all.iter().any(|other| other.symbol.object == symbol.object && other.method == entry.method) {
            let message = format_args!(
                "two functions named `{}`; give one of them another name with as = \"...\"",
                entry.method
            );
            return Err(wrong("patch", message));
        }
        all.push(entry);
    }
    Ok(all)
}

fn check_states(states: &[State]) -> Result<(), String> {
    for state in states {
        if state.id == 0 {
            return Err(wrong("states", format_args!("`{}`: an id of 0 ends the kernel's list", state.name)));
        }
        if !is_rust_name(&state.name) {
            return Err(wrong("states", format_args!("`{}` is no Rust name", state.name)));
        }
    }
    let ids: Vec<u64> = states.iter().map(|state| state.id).collect();
    match repeated(&ids) {
        Some(twice) => Err(wrong("states", format_args!("the id {twice} stands twice"))),
        None => Ok(()),
    }
}

/// Checks the CVEs that a fix repairs and those that it does not.
fn check_cves(fixed: &[String], affected: &[Affected]) -> Result<(), String> {
    let names: Vec<&str> = affected.iter().map(|entry| entry.cve.as_str()).collect();
    let keyed =
        fixed.iter().map(|name| ("cves", name.as_str())).chain(names.iter().map(|name| ("affected", *name)));
    for (key, name) in keyed {
        if !is_cve(name) {
            return Err(wrong(key, format_args!("{name:?} should look like \"CVE-2026-12345\"")));
        }
    }
    for Affected { cve, reason, action } in affected {
        for (key, text) in [("reason", reason), ("action", action)] {
            if text.trim().is_empty() || text.contains(char::is_control) {
                return Err(wrong("affected", format_args!("{cve}: `{key}` must be one line of text")));
            }
        }
        if fixed.contains(cve) {
            return Err(wrong(
                "affected",
                format_args!("{cve} also stands in `cves`: either the fix repairs it or not"),
            ));
        }
    }
    match repeated(&names) {
        Some(twice) => Err(wrong("affected", format_args!("{twice} stands twice"))),
        None => Ok(()),
    }
}

/// Rejects names of code that the kernel modifies at run time.
fn refuse_rewritten_code(fix: &Fix) -> Result<(), String> {
    let functions =
        fix.imports.functions.iter().map(|item| ("imports.functions", item.symbol.symbol.as_str()));
    let variables =
        fix.imports.variables.iter().map(|item| ("imports.variables", item.symbol.symbol.as_str()));
    let inlines = fix.imports.inlines.iter().map(|name| ("imports.inlines", name.as_str()));
    let macros = fix.imports.macros.iter().map(|item| ("imports.macros", item.name()));
    for (key, name) in functions.chain(variables).chain(inlines).chain(macros) {
        if let Some(why) = rewritten_code(name) {
            return Err(wrong(key, format_args!("`{name}`: {why}")));
        }
    }
    Ok(())
}

/// True if a text has the form of a CVE name: a year, and a number with at least four digits.
fn is_cve(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix("CVE-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(year, number)| year.len() == 4 && number.len() >= 4 && digits(year) && digits(number))
}

/// True if a fix may have this name.
pub(crate) fn is_fix_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

/// Reason and remedy for a name of code that the kernel modifies at run time.
fn rewritten_code(name: &str) -> Option<&'static str> {
    const KEY: &str = "a static key is a jump that the kernel rewrites, listed in a table that a live patch may not have for keys \
                       which modules cannot see; read the key instead, as `(*(&raw const key)).enabled.counter > 0` with \
                       the key in `variables` of [imports] (it costs a load where the jump costs nothing)";
    const CALL: &str = "a static call is a call that the kernel rewrites, listed in a table that a live patch may not have; name in \
                        `functions` of [imports] the function that it leads to on this system, or replace the function that holds the call";
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&["static_branch_", "static_key_true", "static_key_false", "arch_static_branch"]) {
        return Some(KEY);
    }
    starts(&["static_call", "__static_call", "__SCT__", "__SCK__"]).then_some(CALL)
}

fn repeated<T: PartialEq>(items: &[T]) -> Option<&T> {
    items.iter().enumerate().find(|(at, item)| items[..*at].contains(item)).map(|(_, item)| item)
}

/// Modules with functions or variables that fixes use.
pub fn modules_used_by<'a>(fixes: impl IntoIterator<Item = &'a Fix>) -> Vec<&'a ObjectName> {
    let used = fixes.into_iter().flat_map(|fix| {
        let called = fix.imports.functions.iter().map(|item| &item.symbol.object);
        called.chain(fix.imports.variables.iter().map(|item| &item.symbol.object))
    });
    let mut modules: Vec<&ObjectName> = used.filter(|object| !object.is_vmlinux()).collect();
    modules.sort();
    modules.dedup();
    modules
}

/// Objects in the tables of a module: first the objects that its fixes patch, then the objects that they only
/// use. The livepatch core applies the relocations of an object when it handles the entry of the object.
pub fn objects_in_tables<'a>(fixes: impl IntoIterator<Item = &'a Fix> + Clone) -> Vec<ObjectName> {
    let mut objects = objects_of(fixes.clone());
    for module in modules_used_by(fixes) {
        if !objects.contains(module) {
            objects.push(module.clone());
        }
    }
    objects
}

/// Objects that fixes patch: first the kernel, then modules in the order of their first occurrence; modules
/// with functions precede modules with callbacks only. The callbacks run in this order.
pub fn objects_of<'a>(fixes: impl IntoIterator<Item = &'a Fix> + Clone) -> Vec<ObjectName> {
    let functions = fixes.clone().into_iter().flat_map(|fix| &fix.patch).map(|item| &item.symbol.object);
    let callbacks = fixes.into_iter().flat_map(|fix| &fix.callbacks);
    let mut objects: Vec<ObjectName> = Vec::new();
    for object in functions.chain(callbacks) {
        if !objects.contains(object) {
            objects.push(object.clone());
        }
    }
    objects.sort_by_key(|object| !object.is_vmlinux());
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(text: &str) -> Result<Fix, Error> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("patch.toml"), text).unwrap();
        read_fix("test", dir.path())
    }

    /// The file changes with the machine and the kernel of the editor; the manifest's hash and stage compile's key must not.
    #[test]
    fn the_editors_file_is_no_source() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("patch.toml"), "description = 'x'\npatch = ['vmlinux:a']").unwrap();
        let fix = read_fix("test", dir.path()).unwrap();
        let files = fix.files().unwrap();
        std::fs::write(dir.path().join(EDITOR_FILE), "{}").unwrap();
        std::fs::write(dir.path().join(format!("{EDITOR_FILE}.7.new")), "{}").unwrap();
        assert_eq!((files.len(), fix.files().unwrap()), (1, files));
        std::fs::write(dir.path().join("answer.h"), "").unwrap();
        assert_eq!(fix.files().unwrap().len(), 2);
    }

    #[test]
    fn keys_of_earlier_versions_name_their_successors() {
        for (line, expected) in [
            ("replace = ['vmlinux:a']", "`replace` is now patch = [...]"),
            (
                "patch = ['vmlinux:a']\nsymbols = []",
                "`symbols` is now variables = [...] in the table [imports]",
            ),
            (
                "patch = ['vmlinux:a']\nlanguage = 'core'",
                "`language` is now runtime = \"klp\" (it was \"core\")",
            ),
        ] {
            let error = fix(&format!("description = 'x'\n{line}")).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("patch.toml"), "{error}");
        }
        let all: String =
            OLD_KEYS.iter().map(|(key, _)| format!("{key} = []\n")).collect::<Vec<_>>().concat();
        let error = fix(&all).unwrap_err().to_string();
        assert!(OLD_KEYS.iter().all(|(key, _)| error.contains(&format!("`{key}` is now "))), "{error}");
    }

    #[test]
    fn names_may_be_given() {
        let fix = fix("description = 'x'\npatch = ['vmlinux:a', { symbol = 'vmlinux:b.isra.0', as = 'b' }]")
            .unwrap();
        assert_eq!(fix.patch[1].method, "b");
        assert_eq!(objects_of([&fix]).len(), 1);
    }

    #[test]
    fn imports_get_names_of_their_own() {
        let text = "description = 'x'\npatch = ['vmlinux:a']\n\
            imports.functions = [{ symbol = 'vmlinux:yield', as = 'give_way' }, { symbol = 'm:f,2', as = 'f2', prototype = 'int f(void)' }, 'm:f']\n\
            imports.variables = [{ symbol = 'vmlinux:graveyard.0', as = 'graveyard', declaration = 'struct list_head graveyard' },\n\
            { symbol = 'm1:debug', as = 'debug1', declaration = 'int debug' }, { symbol = 'm2:debug', declaration = 'bool debug' }]";
        let fix = fix(text).unwrap();
        let names: Vec<&str> = fix.imports.functions.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["give_way", "f2", "f"]);
        let variables: Vec<_> = fix
            .imports
            .variables
            .iter()
            .map(|item| (item.name.as_str(), item.declared_as.as_str()))
            .collect();
        assert_eq!(variables, [("graveyard", "graveyard"), ("debug1", "debug"), ("debug", "debug")]);
    }

    #[test]
    fn wrong_entries_of_affected_name_file_and_key() {
        for (text, expected) in [
            (
                "affected = [{ cve = '2026-1234', reason = 'r', action = 'a' }]",
                "`affected`: \"2026-1234\" should",
            ),
            ("affected = [{ cve = 'CVE-2026-1234', reason = 'r' }]", "missing field `action`"),
            (
                "affected = [{ cve = 'CVE-2026-1234', reason = ' ', action = 'a' }]",
                "`affected`: CVE-2026-1234: `reason` must be one line",
            ),
            (
                "affected = [{ cve = 'CVE-2026-1234', reason = 'r', action = \"a\\nb\" }]",
                "`affected`: CVE-2026-1234: `action` must be one line",
            ),
            (
                "cves = ['CVE-2026-1234']\naffected = [{ cve = 'CVE-2026-1234', reason = 'r', action = 'a' }]",
                "`affected`: CVE-2026-1234 also stands in `cves`",
            ),
            (
                "affected = [{ cve = 'CVE-2026-1234', reason = 'r', action = 'a' }, { cve = 'CVE-2026-1234', reason = 'r', action = 'a' }]",
                "`affected`: CVE-2026-1234 stands twice",
            ),
        ] {
            let text = format!("description = 'x'\npatch = ['vmlinux:a']\n{text}");
            let error = fix(&text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("patch.toml"), "{text}: {error}");
        }
        let entry = "affected = [{ cve = 'CVE-2026-1234', reason = 'r', action = 'a' }]";
        let fix = fix(&format!("description = 'x'\npatch = ['vmlinux:a']\n{entry}")).unwrap();
        assert_eq!(fix.affected[0].cve, "CVE-2026-1234");
    }

    #[test]
    fn wrong_files_name_file_and_key() {
        for (text, expected) in [
            ("description = 'x'\npatch = []", "`patch`: is empty"),
            ("description = 'x'\npatch = ['show']", "`patch`: \"show\" is no symbol of an object"),
            ("description = 'x'\npatch = ['vmlinux:a', 'vmlinux:a']", "stands twice"),
            ("description = 'x'\npatch = ['vmlinux:a.b']", "is no Rust name"),
            ("description = 'x'\npatch = ['vmlinux:match']", "is no Rust name"),
            ("description = 'x'\npatch = ['vmlinux:a,1', 'vmlinux:a,2']", "two functions named `a`"),
            ("description = 'x'\npatch = ['vmlinux:a']\ntype = []", "unknown field `type`"),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.variables = [{ symbol = 'vmlinux:b', nonsense = 1 }]",
                "unknown field `nonsense`, expected one of `symbol`, `as`, `declaration`, `per_cpu`",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.functions = [{ symbol = 'vmlinux:b', name = 'c' }]",
                "unknown field `name`, expected one of `symbol`, `as`, `prototype`",
            ),
            (
                "description = 'x'\npatch = [{ symbol = 'vmlinux:a', prototyp = 'int a(void)' }]",
                "unknown field `prototyp`, expected one of `symbol`, `syscall`, `as`, `prototype`",
            ),
            (
                "description = 'x'\npatch = [{ syscall = 'getpid', prototype = 'int a(void)' }]",
                "takes no `prototype`",
            ),
            ("description = 'x'\npatch = [{ as = 'a' }]", "either `symbol` or `syscall`"),
            ("description = 'x'\npatch = [1]", "a text as \"vmlinux:cmdline_proc_show\", or a table"),
            ("description = 'x'\npatch = ['snd-pcm:a']", "without .ko: \"snd_pcm\""),
            ("description = 'x'\ncallbacks = ['snd-pcm.ko']", "without .ko: \"snd_pcm\""),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.headers = ['/tmp/x.h']",
                "`imports.headers`: \"/tmp/x.h\" is no",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.functions = ['vmlinux:yield']",
                "`imports.functions`: `yield` is no Rust name; write { symbol = \"vmlinux:yield\", as = \"...\" }",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.variables = ['m1:debug', 'm2:debug']",
                "the name `debug` stands for m1:debug (`variables` of `test`) and for m2:debug (`variables` of `test`); give one",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.variables = ['m1:x']\nimports.functions = ['m2:x']",
                "the name `x` stands for m2:x (`functions` of `test`) and for m1:x",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.variables = ['vmlinux:graveyard.0']",
                "`graveyard.0` is no Rust name; write { symbol = \"vmlinux:graveyard.0\", as = \"...\", declaration",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.variables = [{ symbol = 'vmlinux:b', declaration = 'int c' }]",
                "`imports.variables`: `int c` does not declare",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\ncfg.has_member = ['x']",
                "`has_member`: \"x\" should look",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\ncfg.kernel_at_least = ['6']",
                "`kernel_at_least`: \"6\"",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\ncves = ['2026-1234']",
                "`cves`: \"2026-1234\" should",
            ),
            ("description = 'x'", "`patch`: is empty"),
            (
                "description = 'x'\npatch = [{ syscall = 'sys_getpid' }]",
                "`sys_getpid`: write the system call",
            ),
            (
                "description = 'x'\npatch = [{ symbol = 'm:f', prototype = 'int g(void)' }]",
                "is of `g`, not of `f`",
            ),
            (
                "description = 'x'\npatch = [{ symbol = 'm:f', prototype = 'int f(void);' }]",
                "is no prototype",
            ),
            ("description = 'x'\ncallbacks = ['m', 'm']", "`callbacks`: m stands twice"),
            (
                "description = 'x'\ncallbacks = ['m']\nstates = [{ name = 'A', id = 0, version = 1 }]",
                "`states`: `A`: an id of 0",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.inlines = ['static_branch_likely']",
                "`imports.inlines`: `static_branch_likely`: a static key is",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.functions = ['vmlinux:__SCT__might_resched']",
                "a static call is",
            ),
            (
                "description = 'x'\npatch = ['vmlinux:a']\nimports.macros = ['void kfree(const void *)']",
                "each parameter needs a name",
            ),
        ] {
            let error = fix(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("patch.toml"), "{text}: {error}");
        }
    }
}
