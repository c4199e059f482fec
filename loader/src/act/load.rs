// SPDX-License-Identifier: GPL-2.0-or-later
//! `load`: inserts a live patch and waits until it is in effect.

use std::time::Duration;

use klp_format::ModuleName;
use klp_module::Module;
use rustix::io::Errno;

use crate::act::record::{self, recorded};
use crate::act::transition::{self, Outcome};
use crate::act::{confirm, unload, watch};
use crate::console::Console;
use crate::judge::{check, conflicts};
use crate::model::boot_notes::BootNote;
use crate::model::bugs::Bug;
use crate::model::error::Error;
use crate::model::history::Action;
use crate::model::kmsg::Log;
use crate::model::livepatch::{self, PatchState};
use crate::model::module_file::{ModuleFile, Source};
use crate::model::policy::{BUSY_ATTEMPTS, BUSY_INTERVAL, StallPolicy, WaitOptions};
use crate::model::refusal::Refusal;
use crate::model::store::{self, Choice};
use crate::model::system::System;
use crate::model::{boot_notes, bugs, manifests, tasks};

/// Limit on the total wait time of `load --all`, so that patches do not delay a boot for longer.
const BUDGET: Duration = Duration::from_secs(120);
/// Limit on the wait time of one module of `load --all`.
const BUDGET_PER_MODULE: Duration = Duration::from_secs(75);

/// Options of a load.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// True to run the loader's checks before those of the kernel.
    pub(crate) check: bool,
    /// True if an older version may replace a newer one.
    pub(crate) allow_older: bool,
    pub(crate) wait: WaitOptions,
}

/// Module to load: its file, its name, and its parsed form if it could be parsed.
struct Candidate<'f> {
    file: &'f ModuleFile,
    name: ModuleName,
    module: Option<Module<'f>>,
}

/// Verb `load --all`: loads the newest installed module of each line for the running kernel. A failure does not stop the
/// others; a module that may have crashed an earlier boot is left out.
pub(crate) fn run_all(system: &System, console: &mut Console<'_>, request: &Request) -> Result<(), Error> {
    let installed = store::installed_for(system, &system.release()?)?;
    let choice = store::choose(installed, |module| module.module(system));
    report_left_out(system, console, &choice);
    let modules = choice.load;
    let total = modules.len();
    let mut failed = 0;
    let mut action = "loaded";
    let end = system.kernel().now() + request.wait.deadline.unwrap_or(BUDGET);
    for module in modules {
        let left = end.saturating_sub(system.kernel().now());
        let deadline = Some(left.min(request.wait.deadline.unwrap_or(BUDGET_PER_MODULE)));
        let request = Request { wait: WaitOptions { deadline, ..request.wait }, ..*request };
        let source = store::source(system, &module);
        if !request.allow_older
            && let Some(newer) = conflicts::enabled_newer(system, &module)?
        {
            console.say(format_args!("not loading {}: {newer}, which is enabled, is newer", module.name()));
            continue;
        }
        let loaded = module
            .usable()
            .and_then(|()| leave_out(system, console, &source))
            .and_then(|()| run(system, console, &source, &request));
        if let Err(error) = loaded {
            if matches!(error, Error::Interrupted { .. }) {
                return Err(error);
            }
            if matches!(error, Error::AppliedWithBug { .. }) {
                action = "loaded without a bug";
            }
            console.error(&error);
            failed += 1;
        }
    }
    if failed == 0 { Ok(()) } else { Err(Error::SomeFailed { action, failed, total }) }
}

/// Reports the installed modules that `load --all` does not load.
fn report_left_out(system: &System, console: &mut Console<'_>, choice: &Choice) {
    for (module, newer) in &choice.older {
        console.say(format_args!("not loading {}: {newer} is newer", module.name()));
    }
    for (module, twin) in &choice.twins {
        let (path, other) = (module.shown(), twin.shown());
        let what =
            if store::same_bytes(system, module, twin) { "the same module" } else { "another build of it" };
        console.warn(format_args!("not loading {path}: {other} holds {what}; uninstall one of them"));
    }
}

