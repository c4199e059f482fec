// SPDX-License-Identifier: GPL-2.0-or-later
//! `list`: loaded and installed patch modules.

use crate::console::Console;
use crate::livepatch::{self, Function};
use crate::{Error, System, store, transition};

pub(crate) fn run(system: &System, console: &mut Console<'_>) -> Result<(), Error> {
    console.say("Loaded patch modules:");
    for patch in livepatch::patches(system)? {
        // One without a state has gone since the directory was read.
        if let Some(state) = livepatch::state(system, &patch)? {
            console.say(format_args!("{patch} [{state}]"));
        }
    }
    if let Some(patch) = livepatch::changing(system)? {
        transition::report(console, &livepatch::stalled(system, &patch)?);
    }
    console.say("");
    console.say("Installed patch modules:");
    for module in store::installed(system)? {
        console.say(format_args!("{} ({})", module.name(), module.release));
    }
    if let Some(functions) = livepatch::functions(system)? {
        console.say("");
        console.say("Currently livepatched functions:");
        table(console, &functions);
    }
    Ok(())
}

/// Columns as wide as their widest entry and two spaces.
fn table(console: &mut Console<'_>, functions: &[Function]) {
    let header = ("Module", "Object", "Function/Occurrence");
    let rows = functions.iter().map(|row| (row.patch.as_str(), row.object.as_str(), row.function.as_str()));
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let first = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    let second = rows.iter().map(|row| row.1.len()).max().unwrap_or(0);
    for (patch, object, function) in rows {
        console.say(format_args!("{patch:first$}  {object:second$}  {function}"));
    }
}
