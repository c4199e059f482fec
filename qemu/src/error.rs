// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors that prevent a run. The result of a case is a verdict, not an error.

use std::io;
use std::path::{Path, PathBuf};

use klp_base::events::Verdict;

use crate::case;

/// Errors that prevent a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A case is invalid.
    #[error(transparent)]
    Case(#[from] case::Error),
    /// No selected case supports any of the kernels.
    #[error("nothing is selected: none of the cases {} is for any of the kernels {}", cases.join(", "), kernels.join(", "))]
    NothingSelected {
        /// Names of the cases.
        cases: Vec<String>,
        /// Ids of the kernels.
        kernels: Vec<String>,
    },
    /// I/O error of a file on the host.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// Failed action.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// I/O error.
        source: io::Error,
    },
    /// A program for the guest is dynamically linked, but the guest has no loader.
    #[error("{} is a dynamic program, the guest needs a static one (Debian: apt-get install busybox-static)", path.display())]
    NotStatic {
        /// Path of the program.
        path: PathBuf,
    },
    /// Error of a host program.
    #[error(transparent)]
    Process(#[from] klp_base::process::Error),
    /// Error of the cache or of a durable write.
    #[error(transparent)]
    Cache(#[from] klp_base::cache::Error),
    /// An environment variable has an invalid value.
    #[error("{name}={value:?}: {what}")]
    Environment {
        /// Name of the variable.
        name: &'static str,
        /// Value of the variable.
        value: String,
        /// Fault and remedy.
        what: &'static str,
    },
    /// KVM was requested and is not usable.
    #[error("--accel kvm: {why}; use --accel tcg, or auto")]
    NoKvm {
        /// Attempt and result.
        why: String,
    },
    /// A guest did not finish as required.
    #[error("{kernel}: {reason}\n    end of the console:\n{console}")]
    Guest {
        /// Id of the kernel.
        kernel: String,
        /// Reason.
        reason: String,
        /// Last lines of the console.
        console: String,
    },
    /// The JUnit report cannot be written as XML.
    #[error("could not write the JUnit report: {0}")]
    Junit(#[from] quick_junit::SerializeError),
}

impl Error {
    /// Exit code of the process: 2 for an invalid request, 69 if the host is not able.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Case(_) | Self::NothingSelected { .. } | Self::Environment { .. } => 2,
            _ => Verdict::NotAble.exit_code(),
        }
    }

    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
