// SPDX-License-Identifier: GPL-2.0-or-later
//! Watch over the kernel's log after a load: bug reports that name a function of the patch.

use std::time::Duration;

use crate::act::record;
use crate::console::Console;
use crate::model::boot_notes::{self, BootNote};
use crate::model::bugs::{self, Bug};
use crate::model::error::Error;
use crate::model::history::Action;
use crate::model::kmsg::{Log, Record};
use crate::model::system::System;
use crate::model::trace::{self, Names};

/// Log as it grows. A report is news when it is complete: when the log is silent after its beginning.
pub(crate) struct Watch {
    log: Log,
    /// Number of looks since a report began; `None` if none did.
    waited: Option<u32>,
}

impl Watch {
    /// Limit of looks at a log that is never silent.
    const LOOKS_MAX: u32 = 20;

    /// Starts at the end of the log.
    pub(crate) fn new(system: &System) -> Self {
        Self { log: Log::from_here(system), waited: None }
    }

    /// True if a new report is in the log.
    pub(crate) fn has_news(&mut self) -> bool {
        // A log that cannot be read is reported by `find`.
        let records = self.log.records().unwrap_or_default();
        let begins = records.iter().any(|record| trace::begins(&record.text));
        self.waited = match self.waited {
            None if begins => Some(0),
            Some(looks) if !records.is_empty() && looks < Self::LOOKS_MAX => Some(looks + 1),
            Some(_) => {
                self.waited = None;
                return true;
            }
            None => None,
        };
        false
    }
}

/// Bug in the patch of a note since its load, from the whole log.
///
/// # Errors
/// The log cannot be read or does not go back to the load, and the kernel's taint flags say that it reported a bug.
pub(crate) fn find(system: &System, note: &BootNote) -> Result<Option<Bug>, Error> {
    let taint = new_taints(system, note)?;
    let (records, complete) = match Log::from_start(system).records() {
        Ok(records) => since_load(records, note),
        Err(_) if taint.is_empty() => return Ok(None),
        Err(why) => return Err(Error::NotWatched { module: note.module.clone(), taint, why }),
    };
    let found = in_records(system, note, &records, &taint)?;
    if found.is_none() && !complete && !taint.is_empty() {
        let why = "it does not go back to the load".to_owned();
        return Err(Error::NotWatched { module: note.module.clone(), taint, why });
    }
    Ok(found)
}

/// Bug in the patch of a note, in records since its load.
pub(crate) fn after_load(system: &System, note: &BootNote, log: &mut Log) -> Result<Option<Bug>, Error> {
    // A log that cannot be read: `confirm` asks the taint flags.
    let records = log.records().unwrap_or_default();
    in_records(system, note, &records, &new_taints(system, note)?)
}

fn in_records(
    system: &System,
    note: &BootNote,
    records: &[Record],
    taint: &str,
) -> Result<Option<Bug>, Error> {
    let names = Names::of(system, &note.module)?;
    let found = trace::reports(records)
        .into_iter()
        .find_map(|report| report.function(&names).map(|function| (report, function)));
    Ok(found.map(|(report, function)| Bug::new(system, note, &report, function, taint.to_owned())))
}

/// Letters of the taint flags that bugs have set since the load.
fn new_taints(system: &System, note: &BootNote) -> Result<String, Error> {
    let now = trace::taint(system)?;
    Ok(note.taint.zip(now).map(|(before, now)| trace::new_bug_taints(before, now)).unwrap_or_default())
}

/// Records since the load of a note's patch, and whether they are complete. The load is at the livepatch core's last message
/// about it (`klp_enable_patch()` in `kernel/livepatch/core.c`), else at the time of the note.
fn since_load(mut records: Vec<Record>, note: &BootNote) -> (Vec<Record>, bool) {
    let message = format!("livepatch: enabling patch '{}'", note.module);
    if let Some(at) = records.iter().rposition(|record| record.text == message) {
        return (records.split_off(at), true);
    }
    let load = Duration::from_secs(note.uptime);
    let complete = records.first().is_none_or(|oldest| oldest.time <= load);
    records.retain(|record| record.time >= load);
    (records, complete)
}

/// Records a bug durably; the patch is no longer on trial. The caller holds the lock.
pub(crate) fn record(system: &System, console: &mut Console<'_>, bug: &Bug) -> Result<Error, Error> {
    bugs::write(system, bug)?;
    boot_notes::remove(system, &bug.module)?;
    let error = Error::AppliedWithBug {
        module: bug.module.clone(),
        function: bug.function.clone(),
        title: bug.title.clone(),
    };
    record::change(system, console, Action::Bug, &bug.module, &bug.kernel, Err(&error));
    Ok(error)
}
