// SPDX-License-Identifier: GPL-2.0-or-later
//! `signal` and `force`: interventions in a transition that does not end.

use crate::act::record::recorded;
use crate::act::transition;
use crate::console::Console;
use crate::model::error::Error;
use crate::model::history::Action;
use crate::model::livepatch;
use crate::model::system::System;

/// Signals the tasks that block the transition; does nothing if no patch is in transition.
pub(crate) fn run(system: &System, console: &mut Console<'_>) -> Result<(), Error> {
    match livepatch::changing(system)? {
        Some(patch) => transition::signal(system, console, &patch),
        None => Ok(()),
    }
}

/// Forces the transition: all tasks change over at once, even if they run the old code.
///
/// # Errors
/// `acknowledged` is false.
pub(crate) fn force(system: &System, console: &mut Console<'_>, acknowledged: bool) -> Result<(), Error> {
    if !acknowledged {
        return Err(Error::ForceNeedsWord);
    }
    let Some(patch) = livepatch::changing(system)? else {
        return Ok(());
    };
    let release = system.release()?;
    console.say(format_args!("forcing the transition of patch module: {patch}"));
    recorded(system, console, Action::Force, &patch, release.as_str(), |_| livepatch::force(system, &patch))
}
