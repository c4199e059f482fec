// SPDX-License-Identifier: GPL-2.0-or-later
//! Waiting for a patch's transition, and the report when it stalls.

use std::time::Duration;

use crate::console::Console;
use crate::livepatch::{self, Stalled};
use crate::system::Backoff;
use crate::{Error, System};

/// How long tasks get before the transition counts as stalled.
const WAIT: Duration = Duration::from_secs(15);
/// How long they get after that, when the kernel has poked them.
const WAIT_AFTER_SIGNAL: Duration = Duration::from_secs(60);

/// How the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Complete,
    Stalled,
}

/// Waits until the patch's transition, if there is one, is over.
pub(crate) fn wait(system: &System, console: &mut Console<'_>, patch: &str) -> Result<Outcome, Error> {
    if !livepatch::in_transition(system, patch)? || wait_for(system, console, patch, WAIT)? {
        return Ok(Outcome::Complete);
    }
    console.say("patch transition has stalled!");
    signal(system, console, patch)?;
    if wait_for(system, console, patch, WAIT_AFTER_SIGNAL)? {
        return Ok(Outcome::Complete);
    }
    report(console, &livepatch::stalled(system, patch)?);
    Ok(Outcome::Stalled)
}

/// The block of stalled tasks; nothing when there is none.
pub(crate) fn report(console: &mut Console<'_>, stalled: &Stalled) {
    if !stalled.tasks.is_empty() {
        console.say("");
        console.say("Stalled processes:");
        for task in &stalled.tasks {
            console.say(task);
        }
    }
    if stalled.hidden != 0 {
        let hidden = stalled.hidden;
        console
            .warn(format_args!("the state of {hidden} tasks could not be read: run this as root to see all"));
    }
}

fn wait_for(system: &System, console: &mut Console<'_>, patch: &str, limit: Duration) -> Result<bool, Error> {
    let seconds = limit.as_secs();
    console.say(format_args!("waiting (up to {seconds} seconds) for patch transition to complete..."));
    let mut waiting = Backoff::new(system, limit);
    while waiting.step() {
        if !livepatch::in_transition(system, patch)? {
            console.say(format_args!("transition complete ({} seconds)", waiting.elapsed().as_secs()));
            return Ok(true);
        }
    }
    Ok(false)
}

fn signal(system: &System, console: &mut Console<'_>, patch: &str) -> Result<(), Error> {
    if livepatch::signal(system, patch)? {
        console.say("signaling stalled process(es):");
    } else {
        console.warn("Livepatch process signaling is performed automatically on your system.");
        console.warn("Skipping manual process signaling.");
    }
    Ok(())
}
