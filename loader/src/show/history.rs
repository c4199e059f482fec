// SPDX-License-Identifier: GPL-2.0-or-later
//! `history`: recorded changes on this machine.

use serde::Serialize;

use crate::console::Console;
use crate::model::error::Error;
use crate::model::history::{self, Entry};
use crate::model::system::System;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    entries: Vec<Entry>,
    damaged_lines: usize,
}

/// Verb `history`: prints the entries, oldest first.
pub(crate) fn run(system: &System, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let (entries, damaged_lines) = history::read(system)?;
    if json {
        console.json(&Document { schema: "ferrograft.kpatch.history/1", entries, damaged_lines });
        return Ok(());
    }
    for entry in &entries {
        let outcome = if entry.done { "done" } else { "FAILED" };
        let detail = entry.detail.lines().next().unwrap_or_default();
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        let (action, module, kernel) = (entry.action.name(), &entry.module, &entry.kernel);
        console.say(format_args!("{} {action:<9} {module} ({kernel}) {outcome}{detail}", entry.time));
    }
    if damaged_lines != 0 {
        console.warn(format_args!(
            "{damaged_lines} lines of {} are incomplete: a kill or a power cut came while they were written",
            history::PATH
        ));
    }
    Ok(())
}
