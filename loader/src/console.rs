// SPDX-License-Identifier: GPL-2.0-or-later
//! Output: progress and listings on standard output, messages with the command's name on standard error.

use std::fmt::Display;
use std::io::{self, Write};

use crate::model::error::Error;

/// Output streams. A write error on standard output, such as a closed pipe, does not interrupt a command; [`Console::finish`]
/// reports it.
pub(crate) struct Console<'w> {
    out: &'w mut dyn Write,
    err: &'w mut dyn Write,
    failed: Option<io::Error>,
    /// True if the terminal shows a progress line.
    progress: bool,
}

impl<'w> Console<'w> {
    pub(crate) fn new(out: &'w mut dyn Write, err: &'w mut dyn Write) -> Self {
        Self { out, err, failed: None, progress: false }
    }

    /// Prints a line of progress or of a listing.
    pub(crate) fn say(&mut self, line: impl Display) {
        if let Err(error) = writeln!(self.out, "{line}") {
            self.failed.get_or_insert(error);
        }
    }

    /// Prints a message with the command's name.
    pub(crate) fn warn(&mut self, message: impl Display) {
        self.note(format_args!("kpatch: {message}"));
    }

    /// Prints a text on standard error.
    pub(crate) fn note(&mut self, text: impl Display) {
        // A write error cannot be reported; the exit code still gives the result.
        let _ = writeln!(self.err, "{text}");
    }

    /// Shows a progress line, which the next one replaces.
    pub(crate) fn progress(&mut self, text: impl Display) {
        self.progress = true;
        let _ = write!(self.err, "\r\x1b[K{text}").and_then(|()| self.err.flush());
    }

    /// Removes the progress line.
    pub(crate) fn end_progress(&mut self) {
        if std::mem::take(&mut self.progress) {
            let _ = write!(self.err, "\r\x1b[K").and_then(|()| self.err.flush());
        }
    }

    /// Prints a JSON document.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.say(text),
            Err(error) => {
                self.failed.get_or_insert(io::Error::other(error));
            }
        }
    }

    /// Prints an error: each line with the command's name, except for indented explanations.
    pub(crate) fn error(&mut self, error: &Error) {
        if matches!(error, Error::Usage { message: None } | Error::Reported { .. }) {
            return;
        }
        for line in error.to_string().lines() {
            if line.starts_with(' ') { self.note(line) } else { self.warn(line) }
        }
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// First write error on standard output.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let flushed = self.out.flush();
        match self.failed.take().map_or(flushed, Err) {
            Ok(()) => Ok(()),
            Err(source) => Err(Error::Output { source }),
        }
    }
}
