// SPDX-License-Identifier: GPL-2.0-or-later
//! File of a package, in its format.

use std::path::Path;

use klp_base::cache::write_durable;

use crate::error::Error;
use crate::package::{Format, Package};
use crate::{deb, rpm};

impl Package {
    /// Bytes of the package file. Equal packages give equal bytes.
    ///
    /// # Errors
    /// A name or text is not legal in the format.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        match self.format {
            Format::Rpm => rpm::encode(self),
            Format::Deb => deb::encode(self),
        }
    }
}

/// Writes a package file: after a crash or a full disk the old file is there, or the new one.
///
/// # Errors
/// The file cannot be written.
pub fn write(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    Ok(write_durable(file, bytes)?)
}
