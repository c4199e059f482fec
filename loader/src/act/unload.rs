// SPDX-License-Identifier: GPL-2.0-or-later
//! `unload`: reverts a patch and removes its module.

use std::time::Duration;

use klp_format::ModuleName;
use rustix::io::Errno;

use crate::act::record::{What, recorded};
use crate::act::transition::{self, OnStall, Outcome, Patience};
use crate::console::Console;
use crate::model::error::Error;
use crate::model::livepatch::{self, State};
use crate::model::system::{Backoff, System};
use crate::model::trial;

/// How long a module that is no longer patching anything may stay in use before it is given up.
const WAIT_FOR_USERS: Duration = Duration::from_secs(15);

/// How often a busy kernel is asked, and how long is waited between.
pub(crate) const BUSY_ATTEMPTS: u32 = 5;
pub(crate) const BUSY_INTERVAL: Duration = Duration::from_secs(2);

/// Whether the removal of a module is worth a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    Quiet,
    Aloud,
}

/// Every patch that the livepatch core knows. One that fails does not keep the others from being unloaded.
pub(crate) fn all(system: &System, console: &mut Console<'_>, patience: Patience) -> Result<(), Error> {
    let patches = livepatch::patches(system)?;
    let total = patches.len();
    let mut failed = 0;
    for patch in patches {
        let name = ModuleName::new(&patch).map_err(|reason| Error::Name { reason });
        if let Err(error) = name.and_then(|name| recorded_one(system, console, &name, patience)) {
            if matches!(error, Error::Interrupted { .. }) {
                return Err(error);
            }
            console.error(&error);
            failed += 1;
        }
    }
    if failed == 0 { Ok(()) } else { Err(Error::SomeFailed { action: "unloaded", failed, total }) }
}

/// One patch, written down.
pub(crate) fn recorded_one(
    system: &System,
    console: &mut Console<'_>,
    module: &ModuleName,
    patience: Patience,
) -> Result<(), Error> {
    let release = system.release()?;
    recorded(system, console, What::Unload, module.as_str(), release.as_str(), |console| {
        one(system, console, module, patience)
    })
}

/// One patch.
pub(crate) fn one(
    system: &System,
    console: &mut Console<'_>,
    module: &ModuleName,
    patience: Patience,
) -> Result<(), Error> {
    if livepatch::state(system, module.as_str())?.is_some() {
        disable(system, console, module, patience)?;
    } else {
        match livepatch::is_loaded_livepatch(system, module)? {
            None => return Err(Error::NotLoaded { module: module.clone() }),
            Some(false) => return Err(Error::LoadedOther { module: module.clone(), action: "unload" }),
            // Replaced or disabled: it patches nothing.
            Some(true) => {}
        }
    }
    remove(system, console, module, Voice::Aloud)?;
    trial::end(system, console, module.as_str());
    Ok(())
}

fn disable(
    system: &System,
    console: &mut Console<'_>,
    module: &ModuleName,
    patience: Patience,
) -> Result<(), Error> {
    if livepatch::state(system, module.as_str())?.is_some_and(State::is_on) {
        console.say(format_args!("disabling patch module: {module}"));
        ask_to_disable(system, console, module)?;
    }
    match transition::wait(system, console, module.as_str(), patience)? {
        Outcome::Complete => {}
        Outcome::Stalled if patience.on_stall == OnStall::Reverse => return reverse(system, console, module),
        Outcome::Stalled => return Err(Error::UnloadStalled { module: module.clone() }),
        Outcome::Interrupted(signal) => {
            let state = format!(
                "{module} is being disabled, and the kernel goes on with that (kpatch list shows when it is done): then kpatch unload {module} removes it; kpatch load {module} turns it round"
            );
            return Err(Error::Interrupted { signal, state });
        }
    }
    if livepatch::state(system, module.as_str())?.is_some_and(State::is_on) {
        return Err(Error::Overtaken { module: module.clone(), state: "enabled again" });
    }
    Ok(())
}

/// Enables a patch again whose way out has stalled.
fn reverse(system: &System, console: &mut Console<'_>, module: &ModuleName) -> Result<(), Error> {
    console.say(format_args!("module {module} did not complete its transition, enabling it again..."));
    match livepatch::set_enabled(system, module, true) {
        None | Some(Ok(())) => {}
        // It was disabled in the last moment: what was asked for in the first place.
        Some(Err(Errno::INVAL)) => return Ok(()),
        Some(Err(errno)) => return Err(Error::Enable { module: module.clone(), errno }),
    }
    let outcome = transition::wait(system, console, module.as_str(), Patience::USUAL)?;
    let complete = outcome == Outcome::Complete;
    Err(Error::UnloadReversed { module: module.clone(), complete })
}

fn ask_to_disable(system: &System, console: &mut Console<'_>, module: &ModuleName) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        let errno = match livepatch::set_enabled(system, module, false) {
            None | Some(Ok(())) => return Ok(()),
            Some(Err(errno)) => errno,
        };
        // EINVAL says that it is in that state already: someone else was faster.
        let meanwhile_off =
            errno == Errno::INVAL && !livepatch::state(system, module.as_str())?.is_some_and(State::is_on);
        if meanwhile_off {
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

/// Removes a module that patches nothing, when nobody uses it any more. One that is gone already is as good.
pub(crate) fn remove(
    system: &System,
    console: &mut Console<'_>,
    module: &ModuleName,
    voice: Voice,
) -> Result<(), Error> {
    let mut waiting = Backoff::new(system, WAIT_FOR_USERS);
    crate::model::manifests::forget(system, module.as_str());
    let mut said = voice == Voice::Quiet;
    loop {
        match livepatch::reference_count(system, module)? {
            None if !system.exists(&format!("/sys/module/{module}")) => return Ok(()),
            Some(0) | None => {
                if !std::mem::replace(&mut said, true) {
                    console.say(format_args!("unloading patch module: {module}"));
                }
                match system.kernel().remove(module) {
                    Ok(()) | Err(Errno::NOENT) => return Ok(()),
                    // Someone began to use it after we looked, or its removal has begun elsewhere.
                    Err(Errno::AGAIN | Errno::BUSY) if waiting.step() => {}
                    Err(errno) => return Err(Error::Remove { module: module.clone(), errno }),
                }
            }
            Some(_) if waiting.step() => {}
            Some(count) => return Err(Error::InUse { module: module.clone(), count }),
        }
    }
}
