// SPDX-License-Identifier: GPL-2.0-or-later
//! Store of installed modules, `/var/lib/kpatch/<kernel release>/<file>.ko`, and the search for the module of an
//! argument.
//!
//! Other programs take each directory below `/var/lib/kpatch` for a kernel with an installed patch, and each file in such a
//! directory for a patch. Everything else is therefore a plain hidden file beside these directories:
//! `.previous-<kernel release>:<file>.ko` for `rollback`, `.trial-<module>` ([`crate::model::boot_notes`]), `.history`
//! ([`crate::model::history`]).

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use klp_format::{KernelRelease, ModuleName};

use crate::model::error::Error;
use crate::model::module_file::{ModuleFile, Source};
use crate::model::refusal::Refusal;
use crate::model::system::{Entry, System};

pub(crate) const DIRECTORY: &str = "/var/lib/kpatch";
/// File name prefix of replaced modules, before the kernel release.
const PREVIOUS: &str = ".previous-";
/// Separator of release and file name in these names; [`name_fault`] refuses it in the name of a file to install.
const PREVIOUS_SEPARATOR: char = ':';

/// An installed module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Kernel release that the module is installed for; the name of its directory.
    pub(crate) release: String,
    /// File name.
    pub(crate) file: String,
    /// Reason why the directory entry cannot be a module.
    pub(crate) fault: Option<&'static str>,
}

impl Installed {
    pub(crate) fn new(release: &str, file: &str) -> Self {
        Self { release: release.to_owned(), file: file.to_owned(), fault: None }
    }

    /// Name in the listing: the file name without `.ko`, with an underscore for each `-` and for each character that would
    /// break a line or a column.
    pub(crate) fn name(&self) -> String {
        one_word(&normalized(&self.file))
    }

    /// Path on the machine.
    pub(crate) fn path(&self) -> String {
        format!("{DIRECTORY}/{}/{}", self.release, self.file)
    }

    /// Path of the module after it was replaced.
    pub(crate) fn previous_path(&self) -> String {
        previous_path(&self.release, &self.file)
    }

    /// Module name in the file's content; `None` if the file cannot be read.
    pub(crate) fn module(&self, system: &System) -> Option<ModuleName> {
        let file = ModuleFile::open(&source(system, self)).ok()?;
        klp_module::Module::parse(&file.bytes).ok()?.name().ok()
    }

    /// Line and version, by the file name or else by the module name in the file's content.
    pub(crate) fn line(&self, system: &System) -> Option<(String, Version)> {
        line_of(&self.name()).or_else(|| line_of(self.module(system)?.as_str()))
    }

    /// Path with control characters escaped, for messages.
    pub(crate) fn shown(&self) -> String {
        self.path().escape_debug().to_string()
    }

    /// Error if the directory entry cannot be a module.
    pub(crate) fn usable(&self) -> Result<(), Error> {
        match self.fault {
            None => Ok(()),
            Some(fault) => Err(Error::file("read", self.shown(), io::Error::other(fault))),
        }
    }
}

/// Path of a replaced module.
pub(crate) fn previous_path(release: &str, file: &str) -> String {
    format!("{DIRECTORY}/{PREVIOUS}{release}{PREVIOUS_SEPARATOR}{file}")
}

/// Installed modules of all kernels, ordered by kernel release and file name.
pub(crate) fn installed(system: &System) -> Result<Vec<Installed>, Error> {
    let mut all = Vec::new();
    for release in system.names(DIRECTORY)? {
        // A kernel release has no white space; a directory with white space would break the listing.
        let is_one_word = release.chars().all(|c| c.is_ascii_graphic());
        if is_one_word && system.path(DIRECTORY).join(&release).is_dir() {
            all.extend(of_directory(system, &release)?);
        }
    }
    Ok(all)
}

/// Installed modules of one kernel, ordered by file name.
pub(crate) fn installed_for(system: &System, release: &KernelRelease) -> Result<Vec<Installed>, Error> {
    of_directory(system, release.as_str())
}

fn of_directory(system: &System, release: &str) -> Result<Vec<Installed>, Error> {
    let directory = format!("{DIRECTORY}/{release}");
    let is_module =
        |entry: &Entry| !entry.name.starts_with('.') && klp_module::file_stem(&entry.name).is_some();
    let entries = system.entries(&directory)?;
    Ok(entries
        .into_iter()
        .filter(is_module)
        .map(|entry| Installed {
            release: release.to_owned(),
            fault: fault(system, &directory, &entry),
            file: entry.name,
        })
        .collect())
}