/// Returns an error for a build that an earlier boot loaded and did not confirm, or in which the kernel reported a bug.
fn leave_out(system: &System, console: &mut Console<'_>, source: &Source) -> Result<(), Error> {
    let file = ModuleFile::open(source)?;
    // `run` reports a file that cannot be parsed.
    let Some((name, module)) = Module::parse(&file.bytes).ok().and_then(|m| Some((m.name().ok()?, m))) else {
        return Ok(());
    };
    if livepatch::state(system, name.as_str())?.is_some_and(PatchState::is_on) {
        return Ok(());
    }
    let build = file.build_of(&module);
    let error =
        if let Some(Bug { time, function, title, .. }) = bugs::of_build(system, name.as_str(), &build)? {
            Error::LeftOutWithBug { module: name.clone(), time, function, title }
        } else if let Some(note) = boot_notes::unconfirmed(system, name.as_str(), &build)? {
            Error::Unconfirmed { module: name.clone(), since: note.time() }
        } else {
            return Ok(());
        };
    let release = system.release()?;
    record::change(system, console, Action::Skip, name.as_str(), release.as_str(), Err(&error));
    Err(error)
}

/// Verb `load`: loads one module. The load is recorded, unless the patch is enabled already.
pub(crate) fn run(
    system: &System,
    console: &mut Console<'_>,
    source: &Source,
    request: &Request,
) -> Result<(), Error> {
    let file = ModuleFile::open(source)?;
    let parsed = file.module().and_then(|module| {
        let name = module.name().map_err(|error| file.refused(Refusal::NotAModule(error)))?;
        Ok((name, module))
    });
    let (name, module) = match parsed {
        Ok((name, module)) => (name, Some(module)),
        Err(error) if request.check => return Err(error),
        // If the kernel accepts the file, its module name is most likely the file name.
        Err(_) => (store::module_name(&source.shown)?, None),
    };
    let candidate = Candidate { file: &file, name, module };
    if is_enabled_already(system, console, &candidate)? {
        return wait_until_enabled(system, console, &candidate.name, request.wait);
    }
    let release = system.release()?;
    recorded(system, console, Action::Load, candidate.name.as_str(), release.as_str(), |console| {
        check_and_insert(system, console, &candidate, request)
    })
}

fn check_and_insert(
    system: &System,
    console: &mut Console<'_>,
    candidate: &Candidate<'_>,
    request: &Request,
) -> Result<(), Error> {
    let Candidate { file, name, module } = candidate;
    let mut unchecked = Vec::new();
    if let Some(module) = module.as_ref().filter(|_| request.check) {
        let judgement = check::preflight(system, module, request.allow_older)?;
        for warning in &judgement.warnings {
            console.warn(format_args!("{name}: {warning}"));
        }
        if !judgement.refusals.is_empty() {
            return Err(Error::Refused { path: file.shown().to_owned(), refusals: judgement.refusals });
        }
        unchecked = judgement.unchecked;
    }
    // A replaced or disabled patch of that name may still be loaded; it patches nothing.
    match livepatch::is_loaded_livepatch(system, name)? {
        None => {}
        Some(true) => unload::remove(system, console, name, true)?,
        Some(false) => return Err(Error::LoadedOther { module: name.clone(), action: "load a patch over" }),
    }
    console.say(format_args!("loading patch module: {}", file.shown().display()));
    let release = system.release()?;
    let build = module.as_ref().map_or_else(String::new, |module| file.build_of(module));
    // A record that cannot be read does not keep an administrator from loading the patch.
    if let Ok(Some(bug)) = bugs::of_build(system, name.as_str(), &build) {
        let Bug { time, title, .. } = bug;
        console.warn(format_args!("{name}: the kernel reported a bug in this build at {time}: {title}"));
    }
    let note = confirm::begin(system, console, name.as_str(), &build, release.as_str());
    let mut log = match insert(system, console, file) {
        Ok(log) => log,
        Err(error) => {
            confirm::withdraw(system, console, name.as_str());
            return Err(error);
        }
    };
    if livepatch::state(system, name.as_str())?.is_none() {
        confirm::withdraw(system, console, name.as_str());
        return Err(Error::PatchedNothing { module: name.clone() });
    }
    if let Some(module) = module
        && let Err(error) = manifests::remember(system, name.as_str(), module)
    {
        console.warn(format_args!("status may not know what {name} repairs: {error}"));
    }
    let result = wait_until_enabled(system, console, name, request.wait);
    // A successful load does not make up for the checks that could not be made.
    if matches!(result, Ok(()) | Err(Error::LoadLeft { .. } | Error::Interrupted { .. })) {
        for unchecked in unchecked {
            console.warn(format_args!("{name}: not checked: {unchecked}"));
        }
        return conclude(system, console, &note, &mut log, result);
    }
    result
}

