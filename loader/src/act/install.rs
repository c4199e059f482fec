// SPDX-License-Identifier: GPL-2.0-or-later
//! `install` and `uninstall`: what the next boot loads. Neither touches the running kernel.

use std::ffi::OsStr;
use std::path::Path;

use klp_format::KernelRelease;

use crate::act::record::{What, recorded};
use crate::console::Console;
use crate::model::durable::{self, Kind};
use crate::model::error::Error;
use crate::model::module_file::{self, ModuleFile, refused};
use crate::model::refusal::Refusal;
use crate::model::store::{self, Installed, Source};
use crate::model::system::System;

/// The unit that loads what is installed at each boot.
pub(crate) const UNIT: &str = "kpatch.service";

/// The kernel that is meant: the named one, else the running one.
pub(crate) fn kernel(system: &System, named: Option<&str>) -> Result<KernelRelease, Error> {
    match named {
        Some(text) => KernelRelease::new(text).map_err(|reason| Error::Name { reason }),
        None => system.release(),
    }
}

/// Copies a module into the store.
pub(crate) fn install(
    system: &System,
    console: &mut Console<'_>,
    file: &Path,
    named: Option<&str>,
) -> Result<(), Error> {
    let release = kernel(system, named)?;
    let shown = file.display().to_string();
    if !file.exists() {
        return Err(Error::Argument { message: format!("{shown} doesn't exist"), code: 3 });
    }
    let base = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if module_file::stem(&base).is_none() || !file.is_file() {
        return Err(Error::Argument { message: format!("{shown} isn't a .ko file"), code: 4 });
    }
    if let Some(fault) = file.file_name().map(OsStr::to_string_lossy).as_deref().and_then(store::name_fault) {
        let message = format!("{} cannot be installed: {fault}; rename it first", shown.escape_debug());
        return Err(Error::Argument { message, code: 4 });
    }
    let source = Source { shown: file.to_owned(), file: file.to_owned() };
    let read = ModuleFile::open(&source)?;
    let name = check(&read, &source, &release)?;
    for directory in [store::DIRECTORY.to_owned(), format!("{}/{release}", store::DIRECTORY)] {
        durable::sweep(system, &directory);
    }
    let there = store::installed_for(system, &release)?;
    let new = Installed::new(release.as_str(), &base);
    if let Some(found) = there.iter().find(|module| module.name() == new.name()) {
        found.usable()?;
        return already(system, console, &read, found, &shown);
    }
    twin(system, console, &read, (&name, &shown), &there)?;
    let was_empty = store::installed(system)?.is_empty();
    console.say(format_args!("installing {shown} ({release})"));
    let installed = recorded(system, console, What::Install, &name, release.as_str(), |console| {
        if let Some(label) = durable::replace(system, &new.path(), read.raw(), Kind::Module)? {
            console.warn(label);
        }
        Ok(())
    });
    tidy(system);
    installed?;
    if was_empty {
        enable_service(system, console);
    }
    Ok(())
}

/// What can be said against a module for a kernel; its name.
fn check(read: &ModuleFile, source: &Source, release: &KernelRelease) -> Result<String, Error> {
    let module = read.module(source)?;
    let name = module.name().map_err(|error| refused(source, Refusal::NotAModule(error)))?;
    let Some(vermagic) = module.vermagic() else {
        return Err(refused(source, Refusal::NoVermagic));
    };
    let built_for = vermagic.split_whitespace().next().unwrap_or_default();
    if built_for != release.as_str() {
        let message = format!("invalid module version {built_for} for kernel {release}");
        return Err(Error::Argument { message, code: 4 });
    }
    if !module.is_livepatch() {
        return Err(refused(source, Refusal::NotALivepatch));
    }
    Ok(name.to_string())
}

/// A module of that name is there: the same one is a success, so that an interrupted package update can be repeated.
fn already(
    system: &System,
    console: &mut Console<'_>,
    read: &ModuleFile,
    found: &Installed,
    shown: &str,
) -> Result<(), Error> {
    let same = ModuleFile::open(&store::source(system, found)).is_ok_and(|other| other.bytes == read.bytes);
    if same {
        console.say(format_args!("{shown} is already installed"));
        return Ok(());
    }
    Err(Error::Installed {
        shown: shown.to_owned(),
        path: found.path(),
        name: found.name(),
        release: found.release.clone(),
    })
}

/// The same module under another file's name: a copy is of no use but does no harm; of two builds a boot could load only one.
fn twin(
    system: &System,
    console: &mut Console<'_>,
    read: &ModuleFile,
    (name, shown): (&str, &str),
    there: &[Installed],
) -> Result<(), Error> {
    let is_twin = |found: &&Installed| found.module(system).is_some_and(|its| its.as_str() == name);
    let Some(found) = there.iter().find(is_twin) else {
        return Ok(());
    };
    let same = ModuleFile::open(&store::source(system, found)).is_ok_and(|other| other.bytes == read.bytes);
    if same {
        let path = found.path();
        console.warn(format_args!("{shown} holds the module {name}, as {path} does: it is loaded once"));
        return Ok(());
    }
    Err(Error::Installed {
        shown: format!("{name}, the module in {shown},"),
        path: found.path(),
        name: found.name(),
        release: found.release.clone(),
    })
}

