// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors of images.

use std::path::PathBuf;

use klp_base::cache;
use klp_base::files::FileError;
use klp_module::UnpackError;

/// Why a kernel's image, a module's file or a running system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The content of a file is wrong.
    #[error("kernel image {}: {message}", path.display())]
    Image {
        /// The image, or the file that it was made of.
        path: PathBuf,
        /// The fault, and its place.
        message: String,
    },
}

/// Why bytes are not a kernel's image, or not one that we can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It has not the form of an image.
    #[error("is no x86 boot image: {0}")]
    Form(&'static str),
    /// It ends too early.
    #[error(
        "is truncated: {what} should lie at {offset:#x} and be {length} bytes long, the file has {file} bytes"
    )]
    Truncated {
        /// What is missing.
        what: &'static str,
        /// Where it should be, in bytes from the file's start.
        offset: usize,
        /// How long it should be, in bytes.
        length: usize,
        /// How long the file is, in bytes.
        file: usize,
    },
    /// Compressed in a way that is not known.
    #[error(
        "holds a payload in a format that is not known (first bytes {0:02x?}); known are gzip, xz, zstd, lz4, lzma and bzip2"
    )]
    Compression([u8; 4]),
    /// A compressed part cannot be unpacked.
    #[error("is damaged: {0}")]
    Packed(#[from] UnpackError),
    /// Something in it contradicts itself.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// Something that every kernel we serve has is missing.
    #[error("has no {0}")]
    Missing(String),
    /// A module of another kernel.
    #[error("is built for another kernel: its version magic is `{module}`, the kernel's is `{kernel}`")]
    Foreign {
        /// The module's version magic.
        module: String,
        /// The kernel's.
        kernel: String,
    },
    /// `/proc/kallsyms` shows no addresses.
    #[error(
        "shows every address as 0, because kernel.kptr_restrict hides them: read it as root, or set kernel.kptr_restrict to 0 first"
    )]
    Hidden,
}
