// SPDX-License-Identifier: GPL-2.0-or-later
//! Patches on trial. Before a patch goes into the kernel, that is written down durably; after a settle time, or at a clean
//! shutdown, `kpatch confirm` takes the note back. A note of another boot says that that boot ended without either: a
//! crash or a power cut, perhaps by the patch. Such a patch is not loaded at boot until somebody loads it by name, or
//! another build of it comes.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::act::record::{self, What, rfc3339};
use crate::console::Console;
use crate::model::durable::{self, Kind};
use crate::model::error::Error;
use crate::model::system::{Backoff, System};
use crate::model::{layout, store};

/// How a note's file is called, before the module's name.
const NOTE: &str = ".trial-";

/// The same for this boot only: what `kpatch-settle.path` watches. (A note of an earlier boot stays above.)
const THIS_BOOT: &str = "/run/kpatch/trial";

/// A patch's note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) module: String,
    /// Which build of it: see [`crate::model::module_file::build_of`].
    pub(crate) build: String,
    pub(crate) kernel: String,
    /// The kernel's id of the boot in which it was loaded.
    pub(crate) boot: String,
    /// Seconds since 1970.
    pub(crate) since: u64,
    /// Seconds since that boot: what ages are taken from, since the time of day may be set meanwhile.
    pub(crate) uptime: u64,
}

impl Trial {
    /// When it was loaded, for people.
    pub(crate) fn time(&self) -> String {
        rfc3339(UNIX_EPOCH + Duration::from_secs(self.since))
    }
}

/// The file of a module's note.
pub(crate) fn path(module: &str) -> String {
    format!("{}/{NOTE}{module}", store::DIRECTORY)
}

/// Where an earlier version wrote it: there until a verb that changes something moves it ([`layout::migrate`]).
fn old_path(module: &str) -> String {
    format!("{}/{module}", layout::OLD_TRIALS)
}

fn uptime(system: &System) -> Result<u64, Error> {
    Ok(crate::model::tasks::uptime(system)?.as_secs())
}

/// Puts a build of a patch on trial in this boot. Where that cannot be written the patch is loaded all the same.
pub(crate) fn begin(system: &System, console: &mut Console<'_>, module: &str, build: &str, kernel: &str) {
    let trial = Trial {
        module: module.to_owned(),
        build: build.to_owned(),
        kernel: kernel.to_owned(),
        boot: system.boot_id(),
        since: system.kernel().clock().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0),
        uptime: uptime(system).unwrap_or(0),
    };
    // Serialising plain structs to memory cannot fail.
    let text = serde_json::to_string(&trial).unwrap_or_default() + "\n";
    if let Err(error) = durable::replace(system, &path(module), text.as_bytes(), Kind::Plain) {
        console
            .warn(format_args!("should {module} crash this machine, the next boot will not know: {error}"));
        return;
    }
    // Without it the patch is confirmed at the next shutdown in good order, no sooner.
    let mark = format!("{THIS_BOOT}/{module}");
    let _ = durable::make_dirs(system, &mark).map(|()| std::fs::write(system.path(mark), ""));
}

/// Takes a note back: the patch is not in the kernel, or is trusted.
pub(crate) fn end(system: &System, console: &mut Console<'_>, module: &str) {
    if let Err(error) = forget(system, module) {
        console.warn(format_args!("the next boot may take {module} for the cause of a crash: {error}"));
    }
}

fn forget(system: &System, module: &str) -> Result<(), Error> {
    durable::remove(system, &path(module))?;
    durable::remove(system, &old_path(module))?;
    durable::remove(system, &format!("{THIS_BOOT}/{module}"))
}

/// The note of a build that an earlier boot did not live to confirm.
pub(crate) fn unconfirmed(system: &System, module: &str, build: &str) -> Result<Option<Trial>, Error> {
    let boot = system.boot_id();
    Ok(read(system, module)?.filter(|trial| trial.build == build && trial.boot != boot))
}

fn read(system: &System, module: &str) -> Result<Option<Trial>, Error> {
    // One that is damaged was never completed: replace() does not leave such.
    let text = match system.read(&path(module))? {
        Some(text) => Some(text),
        None => system.read(&old_path(module))?,
    };
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// All notes, in order.
pub(crate) fn all(system: &System) -> Result<Vec<Trial>, Error> {
    let entries = system.entries(store::DIRECTORY)?;
    let mut modules: Vec<String> =
        entries.iter().filter_map(|entry| entry.name.strip_prefix(NOTE)).map(str::to_owned).collect();
    modules.extend(system.names(layout::OLD_TRIALS)?);
    modules.sort_unstable();
    modules.dedup();
    let mut found = Vec::new();
    for module in modules {
        found.extend(read(system, &module)?);
    }
    Ok(found)
}

/// Confirms the patches of this boot: those that are older than `settle`, after waiting until all are; at once when this
/// program is asked to end, as at a clean shutdown.
pub(crate) fn confirm(system: &System, console: &mut Console<'_>, settle: Duration) -> Result<(), Error> {
    let boot = system.boot_id();
    loop {
        let mine: Vec<Trial> = all(system)?.into_iter().filter(|trial| trial.boot == boot).collect();
        let now = uptime(system)?;
        let age = |trial: &Trial| Duration::from_secs(now.saturating_sub(trial.uptime));
        let left = mine.iter().map(|trial| settle.saturating_sub(age(trial))).max().unwrap_or_default();
        let ended = system.kernel().interrupted().is_some();
        if left.is_zero() || ended {
            crate::act::lock::take(system, console, "confirm")?;
            layout::migrate(system, console);
            for trial in mine {
                let why = if ended {
                    "the machine is being shut down in good order"
                } else if settle.is_zero() {
                    "as asked for"
                } else {
                    "it has settled"
                };
                forget(system, &trial.module)?;
                console.say(format_args!("{} is confirmed: {why}", trial.module));
                record::change(system, console, What::Confirm, &trial.module, &trial.kernel, Ok(why));
            }
            return Ok(());
        }
        let mut waiting = Backoff::new(system, left);
        while system.kernel().interrupted().is_none() && waiting.step() {}
    }
}
