// SPDX-License-Identifier: GPL-2.0-or-later
//! `confirm`: removal of the boot notes of patches that proved stable. Also the boot note of a patch during its load.

use std::time::Duration;

use crate::act::{lock, record};
use crate::console::Console;
use crate::model::boot_notes::{self, BootNote};
use crate::model::error::Error;
use crate::model::history::Action;
use crate::model::system::{Backoff, System};
use crate::model::{layout, tasks};

/// Writes the boot note of a patch that is about to be loaded. A write failure produces a warning only; the patch is loaded
/// anyway.
pub(crate) fn begin(system: &System, console: &mut Console<'_>, module: &str, build: &str, kernel: &str) {
    if let Err(error) = boot_notes::write(system, module, build, kernel) {
        console
            .warn(format_args!("should {module} crash this machine, the next boot will not know: {error}"));
    }
}

/// Removes the boot note of a patch that is not in the kernel. A failure produces a warning only.
pub(crate) fn withdraw(system: &System, console: &mut Console<'_>, module: &str) {
    if let Err(error) = boot_notes::remove(system, module) {
        console.warn(format_args!("the next boot may take {module} for the cause of a crash: {error}"));
    }
}

/// Waits until every patch of this boot has been loaded for `settle`, then confirms them. A signal to terminate confirms at
/// once: it is the sign of a clean shutdown.
pub(crate) fn run(system: &System, console: &mut Console<'_>, settle: Duration) -> Result<(), Error> {
    let boot = system.boot_id();
    loop {
        let notes: Vec<BootNote> =
            boot_notes::all(system)?.into_iter().filter(|note| note.boot == boot).collect();
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
            return confirm(system, console, &notes, why);
        }
        let mut waiting = Backoff::new(system, left);
        while system.kernel().interrupted().is_none() && waiting.step() {}
    }
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
