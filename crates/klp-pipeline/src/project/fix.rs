// SPDX-License-Identifier: GPL-2.0-or-later
//! Content of `patch.toml`.

use std::fmt;
use std::path::{Path, PathBuf};

use klp_base::arch::Arch;
use klp_base::cache;
use klp_format::{KlpSymbol, ObjectName};
use serde::Deserialize;

use super::entries::{CalledTable, Entry, ReplaceTable, VariableTable, called, replaced, variable};
use super::headers::{Header, header};
use super::{CPrototype, names, parse_toml};
use crate::error::Error;
use crate::rust_name::is_rust_name;
use klp_format::parse_version;

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
    /// Functions to replace, with the names of the trait's methods.
    pub replace: Vec<Replaced>,
    /// Objects with callbacks.
    pub callbacks: Vec<ObjectName>,
    /// True if the fix has an exit function, which runs before its module is unloaded.
    pub exit: bool,
    /// System states that the fix supports.
    pub states: Vec<State>,
    /// Ids of shadow variables that other fixes of a module use too.
    pub shadows: Vec<u64>,
    /// C headers for the bindings, in addition to the default headers.
    pub headers: Vec<Header>,
    /// C types whose members the fix uses, in addition to the types in the prototypes.
    pub types: Vec<String>,
    /// Kernel functions that the fix calls.
    pub functions: Vec<Called>,
    /// Kernel variables that the fix reads or writes.
    pub symbols: Vec<Variable>,
    /// Static inline functions of its headers that the fix calls.
    pub inlines: Vec<String>,
    /// Macros of its headers that the fix calls as functions with these prototypes.
    pub macros: Vec<CPrototype>,
    /// Constant macros of its headers.
    pub constants: Vec<String>,
    /// Questions about the target kernel.
    pub cfg: Cfg,
    /// CVEs that the fix repairs.
    pub cves: Vec<String>,
    /// Runtime of the fix.
    pub language: Language,
}

/// Runtime of a fix: the crates that it is based on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// A separately compiled `core` library and crate `klp`: for every kernel.
    #[default]
    Core,
    /// The kernel's own `kernel` crate and the half `klp::core`: for kernels with this crate.
    Kernel,
}

/// Questions of a fix about the target kernel; each becomes a `cfg` value of rustc.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cfg {
    /// `struct.member`: the struct has this member.
    #[serde(default)]
    pub has_member: Vec<String>,
    /// A function: it exists and is not inlined everywhere.
    #[serde(default)]
    pub has_function: Vec<String>,
    /// `6.12`: the kernel has this version or a newer one.
    #[serde(default)]
    pub kernel_at_least: Vec<String>,
}

impl Cfg {
    /// Names and values, in the order of the file.
    pub fn questions(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("has_member", &self.has_member),
            ("has_function", &self.has_function),
            ("kernel_at_least", &self.kernel_at_least),
        ]
        .into_iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value.as_str())))
    }

    /// The first malformed value, with the correct form.
    fn wrong(&self) -> Option<String> {
        let member =
            |text: &&String| text.split_once('.').is_none_or(|(a, b)| !is_rust_name(a) || !is_rust_name(b));
        let wrong_member = self.has_member.iter().find(member);
        let wrong_version = self.kernel_at_least.iter().find(|text| parse_version(text).is_none());
        wrong_member
            .map(|text| format!("`has_member`: {text:?} should look like \"seq_file.private\""))
            .or_else(|| {
                wrong_version.map(|text| format!("`kernel_at_least`: {text:?} should look like \"6.12\""))
            })
    }
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

    /// All files that the author wrote, sorted. [`EDITOR_FILE`] is generated, and holds paths of this machine.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn files(&self) -> Result<Vec<PathBuf>, cache::Error> {
        let mut files = cache::walk(&self.dir)?;
        files.retain(|file| *file != self.dir.join(EDITOR_FILE));
        Ok(files)
    }
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
    stacked: bool,
    #[serde(default)]
    replace: Vec<Entry<ReplaceTable>>,
    #[serde(default)]
    callbacks: Vec<String>,
    #[serde(default)]
    exit: bool,
    #[serde(default)]
    states: Vec<State>,
    #[serde(default)]
    shadows: Vec<u64>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    functions: Vec<Entry<CalledTable>>,
    #[serde(default)]
    symbols: Vec<Entry<VariableTable>>,
    #[serde(default)]
    inlines: Vec<String>,
    #[serde(default)]
    macros: Vec<String>,
    #[serde(default)]
    constants: Vec<String>,
    #[serde(default)]
    cfg: Cfg,
    #[serde(default)]
    language: Language,
    #[serde(default)]
    cves: Vec<String>,
}

