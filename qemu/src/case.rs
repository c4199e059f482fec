// SPDX-License-Identifier: GPL-2.0-or-later
//! Cases: directories with `case.toml`, `run.sh` and, if needed, `dmesg.expected`. `tests/README.md` documents them for
//! authors.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// Errors in cases.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of a case is not readable.
    #[error("could not read {}: {source}", path.display())]
    Read {
        /// Path of the file or directory.
        path: PathBuf,
        /// I/O error.
        source: io::Error,
    },
    /// `case.toml` is invalid; the parser's message gives line and key.
    #[error("{}: {source}", path.display())]
    Toml {
        /// Path of the file.
        path: PathBuf,
        /// Parser error with its position.
        source: Box<toml::de::Error>,
    },
    /// A key has an invalid value.
    #[error("{}: key `{key}`: {what}", path.display())]
    Value {
        /// Path of the file.
        path: PathBuf,
        /// Key, or part of the case.
        key: &'static str,
        /// Fault and remedy.
        what: String,
    },
    /// No case matches a filter, or there is no case.
    #[error("nothing is selected by {}; there is: {}", quoted(filters), available.join(", "))]
    NothingSelected {
        /// Filters without a match.
        filters: Vec<String>,
        /// Names of the available cases.
        available: Vec<String>,
    },
}