/// Reason why a directory entry cannot be a module.
fn fault(system: &System, directory: &str, entry: &Entry) -> Option<&'static str> {
    if !entry.is_utf8 {
        return Some("its name is not UTF-8; rename it");
    }
    let is_link = entry.kind.is_some_and(|kind| kind.is_symlink());
    match system.path(directory).join(&entry.name).metadata() {
        Ok(found) if found.is_file() && found.len() == 0 => Some("it is empty"),
        Ok(found) if found.is_file() => None,
        Ok(_) if is_link => Some("it is a link to what is no regular file"),
        Ok(found) if found.is_dir() => Some("it is a directory, no regular file"),
        Ok(_) => Some("it is no regular file"),
        // Other errors are reported when the file is opened.
        Err(error) if is_link && error.kind() != io::ErrorKind::PermissionDenied => {
            Some("it is a link that leads to no file")
        }
        Err(_) => None,
    }
}

/// Replaced modules of all kernels, ordered by file name.
pub(crate) fn previous(system: &System) -> Result<Vec<Installed>, Error> {
    let entries = system.entries(DIRECTORY)?;
    let module = |entry: &Entry| {
        let (release, file) = entry.name.strip_prefix(PREVIOUS)?.rsplit_once(PREVIOUS_SEPARATOR)?;
        (entry.is_utf8 && klp_module::file_stem(file).is_some()).then(|| Installed::new(release, file))
    };
    Ok(entries.iter().filter_map(module).collect())
}

/// Replaced modules of one kernel.
pub(crate) fn previous_for(system: &System, release: &KernelRelease) -> Result<Vec<Installed>, Error> {
    let mut all = previous(system)?;
    all.retain(|module| module.release == release.as_str());
    Ok(all)
}

/// Installed module with the name `name`: by file name, else by the module name derived from the file name, else by the
/// module name in the file's content.
///
/// # Errors
/// Several modules match.
pub(crate) fn named(
    system: &System,
    release: &KernelRelease,
    name: &str,
) -> Result<Option<Installed>, Error> {
    let all = installed_for(system, release)?;
    if let Some(exact) = all.iter().find(|module| module.file == name) {
        return Ok(Some(exact.clone()));
    }
    let wanted = one_word(&normalized(name));
    let mut found: Vec<Installed> = all.iter().filter(|module| module.name() == wanted).cloned().collect();
    if found.is_empty() {
        let is_inside =
            |module: &&Installed| module.module(system).is_some_and(|name| name.as_str() == wanted);
        found = all.iter().filter(is_inside).cloned().collect();
    }
    if found.len() > 1 {
        let files = found.iter().map(|module| module.file.as_str()).collect::<Vec<_>>().join(", ");
        let message = format!(
            "{name} is the name of several files in {DIRECTORY}/{release}: {files}; name one of the files"
        );
        return Err(Error::Argument { message, code: 3 });
    }
    Ok(found.pop())
}

/// File of an argument: an existing path, else an installed module of the running kernel. `foo-bar`, `foo_bar` and
/// `foo-bar.ko` are the same name.
pub(crate) fn find(system: &System, argument: &Path) -> Result<Source, Error> {
    if is_file(argument) {
        return Ok(Source::argument(argument));
    }
    let not_found = || Error::NotFound { module: argument.to_owned() };
    let text = argument.to_string_lossy();
    if text.contains('/') {
        if argument.exists() {
            let message = format!("{} is no regular file", argument.display());
            return Err(Error::Argument { message, code: 3 });
        }
        return Err(not_found());
    }
    let found = named(system, &system.release()?, &text)?.ok_or_else(not_found)?;
    found.usable()?;
    Ok(source(system, &found))
}

/// True if an argument is the path of an existing file.
fn is_file(argument: &Path) -> bool {
    let text = argument.to_string_lossy();
    (text.contains('/') || klp_module::file_stem(&text).is_some()) && argument.is_file()
}

/// File of an installed module.
pub(crate) fn source(system: &System, module: &Installed) -> Source {
    Source { shown: module.path().into(), file: system.path(module.path()) }
}

