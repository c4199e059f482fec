// SPDX-License-Identifier: GPL-2.0-or-later
//! What can go wrong on a patch's way.

use std::io;
use std::path::{Path, PathBuf};

use klp_base::{cache, process};
use klp_format::NameError;

/// Why a stage did not do its work. The text says what failed, on what, why, and what to do next.
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
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
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
    /// A kernel's image is not what it should be.
    #[error("kernel image {}: {message}", path.display())]
    Image {
        /// The image, or the file it was taken from.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
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
    /// The kernel is one that cannot be served.
    #[error("kernel {kernel} cannot be served: {message}")]
    Kernel {
        /// Id of the kernel.
        kernel: String,
        /// Why not.
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
    /// verify found errors; each was reported as an event.
    #[error("{} must not be loaded: {errors} of the rules are broken or could not be checked (see above)", module.display())]
    Refused {
        /// The module.
        module: PathBuf,
        /// How many findings refuse it.
        errors: usize,
    },
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
    /// The process's exit code for it: 69 where the machine is not able, 2 for a wrong name or file, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAble { .. } => 69,
            Self::Unknown { .. } | Self::Name(_) | Self::Config { .. } => 2,
            _ => 1,
        }
    }
}

/// For `map_err`: an [`Error::Io`].
pub(crate) fn io_error(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { action, path, source }
}

/// Reads a file whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(io_error("read", path))
}

/// Reads a text file whole.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(io_error("read", path))
}

/// Writes a file of a stage's directory.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(io_error("write", path))
}

/// Makes a directory and those above it.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(io_error("make the directory", path))
}
