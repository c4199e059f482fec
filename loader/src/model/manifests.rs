// SPDX-License-Identifier: GPL-2.0-or-later
//! What loaded patches say of themselves. The kernel keeps no `.modinfo`, so that a manifest is remembered when its patch
//! is loaded; for patches that others loaded the file of the same build is looked for in the store.

use klp_module::{Manifest, Module, build_id_of_notes};

use crate::console::Console;
use crate::model::error::Error;
use crate::model::module_file::ModuleFile;
use crate::model::system::System;
use crate::model::{durable, store};

const DIRECTORY: &str = "/run/kpatch/loaded";

fn path(module: &str) -> String {
    format!("{DIRECTORY}/{module}")
}

/// The build id of a loaded module, in hexadecimal digits.
pub(crate) fn loaded_build(system: &System, module: &str) -> Result<Option<String>, Error> {
    let notes = system.read_bytes(&format!("/sys/module/{module}/notes/.note.gnu.build-id"))?;
    Ok(notes.and_then(|notes| build_id_of_notes(&notes)))
}

/// Remembers the manifest of a module that was loaded, with its build id.
pub(crate) fn remember(system: &System, console: &mut Console<'_>, name: &str, module: &Module<'_>) {
    let Ok(Some(manifest)) = module.manifest() else {
        return;
    };
    let text = format!("{}\n{}\n", module.build_id().unwrap_or_default(), manifest.to_modinfo());
    // It lies in /run, which no power cut outlives: it need not be flushed.
    let file = path(name);
    let written = durable::make_dirs(system, &file).and_then(|()| {
        std::fs::write(system.path(&file), text).map_err(|source| Error::file("write", &file, source))
    });
    if let Err(error) = written {
        console.warn(format_args!("status may not know what {name} repairs: {error}"));
    }
}

/// Forgets it.
pub(crate) fn forget(system: &System, name: &str) {
    // It lies in /run, and a note that stays is told from the build id of what is loaded.
    let _ = std::fs::remove_file(system.path(path(name)));
}

/// The manifest of a loaded patch; `None` where it has none or none can be found.
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
        let source = store::source(system, installed);
        let file = ModuleFile::open(&source).ok()?;
        let module = file.module(&source).ok()?;
        let same = module.build_id() == loaded && module.name().is_ok_and(|its| its.as_str() == name);
        if same { module.manifest().ok().flatten() } else { None }
    }))
}