fn quoted(filters: &[String]) -> String {
    if filters.is_empty() { "no filter".to_owned() } else { format!("`{}`", filters.join("`, `")) }
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Name of the case, which is the name of its directory.
    pub name: String,
    /// Directory of the case.
    pub dir: PathBuf,
    /// One line: the property that the case tests.
    pub description: String,
    /// Names of artifacts; the provider maps them to files.
    pub artifacts: Vec<String>,
    /// C files beside `run.sh`; the provider compiles each to a program for the guest.
    pub programs: Vec<String>,
    /// Ids of the supported kernels; `None` for all kernels.
    pub kernels: Option<Vec<String>>,
    /// Reasons to skip the case, by kernel id.
    pub skip: BTreeMap<String, String>,
    /// Number of CPUs.
    pub cpus: u32,
    /// True if the case needs a boot without other cases.
    pub own_boot: bool,
    /// Additional kernel parameters.
    pub append: String,
    /// CPU model for QEMU's `-cpu`; `None` for the default.
    pub cpu_model: Option<String>,
    /// Console text of the kernel panic that ends the case; any other end is a failure.
    pub panics: Option<String>,
    /// Text in the kernel log when the case makes the kernel kill a task. Kernel complaints and modules left loaded are
    /// then not faults.
    pub oops: Option<String>,
    /// Text of a warning that the kernel must report during the case. Reports with this text are then not faults.
    pub warns: Option<String>,
    /// Files that each phase keeps as evidence; may contain `*`.
    pub collect: Vec<String>,
    /// Time limit of the case.
    pub timeout: Duration,
    /// Prefixes of the kernel-log lines to compare with `dmesg.expected`.
    pub dmesg: Vec<String>,
    /// Lines of `dmesg.expected`.
    pub dmesg_expected: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseToml {
    description: String,
    #[serde(default)]
    artifacts: Vec<String>,
    #[serde(default)]
    programs: Vec<String>,
    kernels: Option<Vec<String>>,
    #[serde(default)]
    skip: BTreeMap<String, String>,
    #[serde(default = "one")]
    cpus: u32,
    #[serde(default)]
    own_boot: bool,
    #[serde(default)]
    append: String,
    cpu_model: Option<String>,
    panics: Option<String>,
    oops: Option<String>,
    warns: Option<String>,
    #[serde(default)]
    collect: Vec<String>,
    #[serde(default = "minute")]
    timeout: u64,
    #[serde(default)]
    dmesg: Vec<String>,
}

fn one() -> u32 {
    1
}

fn minute() -> u64 {
    60
}

/// Reads all cases in `dir`, sorted by name.
///
/// # Errors
/// A case is invalid, or there is none.
pub fn load_all(dir: &Path) -> Result<Vec<Case>, Error> {
    let read = |source| Error::Read { path: dir.to_owned(), source };
    let mut cases = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.is_dir() {
            cases.push(load(&path)?);
        }
    }
    if cases.is_empty() {
        return Err(Error::NothingSelected {
            filters: Vec::new(),
            available: vec![format!("no case in {}", dir.display())],
        });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

/// Reads the case in the directory `dir`.
///
/// # Errors
/// The case is invalid.
pub fn load(dir: &Path) -> Result<Case, Error> {
    let path = dir.join("case.toml");
    let text = read(&path)?;
    let run = dir.join("run.sh");
    if !run.is_file() {
        return Err(Error::Read { path: run, source: io::Error::from(io::ErrorKind::NotFound) });
    }
    let expected = dir.join("dmesg.expected");
    let expected = if expected.exists() { Some(read(&expected)?) } else { None };
    let case = parse(dir, &text, expected.as_deref())?;
    check_files(&case)?;
    Ok(case)
}

/// Checks the files beside `run.sh`, which go to one directory of the guest with those that the harness makes.
fn check_files(case: &Case) -> Result<(), Error> {
    let path = case.dir.join("case.toml");
    let value = |key, what| Err(Error::Value { path: path.clone(), key, what });
    if case.dir.join(ENVIRONMENT).exists() {
        return value("(directory)", format!("a file `{ENVIRONMENT}` is the harness's own; rename it"));
    }
    for source in &case.programs {
        if !case.dir.join(source).is_file() {
            return value("programs", format!("there is no file {source} beside run.sh"));
        }
        let program = program_name(source);
        if program == ENVIRONMENT || case.dir.join(program).exists() {
            return value(
                "programs",
                format!("the program of {source} and another file are both named {program}"),
            );
        }
    }
    Ok(())
}

/// Name of the file with a case's variables, beside `run.sh` in the guest.
pub(crate) const ENVIRONMENT: &str = "env";

/// Name of the program of a C file.
pub(crate) fn program_name(source: &str) -> &str {
    source.strip_suffix(".c").unwrap_or(source)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Makes a case from the texts of its files.
fn parse(dir: &Path, text: &str, expected: Option<&str>) -> Result<Case, Error> {
    let path = dir.join("case.toml");
    let toml: CaseToml = toml::from_str(text)
        .map_err(|source| Error::Toml { path: path.clone(), source: Box::new(source) })?;
    let value = |key, what: String| Err(Error::Value { path: path.clone(), key, what });
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return value(
            "(directory)",
            format!("{name:?} is no name of a case: only a-z, 0-9 and - may stand in it"),
        );
    }
    if let Err((key, what)) = check_values(&toml) {
        return value(key, what);
    }
    if toml.dmesg.is_empty() != expected.is_none() {
        return value("dmesg", "the prefixes and the file dmesg.expected need each other".to_owned());
    }
    Ok(Case {
        name,
        dir: dir.to_owned(),
        description: toml.description,
        artifacts: toml.artifacts,
        programs: toml.programs,
        kernels: toml.kernels,
        skip: toml.skip,
        cpus: toml.cpus,
        own_boot: toml.own_boot || toml.panics.is_some() || toml.oops.is_some() || toml.warns.is_some(),
        append: toml.append,
        cpu_model: toml.cpu_model,
        panics: toml.panics,
        oops: toml.oops,
        warns: toml.warns,
        collect: toml.collect,
        timeout: Duration::from_secs(toml.timeout),
        dmesg: toml.dmesg,
        dmesg_expected: expected.map(expected_lines),
    })
}

/// Checks the values of the keys one by one. The error is a key with its fault and remedy.
fn check_values(toml: &CaseToml) -> Result<(), (&'static str, String)> {
    let wrong = |key, what| Err((key, what));
    if toml.description.trim().is_empty() {
        return wrong("description", "say in one line what the case shows".to_owned());
    }
    if !(1..=8).contains(&toml.cpus) {
        return wrong("cpus", format!("{} is not between 1 and 8", toml.cpus));
    }
    if !(1..=3600).contains(&toml.timeout) {
        return wrong("timeout", format!("{} is not between 1 and 3600 seconds", toml.timeout));
    }
    for artifact in &toml.artifacts {
        if artifact.is_empty() || artifact.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return wrong("artifacts", format!("{artifact:?} is empty or has blanks"));
        }
    }
    for (at, source) in toml.programs.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if program_name(source).is_empty() || !source.ends_with(".c") || !source.chars().all(plain) {
            return wrong(
                "programs",
                format!("{source:?} is no name of a C file beside run.sh, such as \"fault.c\""),
            );
        }
        if toml.programs[..at].contains(source) {
            return wrong("programs", format!("{source} is listed twice"));
        }
    }
    for file in &toml.collect {
        if !file.starts_with('/') || file.contains(|c: char| c.is_whitespace() || "'\"$`\\".contains(c)) {
            return wrong("collect", format!("{file:?} must be an absolute path without blanks and quotes"));
        }
    }
    if toml.kernels.as_ref().is_some_and(Vec::is_empty) {
        return wrong(
            "kernels",
            "the list is empty, so the case would never run; leave the key out for all".to_owned(),
        );
    }
    if let Some((kernel, _)) = toml.skip.iter().find(|(_, reason)| reason.trim().is_empty()) {
        return wrong("skip", format!("the reason for {kernel} is missing"));
    }
    let texts = [
        ("panics", &toml.panics),
        ("oops", &toml.oops),
        ("warns", &toml.warns),
        ("cpu_model", &toml.cpu_model),
    ];
    for (key, text) in texts {
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return wrong(key, "is empty; leave the key out".to_owned());
        }
    }
    if toml.warns.is_some() && (toml.oops.is_some() || toml.panics.is_some()) {
        return wrong(
            "warns",
            "a case with `oops` or `panics` is not judged by the kernel's warnings; leave the key out"
                .to_owned(),
        );
    }
    Ok(())
}

