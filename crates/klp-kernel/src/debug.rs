// SPDX-License-Identifier: GPL-2.0-or-later
//! Debug information of a distribution's kernel. Its package has 1 GB and nothing needs it, so it is fetched on demand.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::io_error;
use klp_image::ImageFile;

use crate::error::Error;
use crate::host::apt::Apt;
use crate::package::{Package, each_file};
use crate::pin::DEBUG_ROLE;
use crate::source::check_space;
use crate::tree::KernelTree;

/// Space for the package and the unpacked file, in bytes.
const PEAK: u64 = 1600 << 20;
/// Name of the file in a cache entry.
const VMLINUX: &str = "vmlinux";

impl KernelTree {
    /// ELF file of the kernel with its debug information. The rest of the package is not kept.
    ///
    /// # Errors
    /// The kernel pins no such package, or it is unavailable.
    pub fn debug_vmlinux(&self, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
        let Some(package) = &self.debug else {
            return Err(Error::Kernel {
                kernel: self.id.clone(),
                message: format!(
                    "its kernel.toml has no `packages.{DEBUG_ROLE}`: the package with its debug information"
                ),
            });
        };
        let key =
            Key::new("debug vmlinux 1").with(&package.name).with(&package.version).with(&package.sha256);
        let entry = cache.entry("debug-vmlinux", &self.id, &key, |dir| {
            stage(sink, "debug", &self.id, || {
                unpack(package, dir, cache, sink).map(|()| (StageEnd::Done, ()))
            })
        })?;
        Ok(entry.join(VMLINUX))
    }

    /// The file of [`Self::debug_vmlinux`] at `path`, for [`klp_image::DebugCopies`].
    pub fn debug_file<'a>(&'a self, path: &'a Path) -> ImageFile<'a> {
        let fingerprint = self.debug.as_ref().map_or("", |package| &package.sha256);
        ImageFile { path, fingerprint, ..self.image_file() }
    }
}

/// Unpacks the one file. The package ends with 5000 modules, which are not read.
fn unpack(package: &Package, dir: &Path, cache: &Cache, sink: &dyn Sink) -> Result<(), Error> {
    check_space(&format!("the debug information {}", package.version), dir, PEAK)?;
    sink.note(format!("  debug        fetching {} {}", package.name, package.version));
    let downloads = dir.join("downloads");
    let deb = Apt::that_has(package, cache, sink)?.download_checked(package, &downloads)?;
    let target = dir.join(VMLINUX);
    each_file(&deb, |path, entry| {
        let is_wanted = entry.header().entry_type().is_file()
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinux-"));
        if !is_wanted {
            return Ok(ControlFlow::Continue(()));
        }
        entry.unpack(&target).map_err(io_error("unpack", &target))?;
        Ok(ControlFlow::Break(()))
    })?;
    std::fs::remove_dir_all(&downloads).map_err(io_error("remove", &downloads))?;
    if target.is_file() {
        return Ok(());
    }
    Err(Error::Package { package: package.name.clone(), message: "holds no vmlinux".to_owned() })
}
