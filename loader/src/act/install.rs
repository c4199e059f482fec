// SPDX-License-Identifier: GPL-2.0-or-later
//! `install` and `uninstall`: the set of modules that the next boot loads. The running kernel does not change.

use std::ffi::OsStr;
use std::path::Path;

use klp_format::KernelRelease;

use crate::act::record::recorded;
use crate::console::Console;
use crate::model::bugs;
use crate::model::durable::{self, FileKind};
use crate::model::error::Error;
use crate::model::history::Action;
use crate::model::module_file::{ModuleFile, Source};
use crate::model::refusal::Refusal;
use crate::model::service;
use crate::model::store::{self, Installed};
use crate::model::system::System;

/// Kernel release named on the command line, else the running one.
fn kernel(system: &System, named: Option<&str>) -> Result<KernelRelease, Error> {
    match named {
        Some(text) => KernelRelease::new(text).map_err(|reason| Error::Name { reason }),
        None => system.release(),
    }
}

/// Verb `install`: copies a module into the store. With `enable`, the first module enables the service.
pub(crate) fn install(
    system: &System,
    console: &mut Console<'_>,
    file: &Path,
    named: Option<&str>,
    enable: bool,
) -> Result<(), Error> {
    let release = kernel(system, named)?;
    let shown = file.display().to_string();
    if !file.exists() {
        return Err(Error::Argument { message: format!("{shown} doesn't exist"), code: 3 });
    }
    let base = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if klp_module::file_stem(&base).is_none() || !file.is_file() {
        return Err(Error::Argument { message: format!("{shown} isn't a .ko file"), code: 4 });
    }
    if let Some(fault) = file.file_name().map(OsStr::to_string_lossy).as_deref().and_then(store::name_fault) {
        let message = format!("{} cannot be installed: {fault}; rename it first", shown.escape_debug());
        return Err(Error::Argument { message, code: 4 });
    }
    let read = ModuleFile::open(&Source::argument(file))?;
    let name = check(&read, &release)?;
    for directory in [store::DIRECTORY.to_owned(), format!("{}/{release}", store::DIRECTORY)] {
        durable::sweep(system, &directory);
    }
    let there = store::installed_for(system, &release)?;
    let new = Installed::new(release.as_str(), &base);
    if let Some(found) = there.iter().find(|module| module.name() == new.name()) {
        found.usable()?;
        return installed_already(system, console, &read, found, &shown);
    }
    check_twin(system, console, &read, (&name, &shown), &there)?;
    let was_empty = store::installed(system)?.is_empty();
    console.say(format_args!("installing {shown} ({release})"));
    let installed = recorded(system, console, Action::Install, &name, release.as_str(), |console| {
        if let Some(label) = durable::replace(system, &new.path(), read.raw(), FileKind::Module)? {
            console.warn(label);
        }
        Ok(())
    });
    tidy(system);
    installed?;
    if was_empty && enable {
        enable_service(system, console);
    }
    Ok(())
}

/// Checks that a module is a live patch for a kernel release; returns the module name.
fn check(read: &ModuleFile, release: &KernelRelease) -> Result<String, Error> {
    let module = read.module()?;
    let name = module.name().map_err(|error| read.refused(Refusal::NotAModule(error)))?;
    let Some(vermagic) = module.vermagic() else {
        return Err(read.refused(Refusal::NoVermagic));
    };
    let built_for = vermagic.split_whitespace().next().unwrap_or_default();
    if built_for != release.as_str() {
        let message = format!("invalid module version {built_for} for kernel {release}");
        return Err(Error::Argument { message, code: 4 });
    }
    if !module.is_livepatch() {
        return Err(read.refused(Refusal::NotALivepatch));
    }
    Ok(name.to_string())
}

/// Result for a module name that is installed already: success for the same content, so that an interrupted package update can
/// be repeated.
fn installed_already(
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

/// Checks for the same module name in another installed file. A copy produces a warning; another build is an error, since a boot
/// can load only one of them.
fn check_twin(
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

/// Removes records of bugs in modules that are neither installed, kept nor loaded, and empty directories of kernels, which other
/// programs take for kernels with an installed patch.
fn tidy(system: &System) {
    // A record that stays does no harm: another build of the module has another identity.
    let _ = sweep_bugs(system);
    for release in system.names(store::DIRECTORY).unwrap_or_default() {
        // Directories with content and plain files stay.
        let directory = format!("{}/{release}", store::DIRECTORY);
        durable::remove_empty_dirs(system, &directory, store::DIRECTORY);
    }
    durable::remove_empty_dirs(system, store::DIRECTORY, "/var/lib");
}

fn sweep_bugs(system: &System) -> Result<(), Error> {
    let modules = bugs::modules(system)?;
    if modules.is_empty() {
        return Ok(());
    }
    let mut all = store::installed(system)?;
    all.extend(store::previous(system)?);
    for module in modules {
        let is_there = |installed: &Installed| {
            installed.name() == module || installed.module(system).is_some_and(|name| name.as_str() == module)
        };
        if !system.exists(&format!("/sys/module/{module}")) && !all.iter().any(is_there) {
            bugs::remove(system, &module)?;
        }
    }
    Ok(())
}

fn enable_service(system: &System, console: &mut Console<'_>) {
    if let Err(message) = system.kernel().enable_unit(service::UNIT, system.root()) {
        console.warn(format_args!(
            "the module is installed, but {} could not be enabled ({message}): nothing is loaded at boot until it is",
            service::UNIT
        ));
    }
}

/// Verb `uninstall`: removes a module from the store. With `keep`, or if a newer module of its line is installed, the file is kept
/// for `rollback`.
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
    recorded(system, console, Action::Uninstall, &module.name(), release.as_str(), |_| {
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

fn has_newer(system: &System, release: &KernelRelease, module: &Installed) -> Result<bool, Error> {
    let Some((own, version)) = module.line(system) else {
        return Ok(false);
    };
    let newer =
        |other: &Installed| other.line(system).is_some_and(|(found, its)| found == own && its > version);
    Ok(store::installed_for(system, release)?.iter().any(newer))
}

/// Keeps a module for `rollback`, instead of an older one of its line.
pub(crate) fn set_aside(system: &System, release: &KernelRelease, module: &Installed) -> Result<(), Error> {
    let own = module.line(system).map(|(line, _)| line);
    durable::rename(system, &module.path(), &module.previous_path())?;
    for other in store::previous_for(system, release)? {
        let its = store::line_of(&other.name()).map(|(line, _)| line);
        if other.file != module.file && its.is_some() && its == own {
            durable::remove(system, &other.previous_path())?;
        }
    }
    Ok(())
}

/// Verb `uninstall --prune`: removes the modules of kernels that are no longer on this machine. `dry_run` only lists them.
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
        // A directory whose name is not a kernel release is not part of the store.
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
        recorded(system, console, Action::Prune, &name, release, |_| {
            durable::remove(system, &module.path())
        })?;
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
