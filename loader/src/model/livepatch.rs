// SPDX-License-Identifier: GPL-2.0-or-later
//! What the kernel shows of its live patches: `/sys/kernel/livepatch` and the tasks' states
//! (`Documentation/ABI/testing/sysfs-kernel-livepatch`).

use std::collections::BTreeMap;
use std::fmt;

use klp_format::ModuleName;
use rustix::io::Errno;
use serde::Serialize;

use crate::model::error::Error;
use crate::model::system::{System, is_gone};

/// The livepatch core's directory: one directory for each patch that is enabled or changing.
pub(crate) const DIRECTORY: &str = "/sys/kernel/livepatch";

/// What a patch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Enabled,
    Disabled,
    Enabling,
    Disabling,
}

impl State {
    /// Whether it is enabled, or on its way there.
    pub(crate) fn is_on(self) -> bool {
        matches!(self, Self::Enabled | Self::Enabling)
    }

    pub(crate) fn is_changing(self) -> bool {
        matches!(self, Self::Enabling | Self::Disabling)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Enabling => "enabling...",
            Self::Disabling => "disabling...",
        })
    }
}

/// The patches that the livepatch core knows, in order.
pub(crate) fn patches(system: &System) -> Result<Vec<String>, Error> {
    system.names(DIRECTORY)
}

/// A patch's state; `None` when the livepatch core does not know it (any more).
pub(crate) fn state(system: &System, patch: &str) -> Result<Option<State>, Error> {
    let Some(enabled) = flag(system, patch, "enabled")? else {
        return Ok(None);
    };
    Ok(Some(match (enabled, in_transition(system, patch)?) {
        (true, false) => State::Enabled,
        (true, true) => State::Enabling,
        (false, false) => State::Disabled,
        (false, true) => State::Disabling,
    }))
}

/// Whether tasks are still on their way into or out of a patch.
pub(crate) fn in_transition(system: &System, patch: &str) -> Result<bool, Error> {
    Ok(flag(system, patch, "transition")?.unwrap_or(false))
}

/// Asks for the patch to be enabled or disabled. `None`: the livepatch core does not know it (any more).
pub(crate) fn set_enabled(system: &System, patch: &ModuleName, on: bool) -> Option<Result<(), Errno>> {
    let path = format!("{DIRECTORY}/{patch}/enabled");
    match system.write(&path, if on { "1" } else { "0" }) {
        Ok(()) => Some(Ok(())),
        Err(error) if is_gone(&path, &error) => None,
        Err(error) => Some(Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
    }
}

/// Asks the kernel to poke the tasks that hold a transition up; `false` where it has no file for that because it does so
/// by itself (5.10 and later).
pub(crate) fn signal(system: &System, patch: &str) -> Result<bool, Error> {
    let path = format!("{DIRECTORY}/{patch}/signal");
    if !system.exists(&path) {
        return Ok(false);
    }
    match system.write(&path, "1") {
        Ok(()) => Ok(true),
        Err(error) if is_gone(&path, &error) => Ok(true),
        Err(source) => Err(Error::file("write", &path, source)),
    }
}

/// Whether a loaded module is a live patch: the kernel marks those with the taint `K`. `None`: no such module is loaded.
pub(crate) fn is_loaded_livepatch(system: &System, module: &ModuleName) -> Result<Option<bool>, Error> {
    if !system.exists(&format!("/sys/module/{module}")) {
        return Ok(None);
    }
    let taint = system.read_line(&format!("/sys/module/{module}/taint"))?;
    Ok(Some(taint.is_some_and(|taint| taint.contains('K'))))
}

/// How many use a loaded module; `None` when it is gone.
pub(crate) fn reference_count(system: &System, module: &ModuleName) -> Result<Option<i64>, Error> {
    let text = system.read_line(&format!("/sys/module/{module}/refcnt"))?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// The patch that is changing, of which there is at most one.
pub(crate) fn changing(system: &System) -> Result<Option<String>, Error> {
    for patch in patches(system)? {
        if state(system, &patch)?.is_some_and(State::is_changing) {
            return Ok(Some(patch));
        }
    }
    Ok(None)
}

/// A patched function and the patch whose code it runs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Function {
    #[serde(rename = "module")]
    pub(crate) patch: String,
    pub(crate) object: String,
    /// Name and occurrence, as sysfs shows them: `cmdline_proc_show,1`.
    pub(crate) function: String,
}

/// The functions that these patches patch now, each once, with the patch that is on top; ordered by object and function. `None`
/// where the kernel does not say which patch is on top (`stack_order` came with 6.14).
pub(crate) fn functions(system: &System, patches: &[String]) -> Result<Option<Vec<Function>>, Error> {
    let mut known = false;
    let mut top: BTreeMap<(String, String), (u64, String)> = BTreeMap::new();
    for patch in patches {
        let order = system.read_line(&format!("{DIRECTORY}/{patch}/stack_order"))?;
        let Some(order) = order.and_then(|text| text.trim().parse::<u64>().ok()) else {
            continue;
        };
        known = true;
        if state(system, patch)?.is_some_and(State::is_on) {
            for (object, function) in functions_of(system, patch)? {
                let entry = top.entry((object, function)).or_default();
                *entry = std::mem::take(entry).max((order, patch.clone()));
            }
        }
    }
    let row = |((object, function), (_, patch))| Function { patch, object, function };
    Ok(known.then(|| top.into_iter().map(row).collect()))
}

/// The functions that a patch replaces, as `(object, function)` and without their occurrence, whether its objects are
/// patched now or not.
pub(crate) fn replaced_by(system: &System, patch: &str) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    for object in system.names(&format!("{DIRECTORY}/{patch}"))? {
        let directory = format!("{DIRECTORY}/{patch}/{object}");
        if !system.path(&directory).is_dir() {
            continue;
        }
        for function in system.names(&directory)? {
            if let Some((name, _)) = function.split_once(',') {
                found.push((object.clone(), name.to_owned()));
            }
        }
    }
    Ok(found)
}

fn functions_of(system: &System, patch: &str) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    for object in system.names(&format!("{DIRECTORY}/{patch}"))? {
        let directory = format!("{DIRECTORY}/{patch}/{object}");
        // An object that is not loaded, or is not patched yet, has no function on top of anything.
        if flag(system, patch, &format!("{object}/patched"))?.unwrap_or(false) {
            let functions = system.names(&directory)?;
            let functions = functions.into_iter().filter(|name| name.contains(','));
            found.extend(functions.map(|function| (object.clone(), function)));
        }
    }
    Ok(found)
}

/// What is written into a patch's directory to end its transition for all tasks at once.
pub(crate) fn force(system: &System, patch: &str) -> Result<(), Error> {
    let path = format!("{DIRECTORY}/{patch}/force");
    match system.write(&path, "1") {
        Ok(()) => Ok(()),
        Err(error) if is_gone(&path, &error) => Ok(()),
        Err(source) => Err(Error::file("write", &path, source)),
    }
}

pub(crate) fn flag(system: &System, patch: &str, file: &str) -> Result<Option<bool>, Error> {
    let path = format!("{DIRECTORY}/{patch}/{file}");
    match system.read_line(&path) {
        Ok(text) => Ok(text.map(|text| text.trim() == "1")),
        // `enabled` is a file beside the objects' directories: `<patch>/enabled/patched` is none.
        Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error),
    }
}