/// Reads `patch.toml` of the fix in `dir`.
///
/// # Errors
/// The file is missing, or an entry is invalid; the error names the key.
pub fn read_fix(name: &str, dir: &Path) -> Result<Fix, Error> {
    let file = dir.join("patch.toml");
    let parsed: FixFile = parse_toml(&file)?;
    checked(name, dir, parsed).map_err(|message| klp_kernel::Error::Config { file, message }.into())
}

/// Error message for the value of a key.
fn wrong(key: &str, message: impl fmt::Display) -> String {
    format!("`{key}`: {message}")
}

/// The fix of a file, or the message for its first fault.
fn checked(name: &str, dir: &Path, parsed: FixFile) -> Result<Fix, String> {
    if parsed.replace.is_empty() && parsed.callbacks.is_empty() {
        let message = "is empty: name at least one function, as \"vmlinux:cmdline_proc_show\"";
        return Err(wrong("replace", message));
    }
    let replace = all_replaced(parsed.replace)?;
    let callbacks = parsed.callbacks.iter().map(|text| ObjectName::new(text)).collect::<Result<Vec<_>, _>>();
    let callbacks = callbacks.map_err(|error| wrong("callbacks", error))?;
    if let Some(twice) = repeated(&callbacks) {
        return Err(wrong("callbacks", format_args!("{twice} stands twice")));
    }
    check_states(&parsed.states)?;
    let functions = parsed.functions.into_iter().map(called).collect::<Result<Vec<_>, _>>();
    let functions = functions.map_err(|message| wrong("functions", message))?;
    let macros = parsed.macros.iter().map(|text| CPrototype::new(text)).collect::<Result<Vec<_>, _>>();
    let macros = macros.map_err(|message| wrong("macros", message))?;
    if let Some(item) = macros.iter().find(|item| item.parameters().is_none()) {
        return Err(wrong("macros", format_args!("`{}`: each parameter needs a name", item.text())));
    }
    if let Some(message) = parsed.cfg.wrong() {
        return Err(wrong("cfg", message));
    }
    for (key, names) in [("inlines", &parsed.inlines), ("constants", &parsed.constants)] {
        if let Some(name) = names.iter().find(|name| !is_rust_name(name)) {
            return Err(wrong(key, format_args!("`{name}` is no name of C")));
        }
    }
    if let Some(text) = parsed.cves.iter().find(|text| !is_cve(text)) {
        return Err(wrong("cves", format_args!("{text:?} should look like \"CVE-2026-12345\"")));
    }
    let symbols = parsed.symbols.into_iter().map(variable).collect::<Result<Vec<_>, _>>();
    let symbols = symbols.map_err(|message| wrong("symbols", message))?;
    let headers = parsed.headers.iter().map(|text| header(name, dir, text)).collect::<Result<_, _>>();
    let fix = Fix {
        name: name.to_owned(),
        dir: dir.to_owned(),
        description: parsed.description,
        stacked: parsed.stacked,
        replace,
        callbacks,
        exit: parsed.exit,
        states: parsed.states,
        shadows: parsed.shadows,
        headers: headers.map_err(|message| wrong("headers", message))?,
        types: parsed.types,
        functions,
        symbols,
        inlines: parsed.inlines,
        macros,
        constants: parsed.constants,
        cfg: parsed.cfg,
        language: parsed.language,
        cves: parsed.cves,
    };
    refuse_rewritten_code(&fix)?;
    names::clash(std::slice::from_ref(&fix)).map_or(Ok(fix), Err)
}

