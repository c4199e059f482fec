// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors of the stages.

use std::path::{Path, PathBuf};

use klp_base::files::FileError;
use klp_base::{cache, process};
use klp_format::NameError;

/// Reason why a stage failed. The text names the failed action, its subject, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// Error of a kernel, a package, a TOML file or the build machine.
    #[error(transparent)]
    Kernel(#[from] klp_kernel::Error),
    /// A C diff cannot become a live patch.
    #[error(transparent)]
    CDiff(#[from] klp_cdiff::Error),
    /// An image cannot be read.
    #[error(transparent)]
    Image(#[from] klp_image::Error),
    /// The kernel has no such function, or the function cannot be replaced or called.
    #[error("{symbol} on {kernel}: {message}")]
    Symbol {
        /// The symbol as in patch.toml.
        symbol: String,
        /// Id of the kernel.
        kernel: String,
        /// The reason and the remedy.
        message: String,
    },
    /// rustc rejected the author's source.
    #[error("{subject} does not compile for {kernel}\n\n{diagnostics}")]
    Compile {
        /// The fix, or the generated crate.
        subject: String,
        /// Id of the kernel.
        kernel: String,
        /// rustc's messages, with the kernel's prototypes.
        diagnostics: String,
    },
    /// C code of a module (shims of `inlines` and `macros`) refers to symbols that the kernel does not
    /// export.
    #[error("what the fix names in `inlines` or `macros` cannot be had on {kernel}:\n{}", reasons.join("\n"))]
    NotExported {
        /// Id of the kernel.
        kernel: String,
        /// Description and remedy for each symbol.
        reasons: Vec<String>,
    },
    /// bindgen or libclang failed.
    #[error("no bindings of {kernel} could be made: {message}")]
    Bindings {
        /// Id of the kernel.
        kernel: String,
        /// The reason and the remedy.
        message: String,
    },
    /// postlink cannot convert the module of kbuild.
    #[error("postlink of {}: {message}", module.display())]
    Postlink {
        /// File of the module.
        module: PathBuf,
        /// The reason.
        message: String,
    },
    /// A module cannot be signed, or its signature is wrong.
    #[error("signature of {}: {message}", module.display())]
    Sign {
        /// File of the module.
        module: PathBuf,
        /// The reason.
        message: String,
    },
    /// The finished module must not be loaded. Each finding was reported as an event.
    #[error(transparent)]
    Refused(#[from] klp_verify::Refused),
    /// An intermediate file between two stages cannot be read.
    #[error("{} is damaged ({message}); remove {} and build again", file.display(), file.parent().unwrap_or(Path::new(".")).display())]
    Intermediate {
        /// The file.
        file: PathBuf,
        /// The fault.
        message: String,
    },
}

impl Error {
    /// Exit code of the process: 69 if the machine lacks something, 2 for an invalid name or file, otherwise
    /// 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Kernel(error) => error.exit_code(),
            Self::CDiff(error) => error.exit_code(),
            Self::Name(_) => 2,
            _ => 1,
        }
    }

    /// True if the machine lacks a tool, a package, the network or disk space.
    pub fn is_not_able(&self) -> bool {
        self.exit_code() == 69
    }
}
