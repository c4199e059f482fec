// SPDX-License-Identifier: GPL-2.0-or-later
//! Error of the guest program.

use std::io;

/// Failed action, its object and the cause.
#[derive(Debug, thiserror::Error)]
#[error("could not {what}: {source}")]
pub(crate) struct Error {
    what: String,
    source: io::Error,
}

impl Error {
    pub(crate) fn new(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { what: what.into(), source: source.into() }
    }
}
