// SPDX-License-Identifier: GPL-2.0-or-later
//! Packages of a distribution.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ChildStdout;

use klp_base::files::io_error;
use klp_base::process::Cmd;
use serde::{Deserialize, Serialize};

use crate::error::Error;

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

/// Entry of a package's archive.
pub(crate) type ArchiveEntry<'a> = tar::Entry<'a, ChildStdout>;

/// Reads the files of a package's file as a stream, with their paths, until `visit` ends it.
pub(crate) fn each_file(
    deb: &Path,
    mut visit: impl FnMut(&Path, &mut ArchiveEntry<'_>) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let mut running =
        Cmd::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).hint("install the package dpkg").spawn()?;
    let stdout = running.stdout.take().ok_or_else(|| Error::Package {
        package: deb.display().to_string(),
        message: "dpkg-deb gave no output".to_owned(),
    })?;
    for entry in tar::Archive::new(stdout).entries().map_err(io_error("read", deb))? {
        let mut entry = entry.map_err(io_error("read", deb))?;
        let path = entry.path().map_err(io_error("read", deb))?.into_owned();
        if visit(&path, &mut entry)?.is_break() {
            break;
        }
    }
    Ok(())
}
