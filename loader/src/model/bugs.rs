// SPDX-License-Identifier: GPL-2.0-or-later
//! Bug records: durable records of patches in which the kernel reported a bug after the load (state `applied-with-bug`).
//!
//! A record belongs to one build of a module. The boot in which it was written shows the state as long as the patch is enabled;
//! later boots leave the build out. A successful load by name replaces it by a new trial; another build has no record.

use serde::{Deserialize, Serialize};

use crate::model::boot_notes::BootNote;
use crate::model::durable::{self, FileKind};
use crate::model::error::Error;
use crate::model::store;
use crate::model::system::System;
use crate::model::time::rfc3339;
use crate::model::trace::Report;

/// File name prefix of a record, before the module's name.
const RECORD: &str = ".bug-";
/// Limits of a stored trace: lines, and characters of a line.
const LINES_MAX: usize = 100;
const LINE_MAX: usize = 500;

/// Bug that the kernel reported in a patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bug {
    pub(crate) module: String,
    /// Identity of the build: see [`crate::model::module_file::ModuleFile::build_of`].
    pub(crate) build: String,
    pub(crate) kernel: String,
    /// Kernel's id of the boot of the report.
    pub(crate) boot: String,
    /// Time of the discovery, in the form of RFC 3339.
    pub(crate) time: String,
    /// First line of the report.
    pub(crate) title: String,
    /// Function of the patch that the report names.
    pub(crate) function: String,
    /// Letters of the taint flags that bugs have set since the load.
    pub(crate) taint: String,
    /// Lines of the report, at most [`LINES_MAX`].
    pub(crate) trace: Vec<String>,
    /// Number of further lines.
    pub(crate) left_out: usize,
}

impl Bug {
    /// Bug of the patch of a boot note.
    pub(crate) fn new(
        system: &System,
        note: &BootNote,
        report: &Report,
        function: String,
        taint: String,
    ) -> Self {
        let cut = |line: &String| line.chars().take(LINE_MAX).collect();
        Self {
            module: note.module.clone(),
            build: note.build.clone(),
            kernel: note.kernel.clone(),
            boot: note.boot.clone(),
            time: rfc3339(system.kernel().clock()),
            title: cut(&report.title().to_owned()),
            function,
            taint,
            trace: report.lines.iter().take(LINES_MAX).map(cut).collect(),
            left_out: report.lines.len().saturating_sub(LINES_MAX),
        }
    }
}

/// Path of a module's record.
pub(crate) fn path(module: &str) -> String {
    format!("{}/{RECORD}{module}", store::DIRECTORY)
}

/// Writes a record durably.
pub(crate) fn write(system: &System, bug: &Bug) -> Result<(), Error> {
    // Serialising plain structs to memory cannot fail.
    let text = serde_json::to_string(bug).unwrap_or_default() + "\n";
    durable::replace(system, &path(&bug.module), text.as_bytes(), FileKind::Plain).map(|_| ())
}

/// Removes a record; a missing one is no error.
pub(crate) fn remove(system: &System, module: &str) -> Result<(), Error> {
    durable::remove(system, &path(module))
}

/// Removes a record if there is one. (On a read-only file system the removal of a missing file is an error.)
pub(crate) fn forget(system: &System, module: &str) -> Result<(), Error> {
    if system.exists(&path(module)) { remove(system, module) } else { Ok(()) }
}

/// Record of a module; `None` if there is none.
pub(crate) fn read(system: &System, module: &str) -> Result<Option<Bug>, Error> {
    // A damaged file is not a record of the loader: `durable::replace` leaves complete files only.
    Ok(system.read(&path(module))?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Record of this build of a module; `None` if there is none.
pub(crate) fn of_build(system: &System, module: &str, build: &str) -> Result<Option<Bug>, Error> {
    Ok(read(system, module)?.filter(|bug| bug.build == build))
}

/// Modules with a record, sorted.
pub(crate) fn modules(system: &System) -> Result<Vec<String>, Error> {
    let entries = system.entries(store::DIRECTORY)?;
    Ok(entries.iter().filter_map(|entry| entry.name.strip_prefix(RECORD)).map(str::to_owned).collect())
}