/// Lines of `dmesg.expected` without empty lines and comments (lines that begin with `#`).
fn expected_lines(text: &str) -> Vec<String> {
    let for_people = |line: &&str| line.trim().is_empty() || line.starts_with('#');
    text.lines().filter(|line| !for_people(line)).map(|line| line.trim_end().to_owned()).collect()
}

impl Case {
    /// True if the case supports this kernel. (The case may still be skipped there, with a reason.)
    pub fn is_for(&self, kernel: &str) -> bool {
        self.kernels.as_ref().is_none_or(|kernels| kernels.iter().any(|id| id == kernel))
    }
}

/// Cases that match the filters. A filter matches the case with that exact name; if there is none, every case whose
/// name contains the filter. Without filters, all cases match.
///
/// # Errors
/// [`Error::NothingSelected`] with every filter that selects nothing.
pub fn select(cases: &[Case], filters: &[String]) -> Result<Vec<Case>, Error> {
    if filters.is_empty() && !cases.is_empty() {
        return Ok(cases.to_vec());
    }
    let matches = |filter: &String, case: &Case| {
        let exact = cases.iter().any(|case| case.name == *filter);
        if exact { case.name == *filter } else { case.name.contains(filter.as_str()) }
    };
    let idle: Vec<String> =
        filters.iter().filter(|filter| !cases.iter().any(|case| matches(filter, case))).cloned().collect();
    if !idle.is_empty() || cases.is_empty() {
        let available = cases.iter().map(|case| case.name.clone()).collect();
        return Err(Error::NothingSelected { filters: idle, available });
    }
    Ok(cases.iter().filter(|case| filters.iter().any(|filter| matches(filter, case))).cloned().collect())
}

