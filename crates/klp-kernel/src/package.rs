// SPDX-License-Identifier: GPL-2.0-or-later
//! Packages of a distribution.

use serde::{Deserialize, Serialize};

/// A package of a distribution, pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name in the archive.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// SHA-256 of the package's file, 64 hexadecimal digits.
    pub sha256: String,
    /// The suite of the distribution that has it, where it is not one that apt reads on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The architecture that it is for, where it is not the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

impl Package {
    /// One of the machine's own suites and architecture.
    pub fn new(name: &str, version: &str, sha256: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: sha256.to_owned(),
            suite: None,
            architecture: None,
        }
    }
}
