// SPDX-License-Identifier: GPL-2.0-or-later
//! Waiting for a patch's transition, and the report of a stall.

use std::time::Duration;

use crate::act::lock;
use crate::console::Console;
use crate::model::error::Error;
use crate::model::livepatch;
use crate::model::policy::{StallPolicy, WAIT, WAIT_AFTER_SIGNAL, WAIT_FOR_FTRACE, WaitOptions};
use crate::model::system::{Backoff, System};
use crate::model::tasks::{self, Stalled};

/// Interval of reports while waiting without a limit.
const REPORT: Duration = Duration::from_secs(60);
/// Interval of the progress display on a terminal.
const PROGRESS: Duration = Duration::from_secs(1);

/// Result of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Complete,
    Stalled,
    /// Number of the received termination signal.
    Interrupted(i32),
}

/// Waits until the transition of a patch is complete; returns at once if the patch is not in transition.
pub(crate) fn wait(
    system: &System,
    console: &mut Console<'_>,
    patch: &str,
    options: WaitOptions,
) -> Result<Outcome, Error> {
    if !livepatch::in_transition(system, patch)? {
        return Ok(Outcome::Complete);
    }
    let total = options.deadline.unwrap_or(WAIT + WAIT_AFTER_SIGNAL);
    let forever = options.on_stall == StallPolicy::Wait;
    let first = WAIT.min(if forever { WAIT } else { total });
    if let Some(outcome) = wait_for(system, console, patch, first)? {
        return Ok(outcome);
    }
    console.say("patch transition has stalled!");
    signal(system, console, patch)?;
    let second = if forever { WAIT_AFTER_SIGNAL } else { total.saturating_sub(first) };
    if !second.is_zero()
        && let Some(outcome) = wait_for(system, console, patch, second)?
    {
        return Ok(outcome);
    }
    let stalled = tasks::stalled(system, patch)?;
    report(console, &stalled);
    advise(system, console, patch)?;
    // The kernel waits for a grace period of RCU tasks for each function that it takes out of ftrace.
    let disabled = livepatch::flag(system, patch, "enabled")? == Some(false);
    let nobody = stalled.tasks.is_empty() && stalled.hidden == 0;
    if disabled && nobody && options.deadline.is_none() && options.on_stall == StallPolicy::Fail {
        console.say(
            "every task has changed over: waiting until the kernel has changed the calls of all functions...",
        );
        return wait_on(system, console, patch, first + second, Some(WAIT_FOR_FTRACE));
    }
    if forever {
        wait_on(system, console, patch, first + second, options.deadline)
    } else {
        Ok(Outcome::Stalled)
    }
}

/// Continues to wait, with a report every minute, until `deadline`, which includes the time `waited` before. The lock is
/// released, since another kpatch may be needed to end the transition.
fn wait_on(
    system: &System,
    console: &mut Console<'_>,
    patch: &str,
    waited: Duration,
    deadline: Option<Duration>,
) -> Result<Outcome, Error> {
    lock::release(system);
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

/// Prints the block of stalled tasks in the form of Red Hat's kpatch; nothing without stalled tasks.
pub(crate) fn report(console: &mut Console<'_>, stalled: &Stalled) {
    if !stalled.tasks.is_empty() {
        console.say("");
        console.say("Stalled processes:");
        for task in &stalled.tasks {
            console.say(task);
        }
    }
    report_hidden(console, stalled.hidden);
}

/// Warns about tasks without permission to read their state.
pub(crate) fn report_hidden(console: &mut Console<'_>, hidden: usize) {
    if hidden != 0 {
        console
            .warn(format_args!("the state of {hidden} tasks could not be read: run this as root to see all"));
    }
}

/// Prints function, age and advice for each stalled task, which [`report`] leaves out.
fn advise(system: &System, console: &mut Console<'_>, patch: &str) -> Result<(), Error> {
    for task in tasks::stalled(system, patch)?.tasks {
        console.warn(format_args!("{}; {}", task.place(), task.advice()));
    }
    Ok(())
}

/// Waits up to `limit`; `None` when the limit is reached.
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
    let outcome = loop {
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
    if outcome == Some(Outcome::Complete) {
        console.say(format_args!("transition complete ({} seconds)", waiting.elapsed().as_secs()));
    }
    Ok(outcome)
}

/// Makes the kernel signal the tasks that block a transition, or reports that the kernel does so by itself.
pub(crate) fn signal(system: &System, console: &mut Console<'_>, patch: &str) -> Result<(), Error> {
    if livepatch::signal(system, patch)? {
        console.say("signaling stalled process(es):");
    } else {
        console.warn("Livepatch process signaling is performed automatically on your system.");
        console.warn("Skipping manual process signaling.");
    }
    Ok(())
}
