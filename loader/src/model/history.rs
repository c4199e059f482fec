// SPDX-License-Identifier: GPL-2.0-or-later
//! History file: one JSON object per line for each change.

use serde::{Deserialize, Serialize};

use crate::model::error::Error;
use crate::model::system::System;

/// Path of the history.
pub(crate) const PATH: &str = "/var/lib/kpatch/.history";

/// Kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Load,
    Unload,
    Install,
    Uninstall,
    Rollback,
    Force,
    Skip,
    Confirm,
    Prune,
    /// The kernel has reported a bug in a patch after its load.
    Bug,
}

impl Action {
    /// `MESSAGE_ID` of the journal's records, for filters.
    pub(crate) fn id(self) -> &'static str {
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
            Self::Bug => "5d1a7c0f3bd14d0c9d0c1f5a8e6f2a0a",
        }
    }

    /// Name of the verb, as the history shows it.
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
            Self::Bug => "bug",
        }
    }
}

/// Line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// UTC, in the form of RFC 3339.
    pub(crate) time: String,
    /// Kernel's id of the boot.
    pub(crate) boot: String,
    #[serde(rename = "what")]
    pub(crate) action: Action,
    pub(crate) module: String,
    /// Kernel release of the module.
    pub(crate) kernel: String,
    pub(crate) done: bool,
    /// Error message or remark; may be empty.
    pub(crate) detail: String,
}

/// Entries, oldest first, and the number of incomplete lines, which a kill or a power cut leaves.
pub(crate) fn read(system: &System) -> Result<(Vec<Entry>, usize), Error> {
    let text = system.read(PATH)?.unwrap_or_default();
    let parsed: Vec<Option<Entry>> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).ok())
        .collect();
    let damaged = parsed.iter().filter(|line| line.is_none()).count();
    Ok((parsed.into_iter().flatten().collect(), damaged))
}
