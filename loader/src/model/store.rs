// SPDX-License-Identifier: GPL-2.0-or-later
//! The installed modules, `/var/lib/kpatch/<kernel release>/<file>.ko`, and how an argument finds a module.
//!
//! Programs that others wrote take each directory below `/var/lib/kpatch` for a kernel with an installed patch, and each file in
//! such a directory for a patch. What is not installed therefore lies beside these directories, as plain hidden files:
//! `.previous-<kernel release>:<file>.ko` for `rollback`, `.trial-<module>` ([`crate::model::trial`]), `.history`
//! ([`crate::act::record`]).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use klp_format::{KernelRelease, ModuleName};

use crate::console::Console;
use crate::model::error::Error;
use crate::model::module_file::{self, ModuleFile};
use crate::model::system::{Entry, System};

pub(crate) const DIRECTORY: &str = "/var/lib/kpatch";
/// How the files of replaced modules are called, before the kernel's release; not listed.
const PREVIOUS: &str = ".previous-";
/// What stands between the release and the file's name there; no file that `install` takes has it in its name.
const PREVIOUS_SEPARATOR: char = ':';

/// An installed module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// The directory it lies in: the kernel that it is for.
    pub(crate) release: String,
    /// Its file's name.
    pub(crate) file: String,
    /// Why it cannot be a module's file, from its directory entry alone.
    pub(crate) fault: Option<&'static str>,
}

impl Installed {
    pub(crate) fn new(release: &str, file: &str) -> Self {
        Self { release: release.to_owned(), file: file.to_owned(), fault: None }
    }

    /// The name that the listing shows, one word: the file's, less `.ko`, each `-` an underscore, and each character that would
    /// break a line or a column.
    pub(crate) fn name(&self) -> String {
        one_word(&normalized(&self.file))
    }

    /// Its path on the machine.
    pub(crate) fn path(&self) -> String {
        format!("{DIRECTORY}/{}/{}", self.release, self.file)
    }

    /// Its path where it was replaced and is kept.
    pub(crate) fn previous_path(&self) -> String {
        previous_path(&self.release, &self.file)
    }

    /// The name of the module in its file; `None` where that cannot be read.
    pub(crate) fn module(&self, system: &System) -> Option<ModuleName> {
        let file = ModuleFile::open(&source(system, self)).ok()?;
        klp_module::Module::parse(&file.bytes).ok()?.name().ok()
    }

    /// Its path with every character shown that a terminal would not show.
    pub(crate) fn shown(&self) -> String {
        self.path().escape_debug().to_string()
    }

    /// An error where it cannot be a module's file.
    pub(crate) fn usable(&self) -> Result<(), Error> {
        match self.fault {
            None => Ok(()),
            Some(fault) => Err(Error::file("read", self.shown(), io::Error::other(fault))),
        }
    }
}

/// Where a replaced module is kept.
pub(crate) fn previous_path(release: &str, file: &str) -> String {
    format!("{DIRECTORY}/{PREVIOUS}{release}{PREVIOUS_SEPARATOR}{file}")
}

/// A module's file: as the operator calls it, and where it really is.
pub(crate) struct Source {
    pub(crate) shown: PathBuf,
    pub(crate) file: PathBuf,
}

/// Every installed module of every kernel, in order.
pub(crate) fn installed(system: &System) -> Result<Vec<Installed>, Error> {
    let mut all = Vec::new();
    for release in system.names(DIRECTORY)? {
        // No kernel has white space in its release, and no line of the listing.
        let is_one_word = release.chars().all(|c| c.is_ascii_graphic());
        if is_one_word && system.path(DIRECTORY).join(&release).is_dir() {
            all.extend(of_directory(system, &release)?);
        }
    }
    Ok(all)
}

/// The modules installed for one kernel, in order.
pub(crate) fn installed_for(system: &System, release: &KernelRelease) -> Result<Vec<Installed>, Error> {
    of_directory(system, release.as_str())
}

