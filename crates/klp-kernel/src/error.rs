// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors of kernels, packages and the build machine.

use std::path::PathBuf;

use klp_base::files::FileError;
use klp_base::{cache, process};
use klp_format::NameError;

/// Reason why a kernel is unavailable or cannot be used. The text names the failed action, its subject, the
/// cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Content of a configuration file (of an author or of a kernel) is invalid.
    #[error("{}: {message}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// The key, its fault and the remedy.
        message: String,
    },
    /// No fix, stream or kernel has this name.
    #[error("there is no {what} `{name}`; there are: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    Unknown {
        /// Kind of the unknown name, for example `kernel`.
        what: &'static str,
        /// The given name.
        name: String,
        /// The valid names.
        known: Vec<String>,
    },
    /// A name is malformed.
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
    /// The machine lacks a tool, a package or the network.
    #[error("{what}\n    {help}")]
    NotAble {
        /// The missing tool, package or other resource, and its purpose.
        what: String,
        /// The remedy.
        help: String,
    },
    /// A package differs from its pin.
    #[error("package {package}: {message}")]
    Package {
        /// Name and version of the package, or its file.
        package: String,
        /// The fault and the remedy.
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
    /// The kernel is not supported.
    #[error("kernel {kernel} cannot be served: {message}")]
    Kernel {
        /// Id of the kernel.
        kernel: String,
        /// The reason.
        message: String,
    },
    /// A tool printed an unknown message. Some tools exit with 0 on real faults.
    #[error("{tool} said something that is not known to be harmless, in {subject}:\n{text}\n    log: {}", log.display())]
    UnknownOutput {
        /// The tool.
        tool: &'static str,
        /// Subject of the tool's work.
        subject: String,
        /// The unknown lines.
        text: String,
        /// The complete log.
        log: PathBuf,
    },
}

impl Error {
    /// Exit code of the process: 69 if the machine lacks something, 2 for an invalid name or file, otherwise
    /// 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAble { .. } => 69,
            Self::Unknown { .. } | Self::Name(_) | Self::Config { .. } => 2,
            _ => 1,
        }
    }
}
