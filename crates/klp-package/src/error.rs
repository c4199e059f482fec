// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors of packages and repositories.

use std::path::PathBuf;

use klp_base::files::FileError;
use klp_base::{cache, process};

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A child process failed.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The module is not for this package.
    #[error("{} cannot be packaged: {reason}", module.display())]
    Module {
        /// File of the module.
        module: PathBuf,
        /// Reason, with the remedy if there is one.
        reason: String,
    },
    /// A name or text is not legal in the format.
    #[error("package {package}: {reason}")]
    Illegal {
        /// Name of the package.
        package: String,
        /// Reason.
        reason: String,
    },
    /// The file is no package, or not a complete one.
    #[error("{} is no package: {reason}", file.display())]
    NotAPackage {
        /// The file.
        file: PathBuf,
        /// Reason.
        reason: String,
    },
    /// The repository has another package of this name and version.
    #[error(
        "{} is not what the repository has under this name and version ({}); machines may have that one, so give the stream a new release",
        file.display(),
        published.display()
    )]
    Published {
        /// The new file.
        file: PathBuf,
        /// The file in the repository.
        published: PathBuf,
    },
    /// The repository cannot be changed.
    #[error("repository {}: {reason}", dir.display())]
    Repository {
        /// Directory of the repository.
        dir: PathBuf,
        /// Reason and remedy.
        reason: String,
    },
}

impl From<cache::Error> for Error {
    fn from(error: cache::Error) -> Self {
        // Packages are not in the cache, so its remedy for a full disk does not apply.
        let (action, path, source) = match error {
            cache::Error::Io { action, path, source } => (action, path, source),
            other => ("use", PathBuf::new(), std::io::Error::other(other)),
        };
        Self::File(FileError { action, path, source })
    }
}
