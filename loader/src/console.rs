// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator reads: progress and listings on the standard output, messages with the command's name on the
//! standard error.

use std::fmt::Display;
use std::io::{self, Write};

use crate::model::error::Error;

/// The two streams. An output that fails (a closed pipe) never interrupts the work on the kernel: it is reported at the
/// end.
pub(crate) struct Console<'w> {
    out: &'w mut dyn Write,
    err: &'w mut dyn Write,
    failed: Option<io::Error>,
    /// Whether a line of progress stands on the terminal.
    progress: bool,
}

impl<'w> Console<'w> {
    pub(crate) fn new(out: &'w mut dyn Write, err: &'w mut dyn Write) -> Self {
        Self { out, err, failed: None, progress: false }
    }

    /// Progress or a row of a listing.
    pub(crate) fn say(&mut self, line: impl Display) {
        if let Err(error) = writeln!(self.out, "{line}") {
            self.failed.get_or_insert(error);
        }
    }

    /// A message with the command's name before it.
    pub(crate) fn warn(&mut self, message: impl Display) {
        self.note(format_args!("kpatch: {message}"));
    }

    /// Text for people, as it is.
    pub(crate) fn note(&mut self, text: impl Display) {
        // Nobody is left to tell when the standard error fails; the exit code still says what happened.
        let _ = writeln!(self.err, "{text}");
    }

    /// A line on the terminal that the next one replaces.
    pub(crate) fn progress(&mut self, text: impl Display) {
        self.progress = true;
        let _ = write!(self.err, "\r\x1b[K{text}").and_then(|()| self.err.flush());
    }

    /// Takes the line of progress away.
    pub(crate) fn end_progress(&mut self) {
        if std::mem::take(&mut self.progress) {
            let _ = write!(self.err, "\r\x1b[K").and_then(|()| self.err.flush());
        }
    }

    /// A JSON document, on lines of its own.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.say(text),
            Err(error) => {
                self.failed.get_or_insert(io::Error::other(error));
            }
        }
    }

    /// An error: its lines, each with the command's name, those that explain indented below.
    pub(crate) fn error(&mut self, error: &Error) {
        if !matches!(error, Error::Usage { message: None } | Error::Verdict { .. }) {
            for line in error.to_string().lines() {
                if line.starts_with(' ') { self.note(line) } else { self.warn(line) }
            }
        }
        if matches!(error, Error::Usage { .. }) {
            self.note(crate::cli::USAGE);
        }
    }

    /// Whether all of the output got out.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let flushed = self.out.flush();
        match self.failed.take().map_or(flushed, Err) {
            Ok(()) => Ok(()),
            Err(source) => Err(Error::Output { source }),
        }
    }
}