/// Checks that each kernel id in the cases is one of `known`: a case with a misspelt id would never run, without an
/// error.
///
/// # Errors
/// [`Error::Value`] for the first unknown id.
pub fn check_kernels(cases: &[Case], known: &[&str]) -> Result<(), Error> {
    for case in cases {
        let allowed = case.kernels.iter().flatten().map(|id| ("kernels", id));
        let skipped = case.skip.keys().map(|id| ("skip", id));
        for (key, id) in allowed.chain(skipped) {
            if !known.contains(&id.as_str()) {
                let what = format!("there is no kernel {id:?}; there is: {}", known.join(", "));
                return Err(Error::Value { path: case.dir.join("case.toml"), key, what });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Case, Error> {
        parse(Path::new("cases/some"), text, None)
    }

    fn named(name: &str) -> Case {
        parse(&Path::new("cases").join(name), "description = 'x'", None).unwrap()
    }

    #[test]
    fn defaults() {
        let case = parsed("description = 'x'").unwrap();
        assert_eq!((case.cpus, case.timeout.as_secs(), case.own_boot), (1, 60, false));
        assert!(case.is_for("any"));
    }

    #[test]
    fn wrong_values_name_file_and_key() {
        for (text, key) in [
            ("", "description"),
            ("description = ' '", "description"),
            ("description = 'x'\ncpu = 2", "cpu"),
            ("description = 'x'\ncpus = 0", "cpus"),
            ("description = 'x'\ntimeout = 0", "timeout"),
            ("description = 'x'\nartifacts = ['a b']", "artifacts"),
            ("description = 'x'\ncollect = ['proc/version']", "collect"),
            ("description = 'x'\ncollect = ['/a;$(b)']", "collect"),
            ("description = 'x'\nkernels = []", "kernels"),
            ("description = 'x'\npanics = ''", "panics"),
            ("description = 'x'\ncpu_model = ' '", "cpu_model"),
            ("description = 'x'\nwarns = ' '", "warns"),
            ("description = 'x'\nwarns = 'a'\noops = 'b'", "warns"),
            ("description = 'x'\nprograms = ['a.sh']", "programs"),
            ("description = 'x'\nprograms = ['.c']", "programs"),
            ("description = 'x'\nprograms = ['../a.c']", "programs"),
            ("description = 'x'\nprograms = ['a.c', 'a.c']", "programs"),
            ("description = 'x'\nskip = { k = '' }", "skip"),
            ("description = 'x'\ndmesg = ['livepatch: ']", "dmesg"),
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains("cases/some/case.toml") && error.contains(key), "{text}: {error}");
        }
    }

    #[test]
    fn programs_need_their_file_and_a_name_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("some");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("case.toml"), "description = 'x'\nprograms = ['a.c']").unwrap();
        fs::write(dir.join("run.sh"), "").unwrap();
        let error = || load(&dir).unwrap_err().to_string();
        assert!(error().contains("there is no file a.c beside run.sh"), "{}", error());
        fs::write(dir.join("a.c"), "").unwrap();
        assert_eq!(load(&dir).unwrap().programs, ["a.c"]);
        fs::write(dir.join("a"), "").unwrap();
        assert!(error().contains("both named a"), "{}", error());
        fs::remove_file(dir.join("a")).unwrap();
        fs::write(dir.join("env"), "").unwrap();
        assert!(error().contains("`env` is the harness's own"), "{}", error());
    }

    #[test]
    fn expected_lines_leave_out_those_for_people() {
        let case = parse(Path::new("a"), "description='x'\ndmesg=['l: ']", Some("# why\n\nl: one \nl: *\n"))
            .unwrap();
        assert_eq!(case.dmesg_expected.unwrap(), ["l: one", "l: *"]);
    }

    #[test]
    fn a_filter_is_a_name_or_else_a_part_of_one() {
        let cases = [named("peek"), named("peek-late"), named("upgrade")];
        let names = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
            select(&cases, &filters).map(|cases| cases.into_iter().map(|case| case.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["peek"]).unwrap(), ["peek"]);
        assert_eq!(names(&["pe"]).unwrap(), ["peek", "peek-late"]);
        assert_eq!(names(&[]).unwrap().len(), 3);
        let error = names(&["peek", "nonesuch"]).unwrap_err().to_string();
        assert!(
            error.contains("`nonesuch`") && error.contains("upgrade") && !error.contains("`peek`"),
            "{error}"
        );
    }

    #[test]
    fn a_misspelt_kernel_is_an_error() {
        let case = parsed("description='x'\nkernels=['debian-6.21']").unwrap();
        let error = check_kernels(&[case], &["debian-6.12"]).unwrap_err().to_string();
        assert!(error.contains("debian-6.21") && error.contains("debian-6.12"), "{error}");
    }
}