/// Name of the loaded module of an argument, with a warning if it is only a guess.
///
/// For a path this is the module name in the file's content, or a name derived from the file name if the file cannot be read.
/// For a name it is the loaded module of that name, else the module in the installed file of that name.
pub(crate) fn loaded_name(system: &System, argument: &Path) -> Result<(ModuleName, Option<String>), Error> {
    if !is_file(argument) {
        return Ok((loaded_by_name(system, argument)?, None));
    }
    match name_in(&Source::argument(argument)) {
        Ok(name) => Ok((name, None)),
        Err(error) => {
            let name = module_name(argument)?;
            let warning = format!(
                "the module's name is taken from the file's name, {name}: {}",
                error.to_string().lines().next().unwrap_or_default()
            );
            Ok((name, Some(warning)))
        }
    }
}

fn loaded_by_name(system: &System, argument: &Path) -> Result<ModuleName, Error> {
    let by_argument = module_name(argument);
    if by_argument.as_ref().is_ok_and(|name| system.exists(&format!("/sys/module/{name}"))) {
        return by_argument;
    }
    let text = argument.to_string_lossy();
    if !text.contains('/')
        && let Some(installed) = named(system, &system.release()?, &text)?
        && let Some(name) = installed.module(system)
    {
        return Ok(name);
    }
    by_argument
}

/// True if two files have the same content after decompression.
pub(crate) fn same_bytes(system: &System, one: &Installed, other: &Installed) -> bool {
    let read = |module: &Installed| ModuleFile::open(&source(system, module)).map(|file| file.bytes).ok();
    read(one).is_some_and(|bytes| read(other) == Some(bytes))
}

/// Module name in the file at the path `argument`; `None` if the argument is not the path of a file.
pub(crate) fn name_in_file(argument: &Path) -> Result<Option<String>, Error> {
    if !is_file(argument) {
        return Ok(None);
    }
    name_in(&Source::argument(argument)).map(|name| Some(name.to_string()))
}

fn name_in(source: &Source) -> Result<ModuleName, Error> {
    let file = ModuleFile::open(source)?;
    let module = file.module()?;
    module.name().map_err(|error| file.refused(Refusal::NotAModule(error)))
}

/// Module name derived from the text of an argument.
pub(crate) fn module_name(argument: &Path) -> Result<ModuleName, Error> {
    let file = argument.file_name().unwrap_or(argument.as_os_str()).to_string_lossy();
    ModuleName::new(&normalized(&file)).map_err(|reason| Error::Name { reason })
}

/// Module name derived from a file name: without `.ko` and a compression suffix, with an underscore for each `-`.
pub(crate) fn normalized(file: &str) -> String {
    klp_module::file_stem(file).unwrap_or(file).replace('-', "_")
}

/// Text with an underscore for each character that is not printable ASCII.
fn one_word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

