// SPDX-License-Identifier: GPL-2.0-or-later
//! `unload`: reverts a patch and removes its module.

use std::time::Duration;

use klp_format::ModuleName;
use rustix::io::Errno;

use crate::act::confirm;
use crate::act::record::recorded;
use crate::act::transition::{self, Outcome};
use crate::console::Console;
use crate::model::error::Error;
use crate::model::history::Action;
use crate::model::livepatch::{self, PatchState};
use crate::model::manifests;
use crate::model::overrides;
use crate::model::policy::{BUSY_ATTEMPTS, BUSY_INTERVAL, StallPolicy, WaitOptions};
use crate::model::system::{Backoff, System};
use crate::model::tasks;

/// Time to wait for the users of a module that patches nothing.
const WAIT_FOR_USERS: Duration = Duration::from_secs(15);

/// Verb `unload --all`: unloads every patch that the livepatch core lists. A failure does not stop the others.
pub(crate) fn run_all(system: &System, console: &mut Console<'_>, options: WaitOptions) -> Result<(), Error> {
    let patches = livepatch::patches(system)?;
    let total = patches.len();
    let mut failed = 0;
    for patch in patches {
        let name = ModuleName::new(&patch).map_err(|reason| Error::Name { reason });
        if let Err(error) = name.and_then(|name| run(system, console, &name, options)) {
            if matches!(error, Error::Interrupted { .. }) {
                return Err(error);
            }
            console.error(&error);
            failed += 1;
        }
    }
    if failed == 0 { Ok(()) } else { Err(Error::SomeFailed { action: "unloaded", failed, total }) }
}

/// Verb `unload`: unloads one patch and records it.
pub(crate) fn run(
    system: &System,
    console: &mut Console<'_>,
    module: &ModuleName,
    options: WaitOptions,
) -> Result<(), Error> {
    let release = system.release()?;
    recorded(system, console, Action::Unload, module.as_str(), release.as_str(), |console| {
        unload_unrecorded(system, console, module, options)
    })
}

/// Unloads one patch without a record, for `load` to undo itself.
pub(crate) fn unload_unrecorded(
    system: &System,
    console: &mut Console<'_>,
    module: &ModuleName,
    options: WaitOptions,
) -> Result<(), Error> {
    if livepatch::state(system, module.as_str())?.is_some() {
        disable(system, console, module, options)?;
    } else {
        match livepatch::is_loaded_livepatch(system, module)? {
            None => return Err(Error::NotLoaded { module: module.clone() }),
            Some(false) => return Err(Error::LoadedOther { module: module.clone(), action: "unload" }),
            // Replaced or disabled: the module patches nothing.
            Some(true) => {}
        }
    }
    remove(system, console, module, false)?;
    confirm::withdraw(system, console, module.as_str());
    Ok(())
}

fn disable(
    system: &System,
    console: &mut Console<'_>,
    module: &ModuleName,
    options: WaitOptions,
) -> Result<(), Error> {
    if livepatch::state(system, module.as_str())?.is_some_and(PatchState::is_on) {
        if overrides::is_ftrace_gone_under(system, module.as_str())? {
            return Err(Error::FtraceGone { module: module.clone() });
        }
        console.say(format_args!("disabling patch module: {module}"));
        start_disabling(system, console, module)?;
    }
    match transition::wait(system, console, module.as_str(), options)? {
        Outcome::Complete => {}
        Outcome::Stalled if options.on_stall == StallPolicy::Reverse => {
            return reverse(system, console, module);
        }
        Outcome::Stalled => {
            let tasks = tasks::pending(system, module.as_str())?;
            return Err(Error::UnloadStalled { module: module.clone(), tasks });
        }
        Outcome::Interrupted(signal) => {
            let state = format!(
                "{module} is being disabled, and the kernel goes on with that (kpatch list shows when it is done): then kpatch unload {module} removes it; kpatch load {module} turns it round"
            );
            return Err(Error::Interrupted { signal, state });
        }
    }
    if livepatch::state(system, module.as_str())?.is_some_and(PatchState::is_on) {
        return Err(Error::Overtaken { module: module.clone(), state: "enabled again" });
    }
    Ok(())
}

/// Enables a patch again after its disabling has stalled.
fn reverse(system: &System, console: &mut Console<'_>, module: &ModuleName) -> Result<(), Error> {
    console.say(format_args!("module {module} did not complete its transition, enabling it again..."));
    match livepatch::set_enabled(system, module, true) {
        None | Some(Ok(())) => {}
        // EINVAL: the disabling completed meanwhile, which is the requested state.
        Some(Err(Errno::INVAL)) => return Ok(()),
        Some(Err(errno)) => return Err(Error::Enable { module: module.clone(), errno }),
    }
    let outcome = transition::wait(system, console, module.as_str(), WaitOptions::DEFAULT)?;
    let complete = outcome == Outcome::Complete;
    Err(Error::UnloadReversed { module: module.clone(), complete })
}

fn start_disabling(system: &System, console: &mut Console<'_>, module: &ModuleName) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        let errno = match livepatch::set_enabled(system, module, false) {
            None | Some(Ok(())) => return Ok(()),
            Some(Err(errno)) => errno,
        };
        // EINVAL: another program has disabled the patch already.
        let already_disabled = errno == Errno::INVAL
            && !livepatch::state(system, module.as_str())?.is_some_and(PatchState::is_on);
        if already_disabled {
            return Ok(());
        }
        if errno != Errno::BUSY || attempt == BUSY_ATTEMPTS {
            return Err(Error::Disable { module: module.clone(), errno });
        }
        console.warn(format_args!("cannot disable {module}: another patch is in transition"));
        console.warn("retrying...");
        attempt += 1;
        system.kernel().sleep(BUSY_INTERVAL);
    }
}

/// Removes a module that patches nothing, after its last user is gone. A module that is not loaded is no error. `quiet`
/// omits the progress line.
pub(crate) fn remove(
    system: &System,
    console: &mut Console<'_>,
    module: &ModuleName,
    quiet: bool,
) -> Result<(), Error> {
    let mut waiting = Backoff::new(system, WAIT_FOR_USERS);
    manifests::forget(system, module.as_str());
    let mut announced = quiet;
    loop {
        match livepatch::reference_count(system, module)? {
            None if !system.exists(&format!("/sys/module/{module}")) => return Ok(()),
            Some(0) | None => {
                if !std::mem::replace(&mut announced, true) {
                    console.say(format_args!("unloading patch module: {module}"));
                }
                match system.kernel().remove(module) {
                    Ok(()) | Err(Errno::NOENT) => return Ok(()),
                    // The module got a user after the count was read, or another program is removing it.
                    Err(Errno::AGAIN | Errno::BUSY) if waiting.step() => {}
                    Err(errno) => return Err(Error::Remove { module: module.clone(), errno }),
                }
            }
            Some(_) if waiting.step() => {}
            Some(count) => return Err(Error::InUse { module: module.clone(), count }),
        }
    }
}
