// SPDX-License-Identifier: GPL-2.0-or-later
//! `load`: inserts a live patch and waits until it is in effect.

use std::time::Duration;

use klp_format::ModuleName;
use klp_module::Module;
use rustix::io::Errno;

use crate::act::record::{What, recorded};
use crate::act::transition::{self, OnStall, Outcome, Patience};
use crate::act::unload::{self, BUSY_ATTEMPTS, BUSY_INTERVAL, Voice};
use crate::console::Console;
use crate::judge::check;
use crate::model::error::Error;
use crate::model::kmsg::Log;
use crate::model::livepatch::{self, State};
use crate::model::module_file::{self, ModuleFile, refused};
use crate::model::refusal::Refusal;
use crate::model::store::{self, Installed, Source};
use crate::model::system::System;
use crate::model::{manifests, trial};

/// How long `load --all` waits for transitions in all, so that no patch delays a boot for longer.
const BUDGET: Duration = Duration::from_secs(120);

/// How to load.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// Whether our own checks come first; else only the kernel judges.
    pub(crate) check: bool,
    /// Whether an older version may replace a newer one.
    pub(crate) allow_older: bool,
    pub(crate) patience: Patience,
}

/// Every module that is installed for the running kernel, the newest of each line. One that fails does not keep the others
/// from being loaded; one that may have crashed an earlier boot is left out.
pub(crate) fn all(system: &System, console: &mut Console<'_>, request: &Request) -> Result<(), Error> {
    let installed = store::installed_for(system, &system.release()?)?;
    let choice = store::choose(installed, |module| module.module(system));
    for (module, newer) in &choice.older {
        console.say(format_args!("not loading {}: {newer} is newer", module.name()));
    }
    for (module, twin) in &choice.twins {
        let (path, other) = (module.shown(), twin.shown());
        let what =
            if store::same_bytes(system, module, twin) { "the same module" } else { "another build of it" };
        console.warn(format_args!("not loading {path}: {other} holds {what}; uninstall one of them"));
    }
    let modules = choice.load;
    let total = modules.len();
    let mut failed = 0;
    let end = system.kernel().now() + request.patience.deadline.unwrap_or(BUDGET);
    for module in modules {
        let left = end.saturating_sub(system.kernel().now());
        let deadline = Some(left.min(request.patience.deadline.unwrap_or(Duration::from_secs(75))));
        let request = Request { patience: Patience { deadline, ..request.patience }, ..*request };
        let source = store::source(system, &module);
        if !request.allow_older
            && let Some(newer) = enabled_newer(system, &module)?
        {
            console.say(format_args!("not loading {}: {newer}, which is enabled, is newer", module.name()));
            continue;
        }
        let loaded = module
            .usable()
            .and_then(|()| skip_unconfirmed(system, console, &source))
            .and_then(|()| recorded_one(system, console, &source, &request));
        if let Err(error) = loaded {
            if matches!(error, Error::Interrupted { .. }) {
                return Err(error);
            }
            console.error(&error);
            failed += 1;
        }
    }
    if failed == 0 { Ok(()) } else { Err(Error::SomeFailed { action: "loaded", failed, total }) }
}

/// A newer version of the module's line that is enabled: it stays until the next boot, and the module that is installed, an
/// older one, does not take its place.
pub(crate) fn enabled_newer(system: &System, module: &Installed) -> Result<Option<String>, Error> {
    let inside = module.module(system).map(|name| name.to_string()).unwrap_or_default();
    let Some((line, version)) = store::line(module, &inside) else {
        return Ok(None);
    };
    for patch in livepatch::patches(system)? {
        let newer = store::line_of(&patch).is_some_and(|(other, its)| other == line && its > version);
        if newer && livepatch::state(system, &patch)?.is_some_and(State::is_on) {
            return Ok(Some(patch));
        }
    }
    Ok(None)
}

/// An error for a patch that was loaded in a boot which ended neither confirmed nor in good order.
fn skip_unconfirmed(system: &System, console: &mut Console<'_>, source: &Source) -> Result<(), Error> {
    let file = ModuleFile::open(source)?;
    // What cannot be read is refused where it is loaded.
    let Some((name, module)) = Module::parse(&file.bytes).ok().and_then(|m| Some((m.name().ok()?, m))) else {
        return Ok(());
    };
    if livepatch::state(system, name.as_str())?.is_some_and(State::is_on) {
        return Ok(());
    }
    let build = module_file::build_of(&module, &file.bytes);
    let Some(trial) = trial::unconfirmed(system, name.as_str(), &build)? else {
        return Ok(());
    };
    let since = trial.time();
    let error = Error::Unconfirmed { module: name.clone(), since };
    crate::act::record::change(system, console, What::Skip, name.as_str(), &trial.kernel, Err(&error));
    Err(error)
}

