// SPDX-License-Identifier: GPL-2.0-or-later
//! The author's files: where fixes, streams and kernels stand, and what their TOML says. Everything is checked here,
//! before work starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use klp_format::{KernelRelease, KlpSymbol, ModuleName, ObjectName};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::bindings::render::is_rust_keyword;
use crate::error::{Error, io_error, read_text};

/// A checkout: where everything stands.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
}

/// One fix: what an author wrote.
#[derive(Clone, Debug)]
pub struct Fix {
    /// Its name: the name of its directory, and of its crate with underscores.
    pub name: String,
    /// `patches/<name>`.
    pub dir: PathBuf,
    /// One line for people.
    pub description: String,
    /// The functions that it replaces, with the name that the trait's method has.
    pub replace: Vec<Replaced>,
    /// C headers that the bindings take in beside the usual ones, as in `#include <...>`.
    pub headers: Vec<String>,
    /// C types that the fix looks into, beside those that the prototypes name.
    pub types: Vec<String>,
    /// Kernel functions that it calls.
    pub functions: Vec<KlpSymbol>,
    /// Kernel variables that it reads or writes.
    pub symbols: Vec<Variable>,
    /// Static inline functions of its headers that it calls.
    pub inlines: Vec<String>,
    /// Macros of its headers that are constants.
    pub constants: Vec<String>,
    /// What it asks of the kernel it is compiled for.
    pub cfg: Cfg,
    /// The CVEs that it repairs.
    pub cves: Vec<String>,
    /// What it is written on.
    pub language: Language,
}

/// What a fix is written on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// A `core` library of our own and crate `klp`: on every kernel.
    #[default]
    Core,
    /// The kernel's own `kernel` crate and the half `klp::core`: on kernels that have it.
    Kernel,
}

/// What a fix asks of the kernel it is compiled for; each becomes a `cfg` value of rustc.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cfg {
    /// `struct.member`: does the struct have it?
    #[serde(default)]
    pub has_member: Vec<String>,
    /// A function: is it there (not inlined everywhere)?
    #[serde(default)]
    pub has_function: Vec<String>,
    /// `6.12`: is the kernel of this version or newer?
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

    /// The first value that is not of its form, with what it should look like.
    fn wrong(&self) -> Option<String> {
        let member =
            |text: &&String| text.split_once('.').is_none_or(|(a, b)| !is_rust_name(a) || !is_rust_name(b));
        let wrong_member = self.has_member.iter().find(member);
        let wrong_version = self.kernel_at_least.iter().find(|text| crate::resolve::version(text).is_none());
        wrong_member
            .map(|text| format!("`has_member`: {text:?} should look like \"seq_file.private\""))
            .or_else(|| {
                wrong_version.map(|text| format!("`kernel_at_least`: {text:?} should look like \"6.12\""))
            })
    }
}

impl Fix {
    /// Name of its crate.
    pub fn crate_name(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The crate's root file.
    pub fn source(&self) -> PathBuf {
        self.dir.join("src/lib.rs")
    }
}

/// A function that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Which.
    pub symbol: KlpSymbol,
    /// Name of the trait's method.
    pub method: String,
}

/// A kernel variable that a fix uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Which.
    pub symbol: KlpSymbol,
    /// How C declares it, where no header does (most static variables): the author's word, which BTF cannot check.
    pub declaration: Option<String>,
}

/// A module to build: a stream, or a fix as a stream of one.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name of the stream or fix.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What it links.
    pub fixes: Vec<Fix>,
    /// Version and release, for a stream.
    pub version: Option<(u32, u32)>,
    /// Version and release of the stream that it follows.
    pub predecessor: Option<(u32, u32)>,
}

impl Target {
    /// Every symbol that its fixes name.
    pub fn symbols(&self) -> impl Iterator<Item = &KlpSymbol> {
        self.fixes.iter().flat_map(|fix| {
            let replaced = fix.replace.iter().map(|item| &item.symbol);
            replaced.chain(&fix.functions).chain(fix.symbols.iter().map(|item| &item.symbol))
        })
    }

    /// What its fixes are written on: one of them for all.
    pub fn language(&self) -> Language {
        self.fixes.first().map(|fix| fix.language).unwrap_or_default()
    }

