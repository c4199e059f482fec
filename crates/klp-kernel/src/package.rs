// SPDX-License-Identifier: GPL-2.0-or-later
//! Packages of a distribution.

use serde::{Deserialize, Serialize};

/// A pinned package of a distribution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name in the archive.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// SHA-256 of the package file, 64 hexadecimal digits.
    pub sha256: String,
    /// Suite of the distribution, if apt does not read this suite on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Architecture, if it differs from the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

impl Package {
    /// A package of the machine's own suite and architecture.
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