/// One module, written down where anything was done.
pub(crate) fn recorded_one(
    system: &System,
    console: &mut Console<'_>,
    source: &Source,
    request: &Request,
) -> Result<(), Error> {
    let file = ModuleFile::open(source)?;
    let parsed = file.module(source).and_then(|module| {
        let name = module.name().map_err(|error| refused(source, Refusal::NotAModule(error)))?;
        Ok((name, module))
    });
    let (name, module) = match parsed {
        Ok((name, module)) => (name, Some(module)),
        Err(error) if request.check => return Err(error),
        // Should the kernel take it all the same, then most likely under its file's name.
        Err(_) => (store::module_name(&source.shown)?, None),
    };
    if is_on_already(system, console, source, &name, module.as_ref())? {
        return finish(system, console, &name, request.patience);
    }
    let release = system.release()?;
    recorded(system, console, What::Load, name.as_str(), release.as_str(), |console| {
        one(system, console, (source, &file), (&name, module.as_ref()), request)
    })
}

fn one(
    system: &System,
    console: &mut Console<'_>,
    (source, file): (&Source, &ModuleFile),
    (name, module): (&ModuleName, Option<&Module<'_>>),
    request: &Request,
) -> Result<(), Error> {
    let mut unchecked = Vec::new();
    if let Some(module) = module.filter(|_| request.check) {
        let verdict = check::judge(system, module, request.allow_older)?;
        for warning in &verdict.warnings {
            console.warn(format_args!("{name}: {warning}"));
        }
        if !verdict.refusals.is_empty() {
            return Err(Error::Refused { path: source.shown.clone(), refusals: verdict.refusals });
        }
        unchecked = verdict.unchecked;
    }
    // What is left of it from before, replaced or disabled, patches nothing.
    match livepatch::is_loaded_livepatch(system, name)? {
        None => {}
        Some(true) => unload::remove(system, console, name, Voice::Quiet)?,
        Some(false) => return Err(Error::LoadedOther { module: name.clone(), action: "load a patch over" }),
    }
    console.say(format_args!("loading patch module: {}", source.shown.display()));
    let release = system.release()?;
    let build = module.map_or_else(String::new, |module| module_file::build_of(module, &file.bytes));
    trial::begin(system, console, name.as_str(), &build, release.as_str());
    if let Err(error) = insert(system, console, source, file) {
        trial::end(system, console, name.as_str());
        return Err(error);
    }
    if livepatch::state(system, name.as_str())?.is_none() {
        trial::end(system, console, name.as_str());
        return Err(Error::PatchedNothing { module: name.clone() });
    }
    if let Some(module) = module {
        manifests::remember(system, console, name.as_str(), module);
    }
    finish(system, console, name, request.patience)?;
    // It is in effect, but that does not answer what could not be asked before.
    for unchecked in unchecked {
        console.warn(format_args!("{name}: not checked: {unchecked}"));
    }
    Ok(())
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

fn insert(
    system: &System,
    console: &mut Console<'_>,
    source: &Source,
    file: &ModuleFile,
) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        let mut log = Log::from_here(system);
        let Err(errno) = system.kernel().insert(file.image()) else {
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

/// Waits for the transition; what happens to a patch that stalls is the policy's to say.
fn finish(
    system: &System,
    console: &mut Console<'_>,
    name: &ModuleName,
    patience: Patience,
) -> Result<(), Error> {
    match transition::wait(system, console, name.as_str(), patience)? {
        Outcome::Complete => {
            let is_on = livepatch::state(system, name.as_str())?.is_some_and(State::is_on);
            let overtaken = || Error::Overtaken { module: name.clone(), state: "no longer enabled" };
            if is_on { Ok(()) } else { Err(overtaken()) }
        }
        Outcome::Interrupted(signal) => {
            let state = format!(
                "{name} is loaded, and the kernel goes on with its transition (kpatch list shows when it is done): kpatch unload {name} takes it back"
            );
            Err(Error::Interrupted { signal, state })
        }
        Outcome::Stalled if patience.on_stall == OnStall::Reverse => {
            console.say(format_args!("module {name} did not complete its transition, unloading..."));
            let undone = unload::one(system, console, name, Patience::USUAL).map_err(Box::new);
            Err(Error::LoadStalled { module: name.clone(), undone })
        }
        Outcome::Stalled => Err(Error::LoadLeft { module: name.clone() }),
    }
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