/// Removes the kernels' directories in which nothing is left: other programs take each for a kernel with an installed patch.
fn tidy(system: &System) {
    for release in system.names(store::DIRECTORY).unwrap_or_default() {
        // One that is not empty, or is a file, stays.
        let directory = format!("{}/{release}", store::DIRECTORY);
        durable::remove_empty_dirs(system, &directory, store::DIRECTORY);
    }
    durable::remove_empty_dirs(system, store::DIRECTORY, "/var/lib");
}

fn enable_service(system: &System, console: &mut Console<'_>) {
    if let Err(message) = system.kernel().enable_unit(UNIT, system.root()) {
        console.warn(format_args!(
            "the module is installed, but {UNIT} could not be enabled ({message}): nothing is loaded at boot until it is"
        ));
    }
}

/// Takes a module out of the store. With `keep`, or where a newer one of its line is there, it is kept for `rollback`.
pub(crate) fn uninstall(
    system: &System,
    console: &mut Console<'_>,
    argument: &Path,
    named: Option<&str>,
    keep: bool,
) -> Result<(), Error> {
    let release = kernel(system, named)?;
    let text = argument.to_string_lossy();
    if text.contains('/') {
        let message = "please supply patch module name without path".to_owned();
        return Err(Error::Argument { message, code: 2 });
    }
    let Some(module) = store::named(system, &release, &text)? else {
        let message = format!("{text} is not installed for kernel {release}");
        return Err(Error::Argument { message, code: 3 });
    };
    console.say(format_args!("uninstalling {text} ({release})"));
    recorded(system, console, What::Uninstall, &module.name(), release.as_str(), |_| {
        if keep || has_newer(system, &release, &module)? {
            set_aside(system, &release, &module)?;
        } else {
            durable::remove(system, &module.path())?;
        }
        Ok(())
    })?;
    durable::sweep(system, &format!("{}/{release}", store::DIRECTORY));
    tidy(system);
    Ok(())
}

/// Line and version of an installed module.
pub(crate) fn line(system: &System, module: &Installed) -> Option<(String, (u64, u64))> {
    store::line_of(&module.name()).or_else(|| store::line_of(module.module(system)?.as_str()))
}

fn has_newer(system: &System, release: &KernelRelease, module: &Installed) -> Result<bool, Error> {
    let Some((own, version)) = line(system, module) else {
        return Ok(false);
    };
    let newer =
        |other: &Installed| line(system, other).is_some_and(|(found, its)| found == own && its > version);
    Ok(store::installed_for(system, release)?.iter().any(newer))
}

/// Moves a module to where `rollback` finds it; of its line only this one stays there.
pub(crate) fn set_aside(system: &System, release: &KernelRelease, module: &Installed) -> Result<(), Error> {
    let own = line(system, module).map(|(line, _)| line);
    durable::rename(system, &module.path(), &module.previous_path())?;
    for other in store::previous_for(system, release)? {
        let its = store::line_of(&other.name()).map(|(line, _)| line);
        if other.file != module.file && its.is_some() && its == own {
            durable::remove(system, &other.previous_path())?;
        }
    }
    Ok(())
}

/// Takes the modules of kernels out of the store that are no longer on this machine. `dry_run` only says which.
pub(crate) fn prune(system: &System, console: &mut Console<'_>, dry_run: bool) -> Result<(), Error> {
    let running = system.release()?;
    if !["/lib/modules", "/usr/lib/modules", "/boot"].iter().any(|path| system.exists(path)) {
        return Err(Error::Argument {
            message: "there is neither /lib/modules nor /boot here: which kernels are gone cannot be told"
                .to_owned(),
            code: 1,
        });
    }
    let gone = |release: &str| {
        // Other directories are not ours.
        KernelRelease::new(release).is_ok_and(|release| release != running)
            && !["/lib/modules/", "/usr/lib/modules/", "/boot/vmlinuz-"]
                .iter()
                .any(|start| system.exists(&format!("{start}{release}")))
    };
    for module in store::installed(system)?.into_iter().filter(|module| gone(&module.release)) {
        let (name, release) = (module.name(), &module.release);
        if dry_run {
            console.say(format_args!("would uninstall {name} ({release})"));
            continue;
        }
        console.say(format_args!("uninstalling {name} ({release})"));
        recorded(system, console, What::Prune, &name, release, |_| durable::remove(system, &module.path()))?;
    }
    if dry_run {
        return Ok(());
    }
    for module in store::previous(system)?.into_iter().filter(|module| gone(&module.release)) {
        durable::remove(system, &module.previous_path())?;
    }
    tidy(system);
    Ok(())
}
