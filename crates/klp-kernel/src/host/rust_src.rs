// SPDX-License-Identifier: GPL-2.0-or-later
//! Source of `core` from Debian's package rust-src, for machines without rustup's copy.

use std::path::{Path, PathBuf};

use klp_base::cache::{Cache, Key};
use klp_base::events::Sink;

use super::apt::Apt;
use super::rustc::VERSION;
use crate::error::Error;
use crate::package::Package;

/// The package with exactly the version of the pinned compiler.
const PACKAGE: (&str, &str, &str, &str) = (
    "rust-src",
    "1.95.0+dfsg1-2~bpo13+1",
    "trixie-backports",
    "7b76db5b880a77f9e52975d2baa6209d2f76d2c9c2789515c3088cb960e2c83b",
);

fn key() -> Key {
    Key::new("rust-src 1").with(PACKAGE.1).with(PACKAGE.3)
}

/// Directory of the library source in the cache, if present.
pub(super) fn in_cache(cache: &Cache) -> Option<PathBuf> {
    let library = library(&cache.find("rust-src", VERSION, &key())?);
    library.is_dir().then_some(library)
}

fn library(entry: &Path) -> PathBuf {
    entry.join("usr/src").join(format!("rustc-{VERSION}")).join("library")
}

/// Fetches the source into the cache.
///
/// # Errors
/// The package is unavailable or does not match its pin.
pub fn from_debian(cache: &Cache, sink: &dyn Sink) -> Result<(), Error> {
    let (name, version, suite, sha256) = PACKAGE;
    let package = Package::new(name, version, sha256);
    cache.entry("rust-src", VERSION, &key(), |dir| {
        Apt::of_suite(suite, None, cache, sink)?.unpack_checked(&package, dir)
    })?;
    Ok(())
}
