// SPDX-License-Identifier: GPL-2.0-or-later
//! Manifests of loaded patches.
//!
//! The kernel does not keep a module's `.modinfo`, so `load` stores the manifest in `/run`. For patches that another program
//! loaded, the manifest comes from an installed file of the same build.

use klp_module::{Manifest, Module, build_id_of_notes};

use crate::model::error::Error;
use crate::model::module_file::ModuleFile;
use crate::model::system::System;
use crate::model::{durable, store};

const DIRECTORY: &str = "/run/kpatch/loaded";

fn path(module: &str) -> String {
    format!("{DIRECTORY}/{module}")
}

/// Build id of a loaded module, in hexadecimal digits.
pub(crate) fn loaded_build(system: &System, module: &str) -> Result<Option<String>, Error> {
    let notes = system.read_bytes(&format!("/sys/module/{module}/notes/.note.gnu.build-id"))?;
    Ok(notes.and_then(|notes| build_id_of_notes(&notes)))
}

/// Stores the manifest and the build id of a loaded module; does nothing for a module without a manifest.
pub(crate) fn remember(system: &System, name: &str, module: &Module<'_>) -> Result<(), Error> {
    let Ok(Some(manifest)) = module.manifest() else {
        return Ok(());
    };
    let text = format!("{}\n{}\n", module.build_id().unwrap_or_default(), manifest.to_modinfo());
    // No fsync: /run does not survive a power cut.
    let file = path(name);
    durable::make_dirs(system, &file)?;
    std::fs::write(system.path(&file), text).map_err(|source| Error::file("write", &file, source))
}

/// Removes the stored manifest of a module.
pub(crate) fn forget(system: &System, name: &str) {
    // A file that cannot be removed does no harm: its build id is compared with that of the loaded module.
    let _ = std::fs::remove_file(system.path(path(name)));
}

/// Manifest of a loaded patch; `None` if it has none or none can be found.
pub(crate) fn manifest(system: &System, name: &str) -> Result<Option<Manifest>, Error> {
    let loaded = loaded_build(system, name)?;
    if let Some(text) = system.read(&path(name))? {
        let (build, manifest) = text.split_once('\n').unwrap_or_default();
        if loaded.as_deref().is_none_or(|loaded| loaded == build)
            && let Ok(manifest) = Manifest::from_modinfo(manifest.trim_end())
        {
            return Ok(Some(manifest));
        }
    }
    if loaded.is_none() {
        return Ok(None);
    }
    let installed = store::installed_for(system, &system.release()?)?;
    let (named, others): (Vec<_>, Vec<_>) = installed.iter().partition(|module| module.name() == name);
    Ok(named.into_iter().chain(others).find_map(|installed| {
        let file = ModuleFile::open(&store::source(system, installed)).ok()?;
        let module = file.module().ok()?;
        let same = module.build_id() == loaded && module.name().is_ok_and(|its| its.as_str() == name);
        if same { module.manifest().ok().flatten() } else { None }
    }))
}
