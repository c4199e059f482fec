// SPDX-License-Identifier: GPL-2.0-or-later
//! `confirm`: removal of the boot notes of patches that proved stable, after a look at the kernel's log. Also the boot note of a patch during its load.

use std::io::ErrorKind;
use std::time::Duration;

use crate::act::watch::{self, Watch};
use crate::act::{lock, record};
use crate::console::Console;
use crate::model::boot_notes::{self, BootNote};
use crate::model::error::Error;
use crate::model::history::Action;
use crate::model::system::{Backoff, System};
use crate::model::{bugs, layout, tasks};

/// Writes and returns the boot note of a patch that is about to be loaded. A write failure produces a warning only; the patch is
/// loaded anyway.
pub(crate) fn begin(
    system: &System,
    console: &mut Console<'_>,
    module: &str,
    build: &str,
    kernel: &str,
) -> BootNote {
    let note = boot_notes::note(system, module, build, kernel);
    if let Err(error) = boot_notes::write(system, &note) {
        console
            .warn(format_args!("should {module} crash this machine, the next boot will not know: {error}"));
    }
    note
}

/// Removes the boot note of a patch that is not in the kernel. A failure produces a warning only.
pub(crate) fn withdraw(system: &System, console: &mut Console<'_>, module: &str) {
    if let Err(error) = boot_notes::remove(system, module) {
        console.warn(format_args!("the next boot may take {module} for the cause of a crash: {error}"));
    }
}

/// Waits until every patch of this boot has been loaded for `settle`, then confirms them. A signal to terminate confirms at
/// once: it is the sign of a clean shutdown. A patch in which the kernel reports a bug meanwhile is recorded and not confirmed.
/// `clear_bugs` removes all records of bugs first and does not look for others.
pub(crate) fn run(
    system: &System,
    console: &mut Console<'_>,
    settle: Duration,
    clear_bugs: bool,
) -> Result<(), Error> {
    if clear_bugs {
        clear(system, console)?;
    }
    let boot = system.boot_id();
    if boot.is_empty() {
        return Err(Error::file("read", "/proc/sys/kernel/random/boot_id", ErrorKind::NotFound.into()));
    }
    let mut watch = Watch::new(system);
    let mut found = Found::default();
    loop {
        let mut notes = boot_notes::all(system)?;
        notes.retain(|note| note.boot == boot && !found.unclear.contains(&note.module));
        if !clear_bugs {
            look(system, console, &mut notes, &mut found)?;
        }
        let now = tasks::uptime(system)?.as_secs();
        let age = |note: &BootNote| Duration::from_secs(now.saturating_sub(note.uptime));
        let left = notes.iter().map(|note| settle.saturating_sub(age(note))).max().unwrap_or_default();
        let terminated = system.kernel().interrupted().is_some();
        if left.is_zero() || terminated {
            let why = if terminated {
                "the machine is being shut down in good order"
            } else if settle.is_zero() {
                "as asked for"
            } else {
                "it has settled"
            };
            confirm(system, console, &notes, why)?;
            return found.error.map_or(Ok(()), Err);
        }
        let mut waiting = Backoff::new(system, left);
        while system.kernel().interrupted().is_none() && !watch.has_news() && waiting.step() {}
    }
}

/// Result of looking for bugs.
#[derive(Default)]
struct Found {
    /// Patches that are neither confirmed nor known to have a bug.
    unclear: Vec<String>,
    /// Last error.
    error: Option<Error>,
}

/// Records the bugs in the patches of these notes, and removes their notes from the list.
fn look(
    system: &System,
    console: &mut Console<'_>,
    notes: &mut Vec<BootNote>,
    found: &mut Found,
) -> Result<(), Error> {
    let mut left = Vec::new();
    for note in notes.drain(..) {
        let error = match watch::find(system, &note) {
            Ok(None) => {
                left.push(note);
                continue;
            }
            Ok(Some(bug)) => {
                lock::take(system, console, "confirm")?;
                let error = watch::record(system, console, &bug)?;
                lock::release(system);
                error
            }
            Err(error @ Error::NotWatched { .. }) => {
                boot_notes::unmark(system, &note.module)?;
                found.unclear.push(note.module);
                error
            }
            Err(error) => return Err(error),
        };
        console.error(&error);
        found.error = Some(Error::Reported { code: error.exit_code() });
    }
    *notes = left;
    Ok(())
}

/// Removes all records of bugs: the next boot loads these patches again.
fn clear(system: &System, console: &mut Console<'_>) -> Result<(), Error> {
    lock::take(system, console, "confirm")?;
    for module in bugs::modules(system)? {
        let kernel = bugs::read(system, &module)?.map(|bug| bug.kernel).unwrap_or_default();
        bugs::remove(system, &module)?;
        let why = "its recorded bug is cleared";
        console.say(format_args!("{module} is confirmed: {why}"));
        record::change(system, console, Action::Confirm, &module, &kernel, Ok(why));
    }
    lock::release(system);
    Ok(())
}

fn confirm(system: &System, console: &mut Console<'_>, notes: &[BootNote], why: &str) -> Result<(), Error> {
    lock::take(system, console, "confirm")?;
    for warning in layout::migrate(system) {
        console.warn(warning);
    }
    for note in notes {
        boot_notes::remove(system, &note.module)?;
        console.say(format_args!("{} is confirmed: {why}", note.module));
        record::change(system, console, Action::Confirm, &note.module, &note.kernel, Ok(why));
    }
    Ok(())
}
