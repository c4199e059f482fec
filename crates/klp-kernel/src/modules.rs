// SPDX-License-Identifier: GPL-2.0-or-later
//! Modules of a distribution kernel. Their package has 100 MB and only fixes of modules need it, so it is
//! fetched on demand.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use klp_base::cache::{self, Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, make_dir};
use klp_format::ObjectName;

use crate::error::Error;
use crate::host::apt::Apt;
use crate::package::{Package, each_file};
use crate::tree::{KernelTree, OwnModules};

impl KernelTree {
    /// File of one kernel module, compressed as in the distribution's package.
    ///
    /// # Errors
    /// The kernel has no such module, or its package is unavailable.
    pub fn module(&self, name: &ObjectName, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
        let dir = self.modules_dir(cache, sink)?;
        let stem = |path: &Path| {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            file.split_once(".ko").map(|(stem, _)| stem.replace('-', "_"))
        };
        let found = cache::walk(&dir)?.into_iter().find(|path| stem(path).as_deref() == Some(name.as_str()));
        found.ok_or_else(|| Error::NoModule { module: name.to_string(), kernel: self.id.clone() })
    }

    /// Directory with all modules of the kernel.
    ///
    /// # Errors
    /// Their package is unavailable.
    pub fn modules_dir(&self, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
        let package = match &self.modules {
            OwnModules::Dir(dir) => return Ok(dir.clone()),
            OwnModules::Package(package) => package,
        };
        let key =
            Key::new("kernel modules 1").with(&package.name).with(&package.version).with(&package.sha256);
        cache.entry("modules", &self.id, &key, |dir| {
            stage(sink, "modules", &self.id, || {
                unpack(package, dir, cache, sink).map(|()| (StageEnd::Done, ()))
            })
        })
    }
}

fn unpack(package: &Package, dir: &Path, cache: &Cache, sink: &dyn Sink) -> Result<(), Error> {
    let downloads = dir.join("downloads");
    let deb = Apt::that_has(package, cache, sink)?.download_checked(package, &downloads)?;
    let mut count = 0;
    each_file(&deb, |path, entry| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if entry.header().entry_type().is_file() && name.contains(".ko") {
            let parent: PathBuf = path.components().skip_while(|part| part.as_os_str() != "kernel").collect();
            let target = dir.join(parent);
            make_dir(target.parent().unwrap_or(dir))?;
            entry.unpack(&target).map_err(io_error("unpack", &target))?;
            count += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    std::fs::remove_dir_all(&downloads).map_err(io_error("remove", &downloads))?;
    if count == 0 {
        return Err(Error::Package { package: package.name.clone(), message: "holds no modules".to_owned() });
    }
    Ok(())
}
