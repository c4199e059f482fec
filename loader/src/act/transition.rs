// SPDX-License-Identifier: GPL-2.0-or-later
//! Waiting for a patch's transition, and the report when it stalls.

use std::time::Duration;

use clap::ValueEnum;

use crate::console::Console;
use crate::model::error::Error;
use crate::model::livepatch;
use crate::model::system::{Backoff, System};
use crate::model::tasks::{self, Stalled};

/// How long tasks get before the transition counts as stalled.
pub(crate) const WAIT: Duration = Duration::from_secs(15);
/// How long they get after that, when the kernel has poked them.
const WAIT_AFTER_SIGNAL: Duration = Duration::from_secs(60);
/// How often a transition that may take for ever is reported on.
const REPORT: Duration = Duration::from_secs(60);
/// How often people see how many tasks are left.
const PROGRESS: Duration = Duration::from_secs(1);

/// What to do with a transition that has stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnStall {
    /// Go on waiting, and report every minute
    Wait,
    /// Turn it round and wait for that
    Reverse,
    /// Give up and leave it to the kernel, which goes on with it
    Fail,
}

/// How long to wait, and what then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) on_stall: OnStall,
    /// After how long a transition has stalled; with [`OnStall::Wait`] when waiting ends.
    pub(crate) deadline: Option<Duration>,
}

impl Patience {
    /// The usual time, and nothing is done after it.
    pub(crate) const USUAL: Self = Self { on_stall: OnStall::Fail, deadline: None };
}

/// How the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Complete,
    Stalled,
    /// A signal asked this program to end.
    Interrupted(i32),
}

/// Waits until the patch's transition, if there is one, is over.
pub(crate) fn wait(
    system: &System,
    console: &mut Console<'_>,
    patch: &str,
    patience: Patience,
) -> Result<Outcome, Error> {
    if !livepatch::in_transition(system, patch)? {
        return Ok(Outcome::Complete);
    }
    let total = patience.deadline.unwrap_or(WAIT + WAIT_AFTER_SIGNAL);
    let forever = patience.on_stall == OnStall::Wait;
    let first = WAIT.min(if forever { WAIT } else { total });
    if let Some(end) = wait_for(system, console, patch, first)? {
        return Ok(end);
    }
    console.say("patch transition has stalled!");
    signal(system, console, patch)?;
    let second = if forever { WAIT_AFTER_SIGNAL } else { total.saturating_sub(first) };
    if !second.is_zero()
        && let Some(end) = wait_for(system, console, patch, second)?
    {
        return Ok(end);
    }
    report(console, &tasks::stalled(system, patch)?);
    explain(system, console, patch)?;
    if forever {
        wait_on(system, console, patch, first + second, patience.deadline)
    } else {
        Ok(Outcome::Stalled)
    }
}

/// Waits on, reporting every minute, until `deadline` (all time counted) where there is one. Others may work meanwhile:
/// one of them may be what ends this.
fn wait_on(
    system: &System,
    console: &mut Console<'_>,
    patch: &str,
    waited: Duration,
    deadline: Option<Duration>,
) -> Result<Outcome, Error> {
    crate::act::lock::release(system);
    let limit = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_sub(waited));
    let mut waiting = Backoff::new(system, limit);
    let mut reported = Duration::ZERO;
    loop {
        if !livepatch::in_transition(system, patch)? {
            let seconds = (waited + waiting.elapsed()).as_secs();
            console.say(format_args!("transition complete ({seconds} seconds)"));
            return Ok(Outcome::Complete);
        }
        if let Some(signal) = system.kernel().interrupted() {
            return Ok(Outcome::Interrupted(signal));
        }
        if waiting.elapsed().saturating_sub(reported) >= REPORT {
            reported = waiting.elapsed();
            let left = tasks::pending(system, patch)?;
            let seconds = (waited + reported).as_secs();
            console.warn(format_args!("still waiting after {seconds} seconds: {left} tasks to go"));
        }
        if !waiting.step() {
            return Ok(Outcome::Stalled);
        }
    }
}

/// The block of stalled tasks, as the original prints it; nothing when there is none.
pub(crate) fn report(console: &mut Console<'_>, stalled: &Stalled) {
    if !stalled.tasks.is_empty() {
        console.say("");
        console.say("Stalled processes:");
        for task in &stalled.tasks {
            console.say(task);
        }
    }
    hidden(console, stalled.hidden);
}

pub(crate) fn hidden(console: &mut Console<'_>, hidden: usize) {
    if hidden != 0 {
        console
            .warn(format_args!("the state of {hidden} tasks could not be read: run this as root to see all"));
    }
}

/// What the block of stalled tasks does not say: the function, the age, and what would free them.
fn explain(system: &System, console: &mut Console<'_>, patch: &str) -> Result<(), Error> {
    for task in tasks::stalled(system, patch)?.tasks {
        console.warn(format_args!("{}; {}", task.place(), task.advice()));
    }
    Ok(())
}

/// `None`: the time is over.
fn wait_for(
    system: &System,
    console: &mut Console<'_>,
    patch: &str,
    limit: Duration,
) -> Result<Option<Outcome>, Error> {
    let seconds = limit.as_secs();
    console.say(format_args!("waiting (up to {seconds} seconds) for patch transition to complete..."));
    let mut waiting = Backoff::new(system, limit);
    let mut shown = Duration::ZERO;
    let end = loop {
        if !waiting.step() {
            break None;
        }
        if !livepatch::in_transition(system, patch)? {
            break Some(Outcome::Complete);
        }
        if let Some(signal) = system.kernel().interrupted() {
            break Some(Outcome::Interrupted(signal));
        }
        if system.kernel().shows_progress() && waiting.elapsed().saturating_sub(shown) >= PROGRESS {
            shown = waiting.elapsed();
            let left = tasks::pending(system, patch)?;
            console.progress(format_args!("{left} tasks to go, {} seconds", shown.as_secs()));
        }
    };
    console.end_progress();
    if end == Some(Outcome::Complete) {
        console.say(format_args!("transition complete ({} seconds)", waiting.elapsed().as_secs()));
    }
    Ok(end)
}

/// Asks the kernel to poke the tasks that hold a transition up, or says that it does so by itself.
pub(crate) fn signal(system: &System, console: &mut Console<'_>, patch: &str) -> Result<(), Error> {
    if livepatch::signal(system, patch)? {
        console.say("signaling stalled process(es):");
    } else {
        console.warn("Livepatch process signaling is performed automatically on your system.");
        console.warn("Skipping manual process signaling.");
    }
    Ok(())
}