/// Functions that a fix replaces. Each occurs once and has a unique name in the trait of its object.
fn all_replaced(entries: Vec<Entry<ReplaceTable>>) -> Result<Vec<Replaced>, String> {
    let mut all: Vec<Replaced> = Vec::new();
    for entry in entries {
        let entry = replaced(entry).map_err(|message| wrong("replace", message))?;
        let symbol = &entry.symbol;
        if all.iter().any(|other| other.symbol == *symbol) {
            return Err(wrong("replace", format_args!("{symbol} stands twice")));
        }
        if all.iter().any(|other| other.symbol.object == symbol.object && other.method == entry.method) {
            let message = format_args!(
                "two functions named `{}`; give one of them another name with as = \"...\"",
                entry.method
            );
            return Err(wrong("replace", message));
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

/// Rejects names of code that the kernel modifies at run time.
fn refuse_rewritten_code(fix: &Fix) -> Result<(), String> {
    let functions = fix.functions.iter().map(|item| ("functions", item.symbol.symbol.as_str()));
    let variables = fix.symbols.iter().map(|item| ("symbols", item.symbol.symbol.as_str()));
    let inlines = fix.inlines.iter().map(|name| ("inlines", name.as_str()));
    let macros = fix.macros.iter().map(|item| ("macros", item.name()));
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
                       the key in `symbols` (it costs a load where the jump costs nothing)";
    const CALL: &str = "a static call is a call that the kernel rewrites, listed in a table that a live patch may not have; name in \
                        `functions` the function that it leads to on this system, or replace the function that holds the call";
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
        let called = fix.functions.iter().map(|item| &item.symbol.object);
        called.chain(fix.symbols.iter().map(|item| &item.symbol.object))
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
    let functions = fixes.clone().into_iter().flat_map(|fix| &fix.replace).map(|item| &item.symbol.object);
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
        std::fs::write(dir.path().join("patch.toml"), "description = 'x'\nreplace = ['vmlinux:a']").unwrap();
        let fix = read_fix("test", dir.path()).unwrap();
        let files = fix.files().unwrap();
        std::fs::write(dir.path().join(EDITOR_FILE), "{}").unwrap();
        assert_eq!((files.len(), fix.files().unwrap()), (1, files));
        std::fs::write(dir.path().join("answer.h"), "").unwrap();
        assert_eq!(fix.files().unwrap().len(), 2);
    }

    #[test]
    fn names_may_be_given() {
        let fix =
            fix("description = 'x'\nreplace = ['vmlinux:a', { symbol = 'vmlinux:b.isra.0', as = 'b' }]")
                .unwrap();
        assert_eq!(fix.replace[1].method, "b");
        assert_eq!(objects_of([&fix]).len(), 1);
    }

    #[test]
    fn imports_get_names_of_their_own() {
        let text = "description = 'x'\nreplace = ['vmlinux:a']\n\
            functions = [{ symbol = 'vmlinux:yield', as = 'give_way' }, { symbol = 'm:f,2', as = 'f2', prototype = 'int f(void)' }, 'm:f']\n\
            symbols = [{ symbol = 'vmlinux:graveyard.0', as = 'graveyard', declaration = 'struct list_head graveyard' },\n\
            { symbol = 'm1:debug', as = 'debug1', declaration = 'int debug' }, { symbol = 'm2:debug', declaration = 'bool debug' }]";
        let fix = fix(text).unwrap();
        let names: Vec<&str> = fix.functions.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["give_way", "f2", "f"]);
        let variables: Vec<_> =
            fix.symbols.iter().map(|item| (item.name.as_str(), item.declared_as.as_str())).collect();
        assert_eq!(variables, [("graveyard", "graveyard"), ("debug1", "debug"), ("debug", "debug")]);
    }

    #[test]
    fn wrong_files_name_file_and_key() {
        for (text, expected) in [
            ("description = 'x'\nreplace = []", "`replace`: is empty"),
            ("description = 'x'\nreplace = ['show']", "`replace`: \"show\" is no symbol of an object"),
            ("description = 'x'\nreplace = ['vmlinux:a', 'vmlinux:a']", "stands twice"),
            ("description = 'x'\nreplace = ['vmlinux:a.b']", "is no Rust name"),
            ("description = 'x'\nreplace = ['vmlinux:match']", "is no Rust name"),
            ("description = 'x'\nreplace = ['vmlinux:a,1', 'vmlinux:a,2']", "two functions named `a`"),
            ("description = 'x'\nreplace = ['vmlinux:a']\ntype = []", "unknown field `type`"),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nsymbols = [{ symbol = 'vmlinux:b', nonsense = 1 }]",
                "unknown field `nonsense`, expected one of `symbol`, `as`, `declaration`, `per_cpu`",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nfunctions = [{ symbol = 'vmlinux:b', name = 'c' }]",
                "unknown field `name`, expected one of `symbol`, `as`, `prototype`",
            ),
            (
                "description = 'x'\nreplace = [{ symbol = 'vmlinux:a', prototyp = 'int a(void)' }]",
                "unknown field `prototyp`, expected one of `symbol`, `syscall`, `as`, `prototype`",
            ),
            (
                "description = 'x'\nreplace = [{ syscall = 'getpid', prototype = 'int a(void)' }]",
                "takes no `prototype`",
            ),
            ("description = 'x'\nreplace = [{ as = 'a' }]", "either `symbol` or `syscall`"),
            ("description = 'x'\nreplace = [1]", "a text as \"vmlinux:cmdline_proc_show\", or a table"),
            ("description = 'x'\nreplace = ['snd-pcm:a']", "without .ko: \"snd_pcm\""),
            ("description = 'x'\ncallbacks = ['snd-pcm.ko']", "without .ko: \"snd_pcm\""),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nheaders = ['/tmp/x.h']",
                "`headers`: \"/tmp/x.h\" is no",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nfunctions = ['vmlinux:yield']",
                "`functions`: `yield` is no Rust name; write { symbol = \"vmlinux:yield\", as = \"...\" }",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nsymbols = ['m1:debug', 'm2:debug']",
                "the name `debug` stands for m1:debug (`symbols` of `test`) and for m2:debug (`symbols` of `test`); give one",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nsymbols = ['m1:x']\nfunctions = ['m2:x']",
                "the name `x` stands for m2:x (`functions` of `test`) and for m1:x",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nsymbols = ['vmlinux:graveyard.0']",
                "`graveyard.0` is no Rust name; write { symbol = \"vmlinux:graveyard.0\", as = \"...\", declaration",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nsymbols = [{ symbol = 'vmlinux:b', declaration = 'int c' }]",
                "`symbols`: `int c` does not declare",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\ncfg.has_member = ['x']",
                "`has_member`: \"x\" should look",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\ncfg.kernel_at_least = ['6']",
                "`kernel_at_least`: \"6\"",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\ncves = ['2026-1234']",
                "`cves`: \"2026-1234\" should",
            ),
            ("description = 'x'", "`replace`: is empty"),
            (
                "description = 'x'\nreplace = [{ syscall = 'sys_getpid' }]",
                "`sys_getpid`: write the system call",
            ),
            (
                "description = 'x'\nreplace = [{ symbol = 'm:f', prototype = 'int g(void)' }]",
                "is of `g`, not of `f`",
            ),
            (
                "description = 'x'\nreplace = [{ symbol = 'm:f', prototype = 'int f(void);' }]",
                "is no prototype",
            ),
            ("description = 'x'\ncallbacks = ['m', 'm']", "`callbacks`: m stands twice"),
            (
                "description = 'x'\ncallbacks = ['m']\nstates = [{ name = 'A', id = 0, version = 1 }]",
                "`states`: `A`: an id of 0",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\ninlines = ['static_branch_likely']",
                "`inlines`: `static_branch_likely`: a static key is",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nfunctions = ['vmlinux:__SCT__might_resched']",
                "a static call is",
            ),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\nmacros = ['void kfree(const void *)']",
                "each parameter needs a name",
            ),
        ] {
            let error = fix(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("patch.toml"), "{text}: {error}");
        }
    }
}
