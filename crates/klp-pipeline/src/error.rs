// SPDX-License-Identifier: GPL-2.0-or-later
//! What can go wrong on a patch's way.

use std::path::{Path, PathBuf};

use klp_base::files::FileError;
use klp_base::{cache, process};
use klp_format::NameError;

/// Why a stage did not do its work. The text says what failed, on what, why, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// A kernel, a package, a file in TOML or the building machine is at fault.
    #[error(transparent)]
    Kernel(#[from] klp_kernel::Error),
    /// An image cannot be read.
    #[error(transparent)]
    Image(#[from] klp_image::Error),
    /// The kernel has no such function, or not one that can be replaced or called.
    #[error("{symbol} on {kernel}: {message}")]
    Symbol {
        /// The symbol, as the author wrote it.
        symbol: String,
        /// Id of the kernel.
        kernel: String,
        /// Why not, and what to do.
        message: String,
    },
    /// rustc refused the author's source.
    #[error("{subject} does not compile for {kernel}\n\n{diagnostics}")]
    Compile {
        /// The fix, or the generated crate.
        subject: String,
        /// Id of the kernel.
        kernel: String,
        /// rustc's words, with the kernel's prototypes.
        diagnostics: String,
    },
    /// C code of a module, which are the shims of `inlines` and `macros`, refers to what the kernel keeps to itself.
    #[error("what the fix names in `inlines` or `macros` cannot be had on {kernel}:\n{}", reasons.join("\n"))]
    NotExported {
        /// Id of the kernel.
        kernel: String,
        /// For each symbol what it is, and what to do instead.
        reasons: Vec<String>,
    },
    /// bindgen or libclang failed.
    #[error("no bindings of {kernel} could be made: {message}")]
    Bindings {
        /// Id of the kernel.
        kernel: String,
        /// Why, and what to do.
        message: String,
    },
    /// The module that kbuild made is not one that postlink can convert.
    #[error("postlink of {}: {message}", module.display())]
    Postlink {
        /// The module.
        module: PathBuf,
        /// Why not.
        message: String,
    },
    /// The finished module must not be loaded; each finding was reported as an event.
    #[error(transparent)]
    Refused(#[from] klp_verify::Refused),
    /// A file between two stages cannot be read back.
    #[error("{} is damaged ({message}); remove {} and build again", file.display(), file.parent().unwrap_or(Path::new(".")).display())]
    Intermediate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Error {
    /// The process's exit code: 69 where the machine lacks something, 2 for a wrong name or file, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Kernel(error) => error.exit_code(),
            Self::Name(_) => 2,
            _ => 1,
        }
    }
}
