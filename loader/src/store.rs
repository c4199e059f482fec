// SPDX-License-Identifier: GPL-2.0-or-later
//! The installed modules, `/var/lib/kpatch/<kernel release>/<file>.ko`, and how an argument finds a module.

use std::path::{Path, PathBuf};

use klp_format::{KernelRelease, ModuleName};

use crate::{Error, System, module_file};

pub(crate) const DIRECTORY: &str = "/var/lib/kpatch";
/// The modules that were replaced, by kernel as the others; not listed.
pub(crate) const PREVIOUS: &str = "/var/lib/kpatch/.previous";

/// An installed module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// The directory it lies in: the kernel that it is for.
    pub(crate) release: String,
    /// Its file's name.
    pub(crate) file: String,
}

impl Installed {
    /// The name that the listing shows: the file's, less `.ko`, each `-` an underscore.
    pub(crate) fn name(&self) -> String {
        normalized(&self.file)
    }

    /// Its path on the machine.
    pub(crate) fn path(&self) -> String {
        format!("{DIRECTORY}/{}/{}", self.release, self.file)
    }

    /// Its path where it was replaced and is kept.
    pub(crate) fn previous_path(&self) -> String {
        format!("{PREVIOUS}/{}/{}", self.release, self.file)
    }
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
        if system.path(DIRECTORY).join(&release).is_dir() {
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
    files_of(system, &format!("{DIRECTORY}/{release}"), release)
}

fn files_of(system: &System, directory: &str, release: &str) -> Result<Vec<Installed>, Error> {
    let files = system.names(directory)?;
    let modules = files.into_iter().filter(|file| module_file::stem(file).is_some());
    Ok(modules.map(|file| Installed { release: release.to_owned(), file }).collect())
}

/// The replaced modules that are kept for one kernel, in order.
pub(crate) fn previous_for(system: &System, release: &KernelRelease) -> Result<Vec<Installed>, Error> {
    files_of(system, &format!("{PREVIOUS}/{release}"), release.as_str())
}

/// Of a kernel's modules the one of this name.
pub(crate) fn named(
    system: &System,
    release: &KernelRelease,
    name: &str,
) -> Result<Option<Installed>, Error> {
    let wanted = normalized(name);
    Ok(installed_for(system, release)?.into_iter().find(|module| module.name() == wanted))
}

/// The file that an argument means: a path, where it looks like one and there is such a file; else the module of that name
/// that is installed for the running kernel. `foo-bar`, `foo_bar` and `foo-bar.ko` are one name.
pub(crate) fn find(system: &System, argument: &Path) -> Result<Source, Error> {
    let text = argument.to_string_lossy();
    let is_path = text.contains('/') || module_file::stem(&text).is_some();
    if is_path && argument.is_file() {
        return Ok(Source { shown: argument.to_owned(), file: argument.to_owned() });
    }
    let not_found = || Error::NotFound { module: argument.to_owned() };
    if text.contains('/') {
        return Err(not_found());
    }
    let found = named(system, &system.release()?, &text)?.ok_or_else(not_found)?;
    Ok(source(system, &found))
}

/// An installed module's file.
pub(crate) fn source(system: &System, module: &Installed) -> Source {
    Source { shown: module.path().into(), file: system.path(module.path()) }
}

/// The loaded module that an argument means, from its name alone.
pub(crate) fn module_name(argument: &Path) -> Result<ModuleName, Error> {
    let file = argument.file_name().unwrap_or(argument.as_os_str()).to_string_lossy();
    ModuleName::new(&normalized(&file)).map_err(|reason| Error::Name { reason })
}

/// File name to module name: one trailing `.ko` (with what says that it is compressed) off, each `-` an underscore.
pub(crate) fn normalized(file: &str) -> String {
    module_file::stem(file).unwrap_or(file).replace('-', "_")
}

/// Of the modules that replace each other the newest one each: a module named `kpatch_<kernel>_<version>_<release>` replaces
/// all of its kernel with a lower version and release, compared as numbers. Others stand for themselves.
///
/// Returns the modules to load, in order, and those left out with the name of the newer one.
pub(crate) fn newest(modules: Vec<Installed>) -> (Vec<Installed>, Vec<(Installed, String)>) {
    let mut chosen: Vec<Installed> = Vec::new();
    let mut older = Vec::new();
    for module in modules {
        let Some((line, version)) = line_of(&module.name()) else {
            chosen.push(module);
            continue;
        };
        let same = |other: &&mut Installed| line_of(&other.name()).is_some_and(|(found, _)| found == line);
        match chosen.iter_mut().find(same) {
            None => chosen.push(module),
            Some(other) if line_of(&other.name()).is_some_and(|(_, found)| found > version) => {
                older.push((module, other.name()));
            }
            Some(other) => {
                let newer = module.name();
                older.push((std::mem::replace(other, module), newer));
            }
        }
    }
    (chosen, older)
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

    fn choose(files: &[&str]) -> (Vec<String>, Vec<String>) {
        let module = |file: &&str| Installed { release: "6.12".into(), file: (*file).to_owned() };
        let (chosen, older) = newest(files.iter().map(module).collect());
        (
            chosen.iter().map(Installed::name).collect(),
            older.iter().map(|(module, newer)| format!("{} < {newer}", module.name())).collect(),
        )
    }

    #[test]
    fn the_newest_of_a_line_is_chosen_by_number() {
        let (chosen, older) =
            choose(&["kpatch-6_12-1-10.ko", "kpatch-6_12-1-2.ko", "other.ko", "other-2.ko"]);
        assert_eq!(chosen, ["kpatch_6_12_1_10", "other", "other_2"]);
        assert_eq!(older, ["kpatch_6_12_1_2 < kpatch_6_12_1_10"]);
        let (chosen, older) = choose(&["kpatch-a-1-9.ko", "kpatch-a-2-1.ko", "kpatch-b-1-1.ko"]);
        assert_eq!(chosen, ["kpatch_a_2_1", "kpatch_b_1_1"]);
        assert_eq!(older, ["kpatch_a_1_9 < kpatch_a_2_1"]);
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
