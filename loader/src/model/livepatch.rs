// SPDX-License-Identifier: GPL-2.0-or-later
//! Interface of the livepatch core, `/sys/kernel/livepatch` (`Documentation/ABI/testing/sysfs-kernel-livepatch`).

use std::collections::BTreeMap;
use std::fmt;

use klp_format::ModuleName;
use rustix::io::Errno;
use serde::Serialize;

use crate::model::error::Error;
use crate::model::system::{System, is_gone};

/// Directory of the livepatch core, with one directory per patch that is enabled or in transition.
pub(crate) const DIRECTORY: &str = "/sys/kernel/livepatch";

/// State of a loaded patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PatchState {
    Enabled,
    Disabled,
    Enabling,
    Disabling,
}

impl PatchState {
    /// True if the patch is enabled or being enabled.
    pub(crate) fn is_on(self) -> bool {
        matches!(self, Self::Enabled | Self::Enabling)
    }

    /// True if the patch is in transition.
    pub(crate) fn is_changing(self) -> bool {
        matches!(self, Self::Enabling | Self::Disabling)
    }
}

impl fmt::Display for PatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Enabling => "enabling...",
            Self::Disabling => "disabling...",
        })
    }
}

/// Patches that the livepatch core lists, sorted by name.
pub(crate) fn patches(system: &System) -> Result<Vec<String>, Error> {
    system.names(DIRECTORY)
}

/// State of a patch; `None` if the livepatch core does not list it.
pub(crate) fn state(system: &System, patch: &str) -> Result<Option<PatchState>, Error> {
    let Some(enabled) = flag(system, patch, "enabled")? else {
        return Ok(None);
    };
    Ok(Some(match (enabled, in_transition(system, patch)?) {
        (true, false) => PatchState::Enabled,
        (true, true) => PatchState::Enabling,
        (false, false) => PatchState::Disabled,
        (false, true) => PatchState::Disabling,
    }))
}

/// True if a patch is in transition.
pub(crate) fn in_transition(system: &System, patch: &str) -> Result<bool, Error> {
    Ok(flag(system, patch, "transition")?.unwrap_or(false))
}

/// Enables or disables a patch; `None` if the livepatch core does not list it.
pub(crate) fn set_enabled(system: &System, patch: &ModuleName, on: bool) -> Option<Result<(), Errno>> {
    let path = format!("{DIRECTORY}/{patch}/enabled");
    match system.write(&path, if on { "1" } else { "0" }) {
        Ok(()) => Some(Ok(())),
        Err(error) if is_gone(&path, &error) => None,
        Err(error) => Some(Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
    }
}

/// Makes the kernel signal the tasks that block a transition. Returns `false` on a kernel without the file `signal`,
/// which signals them by itself (5.10 and later).
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

/// True if a loaded module is a live patch, by the taint flag `K`; `None` if the module is not loaded.
pub(crate) fn is_loaded_livepatch(system: &System, module: &ModuleName) -> Result<Option<bool>, Error> {
    if !system.exists(&format!("/sys/module/{module}")) {
        return Ok(None);
    }
    let taint = system.read_line(&format!("/sys/module/{module}/taint"))?;
    Ok(Some(taint.is_some_and(|taint| taint.contains('K'))))
}

/// Reference count of a loaded module; `None` if the module is not loaded.
pub(crate) fn reference_count(system: &System, module: &ModuleName) -> Result<Option<i64>, Error> {
    let text = system.read_line(&format!("/sys/module/{module}/refcnt"))?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// Patch in transition; the kernel allows one at a time.
pub(crate) fn changing(system: &System) -> Result<Option<String>, Error> {
    for patch in patches(system)? {
        if state(system, &patch)?.is_some_and(PatchState::is_changing) {
            return Ok(Some(patch));
        }
    }
    Ok(None)
}

/// Patched function and the patch on top of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Function {
    #[serde(rename = "module")]
    pub(crate) patch: String,
    pub(crate) object: String,
    /// Name and occurrence in the form of sysfs: `cmdline_proc_show,1`.
    pub(crate) function: String,
}

/// Functions that these patches patch now, each with the patch on top, ordered by object and function. `None` on a kernel
/// without `stack_order` (which came with 6.14).
pub(crate) fn functions(system: &System, patches: &[String]) -> Result<Option<Vec<Function>>, Error> {
    let mut known = false;
    let mut top: BTreeMap<(String, String), (u64, String)> = BTreeMap::new();
    for patch in patches {
        let order = system.read_line(&format!("{DIRECTORY}/{patch}/stack_order"))?;
        let Some(order) = order.and_then(|text| text.trim().parse::<u64>().ok()) else {
            continue;
        };
        known = true;
        if state(system, patch)?.is_some_and(PatchState::is_on) {
            for (object, function) in functions_of(system, patch)? {
                let entry = top.entry((object, function)).or_default();
                *entry = std::mem::take(entry).max((order, patch.clone()));
            }
        }
    }
    let row = |((object, function), (_, patch))| Function { patch, object, function };
    Ok(known.then(|| top.into_iter().map(row).collect()))
}

/// Functions of a patch as `(object, function)` without occurrence, including those of objects that are not loaded.
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

/// Functions that a patch replaces now, as `(object, "function,position")`.
pub(crate) fn functions_of(system: &System, patch: &str) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    for object in system.names(&format!("{DIRECTORY}/{patch}"))? {
        let directory = format!("{DIRECTORY}/{patch}/{object}");
        // Skip objects that are not loaded or not patched yet.
        if flag(system, patch, &format!("{object}/patched"))?.unwrap_or(false) {
            let functions = system.names(&directory)?;
            let functions = functions.into_iter().filter(|name| name.contains(','));
            found.extend(functions.map(|function| (object.clone(), function)));
        }
    }
    Ok(found)
}

/// Forces the transition of a patch: all tasks change over at once.
pub(crate) fn force(system: &System, patch: &str) -> Result<(), Error> {
    let path = format!("{DIRECTORY}/{patch}/force");
    match system.write(&path, "1") {
        Ok(()) => Ok(()),
        Err(error) if is_gone(&path, &error) => Ok(()),
        Err(source) => Err(Error::file("write", &path, source)),
    }
}

/// Value of a file with `0` or `1`; `None` if the file does not exist.
pub(crate) fn flag(system: &System, patch: &str, file: &str) -> Result<Option<bool>, Error> {
    let path = format!("{DIRECTORY}/{patch}/{file}");
    match system.read_line(&path) {
        Ok(text) => Ok(text.map(|text| text.trim() == "1")),
        // `functions_of` takes the file `enabled` for an object's directory; `<patch>/enabled/patched` does not exist.
        Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error),
    }
}