fn of_directory(system: &System, release: &str) -> Result<Vec<Installed>, Error> {
    let directory = format!("{DIRECTORY}/{release}");
    let is_module = |entry: &Entry| !entry.name.starts_with('.') && module_file::stem(&entry.name).is_some();
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

/// Why an entry cannot be a module's file.
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
        // What may not be looked at, or is damaged, is said where it is opened.
        Err(error) if is_link && error.kind() != io::ErrorKind::PermissionDenied => {
            Some("it is a link that leads to no file")
        }
        Err(_) => None,
    }
}

/// The replaced modules that are kept, of all kernels, in order.
pub(crate) fn previous(system: &System) -> Result<Vec<Installed>, Error> {
    let entries = system.entries(DIRECTORY)?;
    let module = |entry: &Entry| {
        let (release, file) = entry.name.strip_prefix(PREVIOUS)?.rsplit_once(PREVIOUS_SEPARATOR)?;
        (entry.is_utf8 && module_file::stem(file).is_some()).then(|| Installed::new(release, file))
    };
    Ok(entries.iter().filter_map(module).collect())
}

/// Those of one kernel.
pub(crate) fn previous_for(system: &System, release: &KernelRelease) -> Result<Vec<Installed>, Error> {
    let mut all = previous(system)?;
    all.retain(|module| module.release == release.as_str());
    Ok(all)
}

/// Of a kernel's modules the one that is meant: by its file's name, else by the file's name as a module's, else by the name of
/// the module in the file. Several of one name are an error.
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