    /// The module's name: `kpatch_<kernel>_<version>_<release>` for a stream, `kpatch_<fix>` for a single fix.
    ///
    /// # Errors
    /// It would be longer than the kernel allows.
    pub fn module_name(&self, release: &KernelRelease) -> Result<ModuleName, Error> {
        Ok(ModuleName::sanitized(&match self.version {
            Some((version, patch_release)) => format!("kpatch_{release}_{version}_{patch_release}"),
            None => format!("kpatch_{}", self.name),
        })?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixFile {
    description: String,
    replace: Vec<ReplaceEntry>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    functions: Vec<String>,
    #[serde(default)]
    symbols: Vec<VariableEntry>,
    #[serde(default)]
    inlines: Vec<String>,
    #[serde(default)]
    constants: Vec<String>,
    #[serde(default)]
    cfg: Cfg,
    #[serde(default)]
    language: Language,
    #[serde(default)]
    cves: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ReplaceEntry {
    Plain(String),
    Named {
        symbol: String,
        #[serde(rename = "as")]
        method: String,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum VariableEntry {
    Plain(String),
    Declared { symbol: String, declaration: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamFile {
    description: String,
    version: u32,
    release: u32,
    /// `<version>-<release>`
    predecessor: Option<String>,
    fixes: Vec<String>,
}

impl Project {
    /// The project whose root is `root`.
    ///
    /// # Errors
    /// `root` holds no `kernel-configs` directory.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let root = root.canonicalize().map_err(io_error("find", root))?;
        if root.join("kernel-configs").is_dir() {
            return Ok(Self { root });
        }
        Err(Error::Config {
            file: root,
            message: "no project: it has no kernel-configs directory".to_owned(),
        })
    }

    /// The project's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where builds of `target` for `kernel` happen.
    pub fn build_dir(&self, kernel: &str, target: &str) -> PathBuf {
        self.root.join("build").join(kernel).join(target)
    }

    /// Directory of the kernel-side crate `klp`.
    pub fn kmod(&self) -> PathBuf {
        self.root.join("kmod")
    }

    /// Names of the fixes and streams that may be shipped, sorted.
    pub fn target_names(&self) -> Vec<String> {
        let mut names = self.fix_names();
        names.extend(self.stream_names());
        names.sort();
        names
    }

    /// Where fixes stand: what is shipped, and what only the tests use.
    fn fix_dirs(&self) -> [PathBuf; 2] {
        [self.root.join("patches"), self.root.join("tests/fixes")]
    }

    fn stream_dirs(&self) -> [PathBuf; 2] {
        [self.root.join("patches/streams"), self.root.join("tests/streams")]
    }

    fn fix_names(&self) -> Vec<String> {
        names_in(&self.fix_dirs(), |path| path.join("patch.toml").is_file())
    }

    fn stream_names(&self) -> Vec<String> {
        names_in(&self.stream_dirs(), |path| path.extension().is_some_and(|extension| extension == "toml"))
    }

    /// Ids of the pinned kernels, sorted.
    pub fn kernel_ids(&self) -> Vec<String> {
        names_in(&[self.root.join("kernel-configs")], |path| path.join("kernel.toml").is_file())
    }

    /// The fix or stream of this name.
    ///
    /// # Errors
    /// There is none, or one of its files is wrong.
    pub fn target(&self, name: &str) -> Result<Target, Error> {
        let stream = self
            .stream_dirs()
            .map(|dir| dir.join(format!("{name}.toml")))
            .into_iter()
            .find(|file| file.is_file());
        match stream {
            Some(file) => self.stream(name, &file),
            None => {
                let fix = self.fix(name)?;
                Ok(Target {
                    name: fix.name.clone(),
                    description: fix.description.clone(),
                    fixes: vec![fix],
                    version: None,
                    predecessor: None,
                })
            }
        }
    }

    fn stream(&self, name: &str, file: &Path) -> Result<Target, Error> {
        let wrong = |message: String| Error::Config { file: file.to_owned(), message };
        let stream: StreamFile = parse_toml(file)?;
        if stream.fixes.is_empty() {
            return Err(wrong("`fixes` is empty: a stream links at least one fix".to_owned()));
        }
        if stream.version == 0 || stream.release == 0 {
            return Err(wrong("`version` and `release` begin with 1 (0-0 is the empty package)".to_owned()));
        }
        let predecessor = match &stream.predecessor {
            None => None,
            Some(text) => {
                let older = version_of(text).filter(|older| *older < (stream.version, stream.release));
                Some(older.ok_or_else(|| {
                    wrong(format!(
                        "`predecessor`: {text:?} should be an older version and release, such as \"1-1\""
                    ))
                })?)
            }
        };
        let fixes: Vec<Fix> = stream.fixes.iter().map(|fix| self.fix(fix)).collect::<Result<_, _>>()?;
        if let Some(other) = fixes.iter().find(|fix| fix.language != fixes[0].language) {
            return Err(wrong(format!(
                "`fixes`: `{}` and `{}` differ in `language`, and crates of the two cannot be linked into one module",
                fixes[0].name, other.name
            )));
        }
        let mut owners: BTreeMap<&KlpSymbol, &str> = BTreeMap::new();
        for fix in &fixes {
            for replaced in &fix.replace {
                if let Some(other) = owners.insert(&replaced.symbol, &fix.name) {
                    return Err(wrong(format!(
                        "`fixes`: both `{other}` and `{}` replace {}; a module can hold only one replacement, merge the two fixes",
                        fix.name, replaced.symbol
                    )));
                }
            }
        }
        Ok(Target {
            name: name.to_owned(),
            description: stream.description,
            fixes,
            version: Some((stream.version, stream.release)),
            predecessor,
        })
    }

    /// The fix of this name.
    ///
    /// # Errors
    /// There is none, or its files are wrong.
    pub fn fix(&self, name: &str) -> Result<Fix, Error> {
        let dir = self
            .fix_dirs()
            .map(|dir| dir.join(name))
            .into_iter()
            .find(|dir| is_fix_name(name) && dir.join("patch.toml").is_file());
        let Some(dir) = dir else {
            let known = names_in(&self.fix_dirs(), |path| path.join("patch.toml").is_file())
                .into_iter()
                .chain(self.stream_names())
                .filter(|name| !name.starts_with('_'))
                .collect();
            return Err(Error::Unknown { what: "fix or stream", name: name.to_owned(), known });
        };
        read_fix(name, &dir)
    }
}

/// Reads `patch.toml` of the fix in `dir`.
///
/// # Errors
/// It is missing or wrong.
pub fn read_fix(name: &str, dir: &Path) -> Result<Fix, Error> {
    let file = dir.join("patch.toml");
    let wrong = |key: &str, message: String| Error::Config {
        file: file.clone(),
        message: format!("`{key}`: {message}"),
    };
    let parsed: FixFile = parse_toml(&file)?;
    if parsed.replace.is_empty() {
        return Err(wrong(
            "replace",
            "is empty: name at least one function, as \"vmlinux:cmdline_proc_show\"".to_owned(),
        ));
    }
    let mut replace: Vec<Replaced> = Vec::new();
    for entry in parsed.replace {
        let (text, method) = match entry {
            ReplaceEntry::Plain(text) => (text, None),
            ReplaceEntry::Named { symbol, method } => (symbol, Some(method)),
        };
        let symbol: KlpSymbol =
            text.parse().map_err(|error: klp_format::NameError| wrong("replace", error.to_string()))?;
        let method = method.unwrap_or_else(|| symbol.symbol.clone());
        if !is_rust_name(&method) {
            return Err(wrong(
                "replace",
                format!("`{method}` is no Rust name; write {{ symbol = \"{symbol}\", as = \"...\" }}"),
            ));
        }
        if replace.iter().any(|other| other.symbol == symbol) {
            return Err(wrong("replace", format!("{symbol} stands twice")));
        }
        if replace.iter().any(|other| other.symbol.object == symbol.object && other.method == method) {
            return Err(wrong(
                "replace",
                format!("two functions named `{method}`; give one of them another name with as = \"...\""),
            ));
        }
        replace.push(Replaced { symbol, method });
    }
    let symbols_of = |key: &str, texts: Vec<String>| -> Result<Vec<KlpSymbol>, Error> {
        texts
            .iter()
            .map(|text| text.parse().map_err(|error: klp_format::NameError| wrong(key, error.to_string())))
            .collect()
    };
    if let Some(message) = parsed.cfg.wrong() {
        return Err(wrong("cfg", message));
    }
    for (key, names) in [("inlines", &parsed.inlines), ("constants", &parsed.constants)] {
        if let Some(name) = names.iter().find(|name| !is_rust_name(name)) {
            return Err(wrong(key, format!("`{name}` is no name of C")));
        }
    }
    if let Some(text) = parsed.cves.iter().find(|text| !is_cve(text)) {
        return Err(wrong("cves", format!("{text:?} should look like \"CVE-2026-12345\"")));
    }
    let variables = parsed.symbols.into_iter().map(variable);
    let variables = variables.collect::<Result<_, _>>().map_err(|message| wrong("symbols", message))?;
    Ok(Fix {
        name: name.to_owned(),
        dir: dir.to_owned(),
        description: parsed.description,
        replace,
        headers: parsed.headers,
        types: parsed.types,
        functions: symbols_of("functions", parsed.functions)?,
        symbols: variables,
        inlines: parsed.inlines,
        constants: parsed.constants,
        cfg: parsed.cfg,
        language: parsed.language,
        cves: parsed.cves,
    })
}

/// `1-2` as version and release.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let (version, release) = text.split_once('-')?;
    Some((version.parse().ok()?, release.parse().ok()?))
}

/// Whether a text is a CVE's name: a year, and a number of at least four digits.
fn is_cve(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix("CVE-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(year, number)| year.len() == 4 && number.len() >= 4 && digits(year) && digits(number))
}

/// Whether a fix may be called this.
pub(crate) fn is_fix_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

fn variable(entry: VariableEntry) -> Result<Variable, String> {
    let (text, declaration) = match entry {
        VariableEntry::Plain(text) => (text, None),
        VariableEntry::Declared { symbol, declaration } => (symbol, Some(declaration)),
    };
    let symbol: KlpSymbol = text.parse().map_err(|error: klp_format::NameError| error.to_string())?;
    match &declaration {
        Some(text) if !declares(text, &symbol.symbol) => Err(format!(
            "`{text}` does not declare {symbol}; write C's declaration without `extern` and `;`, as \"struct mutex {}\"",
            symbol.symbol
        )),
        _ => Ok(Variable { symbol, declaration }),
    }
}

/// Whether a text can stand between `extern` and `;` to declare a variable of this name.
fn declares(declaration: &str, name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    declaration.chars().all(|c| word(c) || " *()[],".contains(c))
        && !declaration.starts_with("extern")
        && declaration.split(|c| !word(c)).any(|part| part == name)
}

pub(crate) fn is_rust_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty()
        && text != "_"
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(word)
        && !["self", "Self", "super", "crate"].contains(&text)
        && !is_rust_keyword(text)
}

/// Objects of a list of functions, in the order in which they first appear.
pub fn objects_of<'a>(replaced: impl IntoIterator<Item = &'a Replaced>) -> Vec<ObjectName> {
    let mut objects: Vec<ObjectName> = Vec::new();
    for item in replaced {
        if !objects.contains(&item.symbol.object) {
            objects.push(item.symbol.object.clone());
        }
    }
    objects
}

fn names_in(dirs: &[PathBuf], is_one: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut names: Vec<String> = dirs
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .filter_map(Result::ok)
        .map(|item| item.path())
        .filter(|path| is_one(path))
        .filter_map(|path| {
            path.file_name().map(|name| name.to_string_lossy().trim_end_matches(".toml").to_owned())
        })
        .collect();
    names.sort();
    names
}

/// Reads a TOML file.
pub(crate) fn parse_toml<T: DeserializeOwned>(file: &Path) -> Result<T, Error> {
    let text = read_text(file)?;
    toml::from_str(&text).map_err(|error| Error::Config { file: file.to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(text: &str) -> Result<Fix, Error> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("patch.toml"), text).unwrap();
        read_fix("test", dir.path())
    }

    #[test]
    fn names_may_be_given() {
        let fix =
            fix("description = 'x'\nreplace = ['vmlinux:a', { symbol = 'vmlinux:b.isra.0', as = 'b' }]")
                .unwrap();
        assert_eq!(fix.replace[1].method, "b");
        assert_eq!(objects_of(&fix.replace).len(), 1);
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
            ("description = 'x'", "missing field `replace`"),
            (
                "description = 'x'\nreplace = ['vmlinux:a']\ncves = ['2026-1234']",
                "`cves`: \"2026-1234\" should",
            ),
        ] {
            let error = fix(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("patch.toml"), "{text}: {error}");
        }
    }
}