/// Reason why `install` refuses a file name; `None` if it is accepted.
pub(crate) fn name_fault(file: &str) -> Option<String> {
    /// Limit in bytes: with prefix and kernel release such a name still fits into a directory entry.
    const LONGEST: usize = 128;
    if file.len() > LONGEST {
        return Some(format!("its file's name has {} bytes, more than {LONGEST}", file.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    let wrong: BTreeSet<char> = file.chars().filter(|c| !allowed(*c)).collect();
    let wrong: Vec<String> = wrong.into_iter().map(|c| format!("{c:?}")).collect();
    if wrong.is_empty() {
        return None;
    }
    let wrong = wrong.join(", ");
    Some(format!("its file's name has {wrong}; letters, digits and . _ + ~ - may stand there"))
}

/// Selection of the modules to load at boot, from those installed for one kernel.
#[derive(Default)]
pub(crate) struct Choice {
    /// Modules to load, in order.
    pub(crate) load: Vec<Installed>,
    /// Modules left out, each with the name of the newer one.
    pub(crate) older: Vec<(Installed, String)>,
    /// Modules left out because another file, the second one, has a module of the same name or version.
    pub(crate) twins: Vec<(Installed, Installed)>,
}

/// Selects the newest module of each line, and each module once. `inside` returns the module name in a file's content.
///
/// A module named `kpatch_<kernel>_<version>_<release>` replaces all modules of its line with a lower version and release,
/// compared as numbers. A module with another name is a line of its own.
pub(crate) fn choose(modules: Vec<Installed>, inside: impl Fn(&Installed) -> Option<ModuleName>) -> Choice {
    let mut choice = Choice::default();
    let mut chosen: Vec<(Installed, String)> = Vec::new();
    for module in modules {
        let name = inside(&module).map_or_else(|| module.name(), |name| name.to_string());
        let same = |(other, its): &&mut (Installed, String)| {
            *its == name
                || line(&module, &name).zip(line(other, its)).is_some_and(|((one, _), (two, _))| one == two)
        };
        let Some((other, its)) = chosen.iter_mut().find(same) else {
            chosen.push((module, name));
            continue;
        };
        let version = |module: &Installed, name: &str| line(module, name).map(|(_, version)| version);
        let (new, old) = (version(&module, &name), version(other, its));
        if new == old {
            // Prefer the file that is named like its module, else the first one.
            let swap = module.name() == name && other.name() != *its;
            let left = if swap { std::mem::replace(other, module) } else { module };
            choice.twins.push((left, other.clone()));
        } else if new < old {
            choice.older.push((module, other.name()));
        } else {
            let newer = module.name();
            *its = name;
            choice.older.push((std::mem::replace(other, module), newer));
        }
    }
    choice.load = chosen.into_iter().map(|(module, _)| module).collect();
    choice
}

/// Version and release of a module.
pub(crate) type Version = (u64, u64);

/// Line and version of an installed module, by its file name or else by the name `module`.
pub(crate) fn line(installed: &Installed, module: &str) -> Option<(String, Version)> {
    line_of(&installed.name()).or_else(|| line_of(module))
}

/// Line, version and release in a module name `kpatch_<line>_<version>_<release>`; `None` for other names.
pub(crate) fn line_of(name: &str) -> Option<(String, Version)> {
    let mut parts = name.strip_prefix("kpatch_")?.rsplitn(3, '_');
    let release = parts.next()?.parse().ok()?;
    let version = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), (version, release)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> (Vec<String>, Vec<String>) {
        let choice = choose(files.iter().map(|file| Installed::new("6.12", file)).collect(), |_| None);
        (
            choice.load.iter().map(Installed::name).collect(),
            choice.older.iter().map(|(module, newer)| format!("{} < {newer}", module.name())).collect(),
        )
    }

    #[test]
    fn choose_compares_versions_as_numbers() {
        let (chosen, older) = names(&["kpatch-6_12-1-10.ko", "kpatch-6_12-1-2.ko", "other.ko", "other-2.ko"]);
        assert_eq!(chosen, ["kpatch_6_12_1_10", "other", "other_2"]);
        assert_eq!(older, ["kpatch_6_12_1_2 < kpatch_6_12_1_10"]);
        let (chosen, older) = names(&["kpatch-a-1-9.ko", "kpatch-a-2-1.ko", "kpatch-b-1-1.ko"]);
        assert_eq!(chosen, ["kpatch_a_2_1", "kpatch_b_1_1"]);
        assert_eq!(older, ["kpatch_a_1_9 < kpatch_a_2_1"]);
    }

    #[test]
    fn choose_selects_a_module_in_several_files_once() {
        let modules = ["a.ko", "m.ko", "z.ko.xz"].map(|file| Installed::new("6.12", file)).to_vec();
        let choice = choose(modules, |_| ModuleName::new("m").ok());
        assert_eq!(choice.load, [Installed::new("6.12", "m.ko")]);
        assert_eq!(choice.twins.len(), 2);
    }

    #[test]
    fn choose_uses_the_module_name_for_a_renamed_file() {
        let modules = ["kpatch-k-1-1.ko", "renamed.ko"].map(|file| Installed::new("6.12", file)).to_vec();
        let inside = |module: &Installed| {
            ModuleName::new(if module.file == "renamed.ko" { "kpatch_k_1_2" } else { "kpatch_k_1_1" }).ok()
        };
        assert_eq!(choose(modules, inside).load, [Installed::new("6.12", "renamed.ko")]);
    }

    #[test]
    fn module_name_normalises_paths_and_dashes() {
        for text in ["foo-bar", "foo_bar", "foo-bar.ko", "/x/foo_bar.ko"] {
            assert_eq!(module_name(Path::new(text)).unwrap().as_str(), "foo_bar");
        }
        for text in ["", "/", "..", "a b"] {
            assert!(module_name(Path::new(text)).is_err(), "{text:?}");
        }
    }
}
