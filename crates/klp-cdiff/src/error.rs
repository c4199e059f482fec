// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors of C diffs.

use std::path::PathBuf;

use klp_base::files::FileError;
use klp_base::{cache, process};

use crate::refusal::Refusal;
use crate::source_diff::DiffError;

/// Reason why a C diff cannot become a live patch. The text names the failed action, its subject, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The diff is malformed or does not apply.
    #[error("the C diff of `{subject}` on {kernel}: {error}")]
    Diff {
        /// Name of the fix, or the file of the diff.
        subject: String,
        /// Id of the kernel.
        kernel: String,
        /// The fault.
        error: DiffError,
    },
    /// The kernel cannot have C diffs.
    #[error("kernel {kernel} takes no C diffs: {message}")]
    Kernel {
        /// Id of the kernel.
        kernel: String,
        /// The reason.
        message: String,
    },
    /// The compiler rejected a file.
    #[error("{file} does not compile for {kernel}{with}:\n{text}")]
    Compile {
        /// Path of the file in the source.
        file: String,
        /// Id of the kernel.
        kernel: String,
        /// Words that tell that the diff is in the file.
        with: &'static str,
        /// Messages of the compiler.
        text: String,
    },
    /// An object file cannot be read.
    #[error("the object of {file} for {kernel}: {message}")]
    Object {
        /// Path of the file in the source.
        file: String,
        /// Id of the kernel.
        kernel: String,
        /// The fault.
        message: String,
    },
    /// A rule refuses parts of the diff.
    #[error("the C diff of `{subject}` cannot become a live patch of {kernel}:\n{}", lines(refusals))]
    Refused {
        /// Name of the fix.
        subject: String,
        /// Id of the kernel.
        kernel: String,
        /// The reasons.
        refusals: Vec<Refusal>,
    },
    /// The kernel's source or build failed.
    #[error(transparent)]
    Source(#[from] klp_kernel::Error),
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] klp_image::Error),
    /// A name is not valid.
    #[error(transparent)]
    Name(#[from] klp_format::NameError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A child process failed.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A stored result is damaged.
    #[error("{}: {message}; remove it and build again", file.display())]
    Stored {
        /// The file.
        file: PathBuf,
        /// The fault.
        message: String,
    },
}

impl Error {
    /// Exit code of the process: 2 for a faulty diff, 69 if the machine lacks something, otherwise 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Diff { .. } => 2,
            Self::Source(error) => error.exit_code(),
            _ => 1,
        }
    }
}

fn lines(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("    {refusal}")).collect::<Vec<_>>().join("\n")
}
