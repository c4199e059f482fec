// SPDX-License-Identifier: GPL-2.0-or-later
//! What was changed, when, and how it ended: one JSON line each in the history, one structured record each in systemd's
//! journal (its native protocol, `systemd.journal-fields(7)`).

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixDatagram;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::console::Console;
use crate::model::durable::{self, Kind};
use crate::model::error::Error;
use crate::model::system::System;

pub(crate) const HISTORY: &str = "/var/lib/kpatch/.history";
const JOURNAL: &str = "/run/systemd/journal/socket";
/// When the history has grown to this many bytes, only its newest half is kept.
const HISTORY_MAX: u64 = 1 << 20;

/// A kind of change, with the id that journal readers filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Load,
    Unload,
    Install,
    Uninstall,
    Rollback,
    Force,
    Skip,
    Confirm,
    Prune,
}

impl What {
    /// The journal's MESSAGE_ID.
    fn id(self) -> &'static str {
        match self {
            Self::Load => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a01",
            Self::Unload => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a02",
            Self::Install => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a03",
            Self::Uninstall => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a04",
            Self::Rollback => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a05",
            Self::Force => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a06",
            Self::Skip => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a07",
            Self::Confirm => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a08",
            Self::Prune => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a09",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Unload => "unload",
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Rollback => "rollback",
            Self::Force => "force",
            Self::Skip => "skip",
            Self::Confirm => "confirm",
            Self::Prune => "prune",
        }
    }
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// UTC, as RFC 3339 has it.
    pub(crate) time: String,
    /// The kernel's id of that boot.
    pub(crate) boot: String,
    pub(crate) what: What,
    pub(crate) module: String,
    /// The kernel that the module is for.
    pub(crate) kernel: String,
    pub(crate) done: bool,
    /// Why not, or more of it; may be empty.
    pub(crate) detail: String,
}

/// Writes a change down. That it cannot be written does not undo it: a warning says so.
pub(crate) fn change(
    system: &System,
    console: &mut Console<'_>,
    what: What,
    module: &str,
    kernel: &str,
    result: Result<&str, &Error>,
) {
    let entry = Entry {
        time: rfc3339(system.kernel().clock()),
        boot: system.boot_id(),
        what,
        module: module.to_owned(),
        kernel: kernel.to_owned(),
        done: result.is_ok(),
        detail: result.map_or_else(|error| error.to_string(), str::to_owned),
    };
    journal(system, &entry);
    if let Err(error) = append(system, &entry) {
        console.warn(format_args!("the history does not have this: {error}"));
    }
}

/// Runs a change, writes down how it ended, and gives its result on.
pub(crate) fn recorded(
    system: &System,
    console: &mut Console<'_>,
    what: What,
    module: &str,
    kernel: &str,
    work: impl FnOnce(&mut Console<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let result = work(console);
    change(system, console, what, module, kernel, result.as_ref().map(|()| ""));
    result
}

/// The history, oldest first; lines that a kill or a power cut left incomplete are counted, not shown.
pub(crate) fn history(system: &System) -> Result<(Vec<Entry>, usize), Error> {
    let text = system.read(HISTORY)?.unwrap_or_default();
    let parsed: Vec<Option<Entry>> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).ok())
        .collect();
    let damaged = parsed.iter().filter(|line| line.is_none()).count();
    Ok((parsed.into_iter().flatten().collect(), damaged))
}

fn append(system: &System, entry: &Entry) -> Result<(), Error> {
    let error = |source| Error::file("write", HISTORY, source);
    durable::make_dirs(system, HISTORY)?;
    shorten(system)?;
    let mut file =
        File::options().read(true).append(true).create(true).open(system.path(HISTORY)).map_err(error)?;
    // Serialising plain structs to memory cannot fail.
    let mut line = serde_json::to_string(entry).unwrap_or_default() + "\n";
    if !ends_with_newline(&mut file).map_err(error)? {
        line.insert(0, '\n');
    }
    // Not flushed: what the next boot must know after a crash is in the notes of `trial`, and waiting for the disk is most
    // of what a load costs.
    file.write_all(line.as_bytes()).map_err(error)
}

fn ends_with_newline(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn shorten(system: &System) -> Result<(), Error> {
    let length = fs::metadata(system.path(HISTORY)).map(|data| data.len()).unwrap_or(0);
    if length <= HISTORY_MAX {
        return Ok(());
    }
    let bytes = system.read_bytes(HISTORY)?.unwrap_or_default();
    let half = bytes.len() / 2;
    let line =
        bytes.iter().skip(half).position(|byte| *byte == b'\n').map_or(bytes.len(), |at| half + at + 1);
    durable::replace(system, HISTORY, bytes.get(line..).unwrap_or_default(), Kind::Plain)?;
    Ok(())
}

/// Nobody listens where systemd does not run: the history has it all the same.
fn journal(system: &System, entry: &Entry) {
    let outcome = if entry.done { "done" } else { "failed" };
    let mut message = format!("{} {} ({}): {outcome}", entry.what.name(), entry.module, entry.kernel);
    if !entry.detail.is_empty() {
        message.push_str(": ");
        // A value may not hold a line break in this form of the protocol.
        message.push_str(&entry.detail.replace('\n', " "));
    }
    let priority = if entry.done { 5 } else { 3 };
    let record = format!(
        "MESSAGE={message}\nMESSAGE_ID={}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=kpatch\nKPATCH_VERB={}\n\
         KPATCH_MODULE={}\nKPATCH_KERNEL={}\nKPATCH_OUTCOME={outcome}\n",
        entry.what.id(),
        entry.what.name(),
        entry.module,
        entry.kernel
    );
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to(record.as_bytes(), system.path(JOURNAL));
    }
}

/// A time as `2026-11-24T12:00:00Z`. The calendar is the proleptic Gregorian one, by days since 0000-03-01.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0);
    let (days, second) = (seconds / 86400 + 719_468, seconds % 86400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::rfc3339;

    #[test]
    fn times_are_those_of_date() {
        // `date -u -d @N +%FT%TZ`
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_521_600, "2026-11-24T12:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
