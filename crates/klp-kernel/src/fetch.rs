// SPDX-License-Identifier: GPL-2.0-or-later
//! Pinned kernels and the userland of their guests, from the cache or fetched into it.

use std::path::PathBuf;

use klp_base::cache::{Cache, Key};
use klp_base::events::Sink;

use crate::error::Error;
use crate::host::apt::Apt;
use crate::pin::{Kind, Pin};
use crate::tree::KernelTree;
use crate::{source, stock};

impl Pin {
    /// Finds the kernel in the cache, or fetches and builds it.
    ///
    /// # Errors
    /// A package is unavailable or does not match its pin, or the kernel is unsupported.
    pub fn fetch(&self, cache: &Cache, sink: &dyn Sink) -> Result<KernelTree, Error> {
        match self.kind {
            Kind::Stock => stock::fetch(self, cache, sink),
            Kind::Source => source::fetch(self, cache, sink),
        }
    }

    /// A directory of the kernel's source, named from the top of the source, as `tools/testing`. Its package is pinned, and
    /// nothing else of it is kept.
    ///
    /// # Errors
    /// The kernel pins no source package, the package is unavailable or does not match its pin, or it has no such directory.
    pub fn source_directory(&self, name: &str, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
        source::directory(self, name, cache, sink)
    }

    /// Static busybox program for guests of this kernel's architecture; `None` if the kernel does not pin
    /// one.
    ///
    /// # Errors
    /// The package is unavailable or does not match its pin, or it contains no such program.
    pub fn busybox(&self, cache: &Cache, sink: &dyn Sink) -> Result<Option<PathBuf>, Error> {
        let Some(package) = self.packages.get("busybox") else { return Ok(None) };
        let key = Key::new("busybox 1").with(&package.name).with(&package.version).with(&package.sha256);
        let entry = cache.entry("busybox", self.arch.name(), &key, |dir| {
            Apt::that_has(package, cache, sink)?.unpack_checked(package, dir)
        })?;
        ["bin/busybox", "usr/bin/busybox"]
            .iter()
            .map(|path| entry.join(path))
            .find(|path| path.is_file())
            .map_or_else(
                || {
                    Err(Error::Package {
                        package: format!("{} {}", package.name, package.version),
                        message: "holds no busybox".to_owned(),
                    })
                },
                |path| Ok(Some(path)),
            )
    }
}