/// Result of a load that leaves the patch in the kernel: an error if the kernel reported a bug in it meanwhile. A new trial
/// replaces the record of an earlier one.
fn conclude(
    system: &System,
    console: &mut Console<'_>,
    note: &BootNote,
    log: &mut Log,
    result: Result<(), Error>,
) -> Result<(), Error> {
    if let Some(bug) = watch::after_load(system, note, log)? {
        let error = watch::record(system, console, &bug)?;
        if result.is_ok() {
            return Err(error);
        }
        console.error(&error);
    } else if let Err(error) = bugs::forget(system, &note.module) {
        console.warn(format_args!("the next boot may leave {} out: {error}", note.module));
    }
    result
}

/// True if the patch is enabled. A patch that is being disabled is enabled again, if it is the same build.
fn is_enabled_already(
    system: &System,
    console: &mut Console<'_>,
    candidate: &Candidate<'_>,
) -> Result<bool, Error> {
    let name = &candidate.name;
    let other_build = || candidate.module.as_ref().is_some_and(|module| is_other_build(system, module, name));
    let path = candidate.file.shown();
    match livepatch::state(system, name.as_str())? {
        Some(state) if state.is_on() => {
            console.say(format_args!("module named {name} already loaded and enabled"));
            if other_build() {
                console.warn(format_args!(
                    "the loaded module {name} is another build than {}: unload it first to load this one",
                    path.display()
                ));
            }
            Ok(true)
        }
        Some(PatchState::Disabling) if other_build() => {
            Err(Error::OtherBuild { module: name.clone(), path: path.to_owned() })
        }
        Some(PatchState::Disabling) => re_enable(system, console, name),
        _ => Ok(false),
    }
}

/// Enables a patch that is being disabled. Returns `false` if it is disabled already.
fn re_enable(system: &System, console: &mut Console<'_>, name: &ModuleName) -> Result<bool, Error> {
    console.say("module already loaded, re-enabling");
    match livepatch::set_enabled(system, name, true) {
        Some(Ok(())) => Ok(true),
        // EINVAL: the patch is disabled, and the kernel enables it only at insertion.
        None | Some(Err(Errno::INVAL)) => Ok(false),
        Some(Err(errno)) => Err(Error::Enable { module: name.clone(), errno }),
    }
}

/// Inserts a module. Returns the kernel's log from before the insertion on.
fn insert(system: &System, console: &mut Console<'_>, file: &ModuleFile) -> Result<Log, Error> {
    let mut attempt = 1;
    loop {
        let mut log = Log::from_here(system);
        let Err(errno) = system.kernel().insert(file.image()) else {
            return Ok(log);
        };
        let changing = if errno == Errno::BUSY { livepatch::changing(system)? } else { None };
        if errno != Errno::BUSY || attempt == BUSY_ATTEMPTS {
            let log = log.kernel_lines();
            return Err(Error::Insert { path: file.shown().to_owned(), errno, changing, log });
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

/// Waits for the transition and handles a stall by the policy in `options`.
fn wait_until_enabled(
    system: &System,
    console: &mut Console<'_>,
    name: &ModuleName,
    options: WaitOptions,
) -> Result<(), Error> {
    match transition::wait(system, console, name.as_str(), options)? {
        Outcome::Complete => {
            let is_on = livepatch::state(system, name.as_str())?.is_some_and(PatchState::is_on);
            let overtaken = || Error::Overtaken { module: name.clone(), state: "no longer enabled" };
            if is_on { Ok(()) } else { Err(overtaken()) }
        }
        Outcome::Interrupted(signal) => {
            let state = format!(
                "{name} is loaded, and the kernel goes on with its transition (kpatch list shows when it is done): kpatch unload {name} takes it back"
            );
            Err(Error::Interrupted { signal, state })
        }
        Outcome::Stalled if options.on_stall == StallPolicy::Reverse => {
            console.say(format_args!("module {name} did not complete its transition, unloading..."));
            let undone = unload::unload_unrecorded(system, console, name, WaitOptions::DEFAULT);
            Err(Error::LoadStalled { module: name.clone(), undone: undone.map_err(Box::new) })
        }
        Outcome::Stalled => {
            let tasks = tasks::pending(system, name.as_str())?;
            Err(Error::LoadLeft { module: name.clone(), tasks })
        }
    }
}

/// True if the loaded module of that name has another build id; `false` if one of the two has none.
fn is_other_build(system: &System, module: &Module<'_>, name: &ModuleName) -> bool {
    const SECTION: &str = ".note.gnu.build-id";
    let loaded = system.read_bytes(&format!("/sys/module/{name}/notes/{SECTION}"));
    match (loaded, module.section(SECTION)) {
        (Ok(Some(loaded)), Some(section)) => loaded != section.data,
        _ => false,
    }
}
