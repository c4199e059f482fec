// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors that keep a run from taking place. What happens to a case is a verdict, not an error.

use std::io;
use std::path::{Path, PathBuf};

use klp_base::events::Verdict;

use crate::case;

/// Reasons why nothing could be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cases cannot be used.
    #[error(transparent)]
    Case(#[from] case::Error),
    /// No selected case is for any of the kernels.
    #[error("nothing is selected: none of the cases {} is for any of the kernels {}", cases.join(", "), kernels.join(", "))]
    NothingSelected {
        /// Names of the cases.
        cases: Vec<String>,
        /// Ids of the kernels.
        kernels: Vec<String>,
    },
    /// A file of the host.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// Failed action.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// A program for the guest that would not start there.
    #[error("{} is a dynamic program, the guest needs a static one (Debian: apt-get install busybox-static)", path.display())]
    NotStatic {
        /// Which.
        path: PathBuf,
    },
    /// A program of the host.
    #[error(transparent)]
    Process(#[from] klp_base::process::Error),
    /// A file that must survive a crash.
    #[error(transparent)]
    Cache(#[from] klp_base::cache::Error),
    /// A variable of the environment.
    #[error("{name}={value:?}: {what}")]
    Environment {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// Fault and remedy.
        what: &'static str,
    },
    /// Acceleration was asked for and is not there.
    #[error("--accel kvm: {why}; use --accel tcg, or auto")]
    NoKvm {
        /// Attempt and observation.
        why: String,
    },
    /// A guest did not do what it had to.
    #[error("{kernel}: {reason}\n    end of the console:\n{console}")]
    Guest {
        /// Id of the kernel.
        kernel: String,
        /// Reason.
        reason: String,
        /// Last lines of the console.
        console: String,
    },
    /// The report cannot be written as XML.
    #[error("could not write the JUnit report: {0}")]
    Junit(#[from] quick_junit::SerializeError),
}

impl Error {
    /// The process's exit code: 2 for what the caller asked for, 69 for what the host cannot do.
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
