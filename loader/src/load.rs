// SPDX-License-Identifier: GPL-2.0-or-later
//! `load`: inserts a live patch and waits until it is in effect.

use std::fs::File;
use std::io::Read;

use klp_format::ModuleName;
use klp_module::Module;
use rustix::io::Errno;

use crate::console::Console;
use crate::kmsg::Log;
use crate::livepatch::{self, State};
use crate::store::{self, Source};
use crate::transition::{self, Outcome};
use crate::unload::{self, BUSY_ATTEMPTS, BUSY_INTERVAL, Voice};
use crate::{Error, Refusal, System, check};

/// The largest file that is read, in bytes: many times that of a module with full debug information.
const FILE_MAX: u64 = 256 << 20;

/// Every module that is installed for the running kernel, the newest of each line. One that fails does not keep the others
/// from being loaded.
pub(crate) fn all(system: &System, console: &mut Console<'_>, check: bool) -> Result<(), Error> {
    let installed = store::installed_for(system, &system.release()?)?;
    let (modules, older) = store::newest(installed);
    for (module, newer) in older {
        console.say(format_args!("not loading {}: {newer} is newer", module.name()));
    }
    let total = modules.len();
    let mut failed = 0;
    for module in modules {
        if let Err(error) = one(system, console, &store::source(system, &module), check) {
            console.error(&error);
            failed += 1;
        }
    }
    if failed == 0 { Ok(()) } else { Err(Error::SomeFailed { action: "loaded", failed, total }) }
}

/// One module. With `check` false only the kernel judges it.
pub(crate) fn one(
    system: &System,
    console: &mut Console<'_>,
    source: &Source,
    check: bool,
) -> Result<(), Error> {
    let (file, bytes) = open(source)?;
    let refused = |refusals| Error::Refused { path: source.shown.clone(), refusals };
    let not_a_module = |error| refused(vec![Refusal::NotAModule(error)]);
    let parsed = Module::parse(&bytes).and_then(|module| Ok((module.name()?, module)));
    let (name, module) = match parsed {
        Ok((name, module)) => (name, Some(module)),
        Err(error) if check => return Err(not_a_module(error)),
        // Should the kernel take it all the same, then most likely under its file's name.
        Err(_) => (store::module_name(&source.shown)?, None),
    };

    if is_on_already(system, console, source, &name, module.as_ref())? {
        return finish(system, console, &name);
    }
    if let Some(module) = module.filter(|_| check) {
        let refusals = check::refusals(system, &module)?;
        if !refusals.is_empty() {
            return Err(refused(refusals));
        }
    }
    // What is left of it from before, replaced or disabled, patches nothing.
    match livepatch::is_loaded_livepatch(system, &name)? {
        None => {}
        Some(true) => unload::remove(system, console, &name, Voice::Quiet)?,
        Some(false) => return Err(Error::LoadedOther { module: name, action: "load a patch over" }),
    }
    console.say(format_args!("loading patch module: {}", source.shown.display()));
    insert(system, console, source, &file)?;
    if livepatch::state(system, name.as_str())?.is_none() {
        return Err(Error::PatchedNothing { module: name });
    }
    finish(system, console, &name)
}

/// Whether the patch is loaded and enabled, or could be turned round on its way out.
fn is_on_already(
    system: &System,
    console: &mut Console<'_>,
    source: &Source,
    name: &ModuleName,
    module: Option<&Module<'_>>,
) -> Result<bool, Error> {
    let other_build = || module.is_some_and(|module| is_other_build(system, module, name));
    match livepatch::state(system, name.as_str())? {
        Some(state) if state.is_on() => {
            console.say(format_args!("module named {name} already loaded and enabled"));
            if other_build() {
                let path = source.shown.display();
                console.warn(format_args!(
                    "the loaded module {name} is another build than {path}: unload it first to load this one"
                ));
            }
            Ok(true)
        }
        Some(State::Disabling) if other_build() => {
            Err(Error::OtherBuild { module: name.clone(), path: source.shown.clone() })
        }
        Some(State::Disabling) => re_enable(system, console, name),
        _ => Ok(false),
    }
}

fn open(source: &Source) -> Result<(File, Vec<u8>), Error> {
    let error = |action, error| Error::file(action, &source.shown, error);
    let mut file = File::open(&source.file).map_err(|source| error("open", source))?;
    let length = file.metadata().map_err(|source| error("read", source))?.len();
    if length > FILE_MAX {
        return Err(Error::TooLarge { path: source.shown.clone(), length, limit: FILE_MAX });
    }
    let mut bytes = Vec::new();
    (&mut file).take(FILE_MAX).read_to_end(&mut bytes).map_err(|source| error("read", source))?;
    Ok((file, bytes))
}

/// Turns a patch that is being disabled round. `false`: it was too late, the patch is disabled.
fn re_enable(system: &System, console: &mut Console<'_>, name: &ModuleName) -> Result<bool, Error> {
    console.say("module already loaded, re-enabling");
    match livepatch::set_enabled(system, name, true) {
        Some(Ok(())) => Ok(true),
        // The kernel refuses to enable a patch that is disabled; it has to be inserted again.
        None | Some(Err(Errno::INVAL)) => Ok(false),
        Some(Err(errno)) => Err(Error::Enable { module: name.clone(), errno }),
    }
}

fn insert(system: &System, console: &mut Console<'_>, source: &Source, file: &File) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        let mut log = Log::from_here(system);
        let Err(errno) = system.kernel().insert(file) else {
            return Ok(());
        };
        let changing = if errno == Errno::BUSY { livepatch::changing(system)? } else { None };
        if errno != Errno::BUSY || attempt == BUSY_ATTEMPTS {
            let log = log.kernel_lines();
            return Err(Error::Insert { path: source.shown.clone(), errno, changing, log });
        }
        match changing {
            Some(patch) => console.warn(format_args!("the kernel is busy: patch {patch} is in transition")),
            None => console.warn("the kernel is busy"),
        }
        console.warn("retrying...");
        attempt += 1;
        system.kernel().sleep(BUSY_INTERVAL);
    }
}

/// Waits for the transition; a patch that stalls is taken out again.
fn finish(system: &System, console: &mut Console<'_>, name: &ModuleName) -> Result<(), Error> {
    if transition::wait(system, console, name.as_str())? == Outcome::Complete {
        let is_on = livepatch::state(system, name.as_str())?.is_some_and(State::is_on);
        let overtaken = || Error::Overtaken { module: name.clone(), state: "no longer enabled" };
        return if is_on { Ok(()) } else { Err(overtaken()) };
    }
    console.say(format_args!("module {name} did not complete its transition, unloading..."));
    let undone = unload::one(system, console, name).map_err(Box::new);
    Err(Error::LoadStalled { module: name.clone(), undone })
}

/// Whether the loaded module of that name has another build id. Where one of the two has none, nothing is known.
fn is_other_build(system: &System, module: &Module<'_>, name: &ModuleName) -> bool {
    const SECTION: &str = ".note.gnu.build-id";
    let loaded = system.read_bytes(&format!("/sys/module/{name}/notes/{SECTION}"));
    match (loaded, module.section(SECTION)) {
        (Ok(Some(loaded)), Some(section)) => loaded != section.data,
        _ => false,
    }
}
