// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors of kernels, packages and the building machine.

use std::path::PathBuf;

use klp_base::files::FileError;
use klp_base::{cache, process};
use klp_format::NameError;

/// Why a kernel cannot be had or used. The text says what failed, on what, why, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the author's or of a kernel's is not what it should be.
    #[error("{}: {message}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// The key, what is wrong with it, and what to do.
        message: String,
    },
    /// There is no fix, stream or kernel of this name.
    #[error("there is no {what} `{name}`; there are: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The names that would do.
        known: Vec<String>,
    },
    /// A name is not of its form.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A child process failed.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// This machine cannot do it: a tool, a package, the network is missing.
    #[error("{what}\n    {help}")]
    NotAble {
        /// What is missing, and for what.
        what: String,
        /// What to do about it.
        help: String,
    },
    /// A package is not what was pinned.
    #[error("package {package}: {message}")]
    Package {
        /// Name and version, or the file.
        package: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// The kernel has no module of this name.
    #[error("{module} on {kernel}: the kernel has no module of that name")]
    NoModule {
        /// Name of the module.
        module: String,
        /// Id of the kernel.
        kernel: String,
    },
    /// The kernel is one that cannot be served.
    #[error("kernel {kernel} cannot be served: {message}")]
    Kernel {
        /// Id of the kernel.
        kernel: String,
        /// Why not.
        message: String,
    },
    /// A tool printed something that we do not know; some of them exit with 0 on real faults.
    #[error("{tool} said something that is not known to be harmless, in {subject}:\n{text}\n    log: {}", log.display())]
    UnknownOutput {
        /// The tool.
        tool: &'static str,
        /// What it worked on.
        subject: String,
        /// The lines.
        text: String,
        /// The whole log.
        log: PathBuf,
    },
}

impl Error {
    /// The process's exit code: 69 where the machine lacks something, 2 for a wrong name or file, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAble { .. } => 69,
            Self::Unknown { .. } | Self::Name(_) | Self::Config { .. } => 2,
            _ => 1,
        }
    }
}
