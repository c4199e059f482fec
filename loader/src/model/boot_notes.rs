// SPDX-License-Identifier: GPL-2.0-or-later
//! Boot notes: durable records of patches that are not confirmed yet.
//!
//! `load` writes a note before it inserts a module; `kpatch confirm` removes the note after a settle time or at a clean
//! shutdown. A note of an earlier boot therefore means that this boot ended in a crash or a power cut, perhaps caused by the
//! patch. `load --all` leaves such a patch out until an administrator loads it by name or another build is installed.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::durable::{self, FileKind};
use crate::model::error::Error;
use crate::model::system::System;
use crate::model::time::rfc3339;
use crate::model::{store, tasks, trace};

/// File name prefix of a note, before the module's name.
const NOTE: &str = ".trial-";

/// Directory of earlier versions for the notes. [`crate::model::layout::migrate`] empties it.
pub(crate) const OLD_DIRECTORY: &str = "/var/lib/kpatch/.trial";

/// Directory of marks for the notes of this boot; `kpatch-settle.path` watches it.
const THIS_BOOT: &str = "/run/kpatch/trial";

/// Note of one patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BootNote {
    pub(crate) module: String,
    /// Identity of the build: see [`crate::model::module_file::ModuleFile::build_of`].
    pub(crate) build: String,
    pub(crate) kernel: String,
    /// Kernel's id of the boot in which the patch was loaded.
    pub(crate) boot: String,
    /// Load time, in seconds since 1970.
    pub(crate) since: u64,
    /// Load time, in seconds since that boot. Ages are computed from it, since the clock may be set meanwhile.
    pub(crate) uptime: u64,
    /// Taint flags of the kernel before the load (`/proc/sys/kernel/tainted`); absent in notes of earlier versions.
    #[serde(default)]
    pub(crate) taint: Option<u64>,
}

impl BootNote {
    /// Load time in the form of RFC 3339.
    pub(crate) fn time(&self) -> String {
        rfc3339(UNIX_EPOCH + Duration::from_secs(self.since))
    }
}

/// Path of a module's note.
pub(crate) fn path(module: &str) -> String {
    format!("{}/{NOTE}{module}", store::DIRECTORY)
}

fn old_path(module: &str) -> String {
    format!("{OLD_DIRECTORY}/{module}")
}

/// Note of a patch that is about to be loaded.
pub(crate) fn note(system: &System, module: &str, build: &str, kernel: &str) -> BootNote {
    BootNote {
        module: module.to_owned(),
        build: build.to_owned(),
        kernel: kernel.to_owned(),
        boot: system.boot_id(),
        since: system.kernel().clock().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0),
        uptime: tasks::uptime(system).map(|uptime| uptime.as_secs()).unwrap_or(0),
        taint: trace::taint(system).ok().flatten(),
    }
}

/// Writes a note durably.
pub(crate) fn write(system: &System, note: &BootNote) -> Result<(), Error> {
    let module = &note.module;
    // Serialising plain structs to memory cannot fail.
    let text = serde_json::to_string(note).unwrap_or_default() + "\n";
    durable::replace(system, &path(module), text.as_bytes(), FileKind::Plain)?;
    // Without the mark the patch is only confirmed at the next clean shutdown.
    let mark = format!("{THIS_BOOT}/{module}");
    let _ = durable::make_dirs(system, &mark).map(|()| std::fs::write(system.path(mark), ""));
    Ok(())
}

/// Removes a note: the patch is not in the kernel, or is confirmed.
pub(crate) fn remove(system: &System, module: &str) -> Result<(), Error> {
    durable::remove(system, &path(module))?;
    durable::remove(system, &old_path(module))?;
    unmark(system, module)
}

/// Removes the mark of a note, so that `kpatch-settle.path` does not start another `confirm`.
pub(crate) fn unmark(system: &System, module: &str) -> Result<(), Error> {
    durable::remove(system, &format!("{THIS_BOOT}/{module}"))
}

/// Note of an earlier boot for this build; `None` if the build is confirmed or was never loaded.
pub(crate) fn unconfirmed(system: &System, module: &str, build: &str) -> Result<Option<BootNote>, Error> {
    let boot = system.boot_id();
    Ok(read(system, module)?.filter(|note| note.build == build && note.boot != boot))
}

fn read(system: &System, module: &str) -> Result<Option<BootNote>, Error> {
    let text = match system.read(&path(module))? {
        Some(text) => Some(text),
        None => system.read(&old_path(module))?,
    };
    // A damaged file is not a note of the loader: `durable::replace` leaves complete files only.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// All notes, ordered by module.
pub(crate) fn all(system: &System) -> Result<Vec<BootNote>, Error> {
    let entries = system.entries(store::DIRECTORY)?;
    let mut modules: Vec<String> =
        entries.iter().filter_map(|entry| entry.name.strip_prefix(NOTE)).map(str::to_owned).collect();
    modules.extend(system.names(OLD_DIRECTORY)?);
    modules.sort_unstable();
    modules.dedup();
    let mut found = Vec::new();
    for module in modules {
        found.extend(read(system, &module)?);
    }
    Ok(found)
}