/// The file that an argument means: a path, where it looks like one and there is such a file; else the module of that name
/// that is installed for the running kernel. `foo-bar`, `foo_bar` and `foo-bar.ko` are one name.
pub(crate) fn find(system: &System, argument: &Path) -> Result<Source, Error> {
    if is_file(argument) {
        return Ok(Source { shown: argument.to_owned(), file: argument.to_owned() });
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

/// Whether an argument looks like a path, and there is such a file.
fn is_file(argument: &Path) -> bool {
    let text = argument.to_string_lossy();
    (text.contains('/') || module_file::stem(&text).is_some()) && argument.is_file()
}

/// An installed module's file.
pub(crate) fn source(system: &System, module: &Installed) -> Source {
    Source { shown: module.path().into(), file: system.path(module.path()) }
}

/// The loaded module that an argument means. What is in a file has the name that stands in it, whatever the file is called:
/// so it is with a path, and with the name of an installed file, unless a module of that very name is loaded.
pub(crate) fn loaded_name(
    system: &System,
    console: &mut Console<'_>,
    argument: &Path,
) -> Result<ModuleName, Error> {
    if is_file(argument) {
        match name_in(&Source { shown: argument.to_owned(), file: argument.to_owned() }) {
            Ok(name) => return Ok(name),
            Err(error) => {
                let base = module_name(argument)?;
                console.warn(format_args!(
                    "the module's name is taken from the file's name, {base}: {}",
                    error.to_string().lines().next().unwrap_or_default()
                ));
                return Ok(base);
            }
        }
    }
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

/// Whether two files hold the very same module.
pub(crate) fn same_bytes(system: &System, one: &Installed, other: &Installed) -> bool {
    let read = |module: &Installed| ModuleFile::open(&source(system, module)).map(|file| file.bytes).ok();
    read(one).is_some_and(|bytes| read(other) == Some(bytes))
}

/// The name of the module in the file that an argument is the path of; `None` where it is none.
pub(crate) fn name_in_file(argument: &Path) -> Result<Option<String>, Error> {
    if !is_file(argument) {
        return Ok(None);
    }
    name_in(&Source { shown: argument.to_owned(), file: argument.to_owned() })
        .map(|name| Some(name.to_string()))
}

/// The name of the module in a file.
fn name_in(source: &Source) -> Result<ModuleName, Error> {
    let file = ModuleFile::open(source)?;
    let module = file.module(source)?;
    module
        .name()
        .map_err(|error| module_file::refused(source, crate::model::refusal::Refusal::NotAModule(error)))
}

/// The module's name that an argument's own text is.
pub(crate) fn module_name(argument: &Path) -> Result<ModuleName, Error> {
    let file = argument.file_name().unwrap_or(argument.as_os_str()).to_string_lossy();
    ModuleName::new(&normalized(&file)).map_err(|reason| Error::Name { reason })
}

/// File name to module name: one trailing `.ko` (with what says that it is compressed) off, each `-` an underscore.
pub(crate) fn normalized(file: &str) -> String {
    module_file::stem(file).unwrap_or(file).replace('-', "_")
}

/// What stands in one column of one line.
fn one_word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

/// Why no module may be installed under a file's name; `None` where it may.
pub(crate) fn name_fault(file: &str) -> Option<String> {
    /// With the kernel's release and what is put before it, such a name still fits into a directory entry.
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

/// What of a kernel's modules a boot loads, and what it does not.
#[derive(Default)]
pub(crate) struct Choice {
    /// The modules to load, in order.
    pub(crate) load: Vec<Installed>,
    /// Those left out, with the name of the newer one.
    pub(crate) older: Vec<(Installed, String)>,
    /// Those whose file holds the same module as another one, with that one.
    pub(crate) twins: Vec<(Installed, Installed)>,
}

/// Of the modules that replace each other the newest one each, and each module once. `inside` gives the name of the module in a
/// file.
///
/// A module named `kpatch_<kernel>_<version>_<release>` replaces all of its kernel with a lower version and release, compared as
/// numbers. Others stand for themselves.
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
            // The one that is called as the module is, else the first.
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

/// Line and version of an installed module, by its file's name or the module's.
pub(crate) fn line(installed: &Installed, module: &str) -> Option<(String, (u64, u64))> {
    line_of(&installed.name()).or_else(|| line_of(module))
}

/// Line, version and release of a module that is named by the convention `kpatch_<kernel>_<version>_<release>`.
pub(crate) fn line_of(name: &str) -> Option<(String, (u64, u64))> {
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
    fn the_newest_of_a_line_is_chosen_by_number() {
        let (chosen, older) = names(&["kpatch-6_12-1-10.ko", "kpatch-6_12-1-2.ko", "other.ko", "other-2.ko"]);
        assert_eq!(chosen, ["kpatch_6_12_1_10", "other", "other_2"]);
        assert_eq!(older, ["kpatch_6_12_1_2 < kpatch_6_12_1_10"]);
        let (chosen, older) = names(&["kpatch-a-1-9.ko", "kpatch-a-2-1.ko", "kpatch-b-1-1.ko"]);
        assert_eq!(chosen, ["kpatch_a_2_1", "kpatch_b_1_1"]);
        assert_eq!(older, ["kpatch_a_1_9 < kpatch_a_2_1"]);
    }

    #[test]
    fn one_module_in_several_files_is_chosen_once() {
        let modules = ["a.ko", "m.ko", "z.ko.xz"].map(|file| Installed::new("6.12", file)).to_vec();
        let choice = choose(modules, |_| ModuleName::new("m").ok());
        assert_eq!(choice.load, [Installed::new("6.12", "m.ko")]);
        assert_eq!(choice.twins.len(), 2);
    }

    #[test]
    fn a_renamed_file_is_of_the_line_of_its_module() {
        let modules = ["kpatch-k-1-1.ko", "renamed.ko"].map(|file| Installed::new("6.12", file)).to_vec();
        let inside = |module: &Installed| {
            ModuleName::new(if module.file == "renamed.ko" { "kpatch_k_1_2" } else { "kpatch_k_1_1" }).ok()
        };
        assert_eq!(choose(modules, inside).load, [Installed::new("6.12", "renamed.ko")]);
    }

    #[test]
    fn arguments_are_one_name() {
        for text in ["foo-bar", "foo_bar", "foo-bar.ko", "/x/foo_bar.ko"] {
            assert_eq!(module_name(Path::new(text)).unwrap().as_str(), "foo_bar");
        }
        for text in ["", "/", "..", "a b"] {
            assert!(module_name(Path::new(text)).is_err(), "{text:?}");
        }
    }
}
