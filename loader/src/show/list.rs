// SPDX-License-Identifier: GPL-2.0-or-later
//! `list`: loaded and installed patch modules.

use serde::Serialize;

use crate::act::transition;
use crate::console::Console;
use crate::model::error::Error;
use crate::model::livepatch::{self, Function, PatchState};
use crate::model::store;
use crate::model::system::System;
use crate::model::tasks::{self, Stalled, Task};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    loaded: Vec<Loaded>,
    /// Tasks that block a transition.
    stalled: Vec<Task>,
    hidden_tasks: usize,
    installed: Vec<Installed>,
    /// Patched functions; only on kernels with `stack_order` (6.14 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    functions: Option<Vec<Function>>,
}

#[derive(Serialize)]
struct Loaded {
    module: String,
    state: PatchState,
}

#[derive(Serialize)]
struct Installed {
    module: String,
    kernel: String,
    path: String,
}

/// Verb `list`.
pub(crate) fn run(system: &System, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let patches = livepatch::patches(system)?;
    let mut loaded = Vec::new();
    for patch in &patches {
        // A patch without a state vanished after the directory was read.
        if let Some(state) = livepatch::state(system, patch)? {
            loaded.push(Loaded { module: patch.clone(), state });
        }
    }
    let changing = loaded.iter().find(|patch| patch.state.is_changing());
    let stalled = match changing {
        Some(patch) => tasks::stalled(system, &patch.module)?,
        None => Stalled::default(),
    };
    let mut installed = store::installed(system)?;
    // `status` and `load --all` report entries that are no module.
    installed.retain(|module| module.fault.is_none());
    let functions = livepatch::functions(system, &patches)?;
    if json {
        let row = |module: &store::Installed| Installed {
            module: module.name(),
            kernel: module.release.clone(),
            path: module.path(),
        };
        console.json(&Document {
            schema: "ferrograft.kpatch.list/1",
            loaded,
            stalled: stalled.tasks,
            hidden_tasks: stalled.hidden,
            installed: installed.iter().map(row).collect(),
            functions,
        });
        return Ok(());
    }
    console.say("Loaded patch modules:");
    for Loaded { module, state } in &loaded {
        console.say(format_args!("{module} [{state}]"));
    }
    transition::report(console, &stalled);
    console.say("");
    console.say("Installed patch modules:");
    for module in installed {
        console.say(format_args!("{} ({})", module.name(), module.release));
    }
    if let Some(functions) = functions {
        console.say("");
        console.say("Currently livepatched functions:");
        table(console, &functions);
    }
    Ok(())
}

/// Prints a table with columns as wide as their widest entry and two spaces.
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
