// SPDX-License-Identifier: GPL-2.0-or-later
//! `signal` and `force`: what can be done to a transition that does not end.

use crate::act::record::{What, recorded};
use crate::act::transition;
use crate::console::Console;
use crate::model::error::Error;
use crate::model::livepatch;
use crate::model::system::System;

/// Pokes the tasks that hold the patch in transition up; without one there is nothing to do.
pub(crate) fn signal(system: &System, console: &mut Console<'_>) -> Result<(), Error> {
    match livepatch::changing(system)? {
        Some(patch) => transition::signal(system, console, &patch),
        None => Ok(()),
    }
}

/// Ends the transition for all tasks at once, wherever they are.
pub(crate) fn force(system: &System, console: &mut Console<'_>, accepted: bool) -> Result<(), Error> {
    if !accepted {
        return Err(Error::ForceNeedsWord);
    }
    let Some(patch) = livepatch::changing(system)? else {
        return Ok(());
    };
    let release = system.release()?;
    console.say(format_args!("forcing the transition of patch module: {patch}"));
    recorded(system, console, What::Force, &patch, release.as_str(), |_| livepatch::force(system, &patch))
}
