// SPDX-License-Identifier: GPL-2.0-or-later
//! Records of changes: one JSON line each in the history, one structured record each in systemd's journal (its native
//! protocol, `systemd.journal-fields(7)`).

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixDatagram;

use crate::console::Console;
use crate::model::durable::{self, FileKind};
use crate::model::error::Error;
use crate::model::history::{self, Action, Entry};
use crate::model::system::System;
use crate::model::time::rfc3339;

const JOURNAL: &str = "/run/systemd/journal/socket";
/// Size limit of the history, in bytes; beyond it only the newest half is kept.
const HISTORY_MAX: u64 = 1 << 20;

/// Appends a change to the history. A write failure only produces a warning; the change stays in effect.
pub(crate) fn change(
    system: &System,
    console: &mut Console<'_>,
    action: Action,
    module: &str,
    kernel: &str,
    result: Result<&str, &Error>,
) {
    let entry = Entry {
        time: rfc3339(system.kernel().clock()),
        boot: system.boot_id(),
        action,
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

/// Runs `work`, records its result and returns it.
pub(crate) fn recorded(
    system: &System,
    console: &mut Console<'_>,
    action: Action,
    module: &str,
    kernel: &str,
    work: impl FnOnce(&mut Console<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let result = work(console);
    change(system, console, action, module, kernel, result.as_ref().map(|()| ""));
    result
}

fn append(system: &System, entry: &Entry) -> Result<(), Error> {
    let error = |source| Error::file("write", history::PATH, source);
    durable::make_dirs(system, history::PATH)?;
    shorten(system)?;
    let mut file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .open(system.path(history::PATH))
        .map_err(error)?;
    // Serialising plain structs to memory cannot fail.
    let mut line = serde_json::to_string(entry).unwrap_or_default() + "\n";
    if !ends_with_newline(&mut file).map_err(error)? {
        line.insert(0, '\n');
    }
    // No fsync, which would take most of the time of a load. The boot notes hold the data that must survive a crash.
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
    let length = fs::metadata(system.path(history::PATH)).map(|data| data.len()).unwrap_or(0);
    if length <= HISTORY_MAX {
        return Ok(());
    }
    let bytes = system.read_bytes(history::PATH)?.unwrap_or_default();
    let half = bytes.len() / 2;
    let line =
        bytes.iter().skip(half).position(|byte| *byte == b'\n').map_or(bytes.len(), |at| half + at + 1);
    durable::replace(system, history::PATH, bytes.get(line..).unwrap_or_default(), FileKind::Plain)?;
    Ok(())
}

/// Sends a record to the journal. Without systemd there is no receiver; the history has the entry anyway.
fn journal(system: &System, entry: &Entry) {
    let outcome = if entry.done { "done" } else { "failed" };
    let mut message = format!("{} {} ({}): {outcome}", entry.action.name(), entry.module, entry.kernel);
    if !entry.detail.is_empty() {
        message.push_str(": ");
        // This form of the protocol allows no line break in a value.
        message.push_str(&entry.detail.replace('\n', " "));
    }
    let priority = if entry.done { 5 } else { 3 };
    let record = format!(
        "MESSAGE={message}\nMESSAGE_ID={}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=kpatch\nKPATCH_VERB={}\n\
         KPATCH_MODULE={}\nKPATCH_KERNEL={}\nKPATCH_OUTCOME={outcome}\n",
        entry.action.id(),
        entry.action.name(),
        entry.module,
        entry.kernel
    );
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to(record.as_bytes(), system.path(JOURNAL));
    }
}
