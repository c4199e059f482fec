// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors of this crate.

use std::path::PathBuf;

use klp_base::cache;
use klp_base::files::FileError;
use klp_module::UnpackError;

/// Error of reading a kernel image, a module file or a running system.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The content of a file is invalid.
    #[error("kernel image {}: {message}", path.display())]
    Image {
        /// Path of the image, or of the ELF file that it was built from.
        path: PathBuf,
        /// Problem and location.
        message: String,
    },
}

/// Error of bytes that are not a supported kernel image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The bytes do not have the form of an image.
    #[error("is no x86 boot image: {0}")]
    Form(&'static str),
    /// The file is truncated.
    #[error(
        "is truncated: {what} should lie at {offset:#x} and be {length} bytes long, the file has {file} bytes"
    )]
    Truncated {
        /// Missing data.
        what: &'static str,
        /// Offset of the data in the file, in bytes.
        offset: usize,
        /// Length of the data, in bytes.
        length: usize,
        /// Length of the file, in bytes.
        file: usize,
    },
    /// The compression format is unknown.
    #[error(
        "holds a payload in a format that is not known (first bytes {0:02x?}); known are gzip, xz, zstd, lz4, lzma and bzip2"
    )]
    Compression([u8; 4]),
    /// A compressed part cannot be unpacked.
    #[error("is damaged: {0}")]
    Packed(#[from] UnpackError),
    /// The content is inconsistent.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// A part that every supported kernel has is missing.
    #[error("has no {0}")]
    Missing(String),
    /// The module belongs to another kernel.
    #[error("is built for another kernel: its version magic is `{module}`, the kernel's is `{kernel}`")]
    Foreign {
        /// Version magic of the module.
        module: String,
        /// Version magic of the kernel.
        kernel: String,
    },
    /// `/proc/kallsyms` hides the addresses.
    #[error(
        "shows every address as 0, because kernel.kptr_restrict hides them: read it as root, or set kernel.kptr_restrict to 0 first"
    )]
    Hidden,
}
