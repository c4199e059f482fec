// SPDX-License-Identifier: GPL-2.0-or-later
//! Configuration files in TOML.

use std::path::Path;

use klp_base::files::read_text;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// Reads a TOML file.
///
/// # Errors
/// [`Error::Config`]: the file cannot be read, or its keys do not match `T`.
pub fn parse_toml<T: DeserializeOwned>(file: &Path) -> Result<T, Error> {
    let text = read_text(file)?;
    toml::from_str(&text).map_err(|error| Error::Config { file: file.to_owned(), message: error.to_string() })
}
