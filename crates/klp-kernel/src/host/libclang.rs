// SPDX-License-Identifier: GPL-2.0-or-later
//! libclang, the C header parser of bindgen.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Loads libclang for the calling thread.
///
/// # Errors
/// [`Error::NotAble`]: the machine has no libclang.
pub fn load(kernel: &str) -> Result<(), Error> {
    if clang_sys::is_loaded() {
        return Ok(());
    }
    clang_sys::load().map_err(|error| Error::NotAble {
        what: format!("libclang, which reads the headers of {kernel}, is missing: {error}"),
        help: "install the package libclang1-19 (or run `cargo xtask doctor --fix`)".to_owned(),
    })
}

/// True if libclang can be loaded.
pub fn is_there() -> bool {
    clang_sys::is_loaded() || clang_sys::load().is_ok()
}

/// Directory of the loaded libclang, for programs that load it on their own.
pub fn dir() -> Option<PathBuf> {
    if !is_there() {
        return None;
    }
    clang_sys::get_library()?.path().parent().map(Path::to_owned)
}
