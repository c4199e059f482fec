// SPDX-License-Identifier: GPL-2.0-or-later
//! Version that the running kernel amounts to with its enabled patches.

use serde::Serialize;

use crate::model::error::Error;
use crate::model::livepatch::{self, PatchState};
use crate::model::manifests;
use crate::model::system::System;

/// Running kernel, its patches and the resulting version.
pub(crate) struct Effective {
    /// The running kernel's release (`uname -r`).
    pub(crate) kernel: String,
    /// Release of the distribution's kernel with the same fixes, if the patches name one.
    pub(crate) effective_release: Option<String>,
    /// `effective_release`, else `<kernel>+kpatch.<version>.<release>`, else `kernel`.
    pub(crate) version: String,
    /// Patches that are enabled for all tasks.
    pub(crate) patches: Vec<Part>,
}

/// Patch that is enabled for all tasks.
#[derive(Serialize)]
pub(crate) struct Part {
    pub(crate) module: String,
    pub(crate) stream: Option<String>,
    /// Version and release of the stream.
    pub(crate) version: Option<(u32, u32)>,
    #[serde(skip)]
    effective_release: Option<String>,
}

/// Reads the version that the running kernel amounts to.
pub(crate) fn effective(system: &System) -> Result<Effective, Error> {
    let kernel = system.release()?.to_string();
    let mut patches = Vec::new();
    for module in livepatch::patches(system)? {
        if livepatch::state(system, &module)? == Some(PatchState::Enabled) {
            let manifest = manifests::manifest(system, &module)?;
            patches.push(Part {
                stream: manifest.as_ref().map(|manifest| manifest.stream.clone()),
                version: manifest.as_ref().and_then(|manifest| manifest.version),
                effective_release: manifest.and_then(|manifest| manifest.effective_release),
                module,
            });
        }
    }
    let effective_release = named(&patches);
    let version = effective_release.clone().unwrap_or_else(|| with_suffix(&kernel, &patches));
    Ok(Effective { kernel, effective_release, version, patches })
}

/// Release that the patches name; `None` if they name none or different ones.
fn named(patches: &[Part]) -> Option<String> {
    let mut named = patches.iter().filter_map(|patch| patch.effective_release.as_ref());
    let first = named.next()?;
    named.all(|other| other == first).then(|| first.clone())
}

/// Kernel release with `+kpatch` and, for each patch, its version and release or else its name. Versions of one stream
/// compare as the package managers compare numbers, and each is newer than the bare release.
fn with_suffix(kernel: &str, patches: &[Part]) -> String {
    let part = |patch: &Part| match patch.version {
        Some((version, release)) => format!(".{version}.{release}"),
        // A hyphen would begin a package's release.
        None => format!(".{}", patch.module.trim_start_matches("kpatch_").replace('_', ".")),
    };
    if patches.is_empty() {
        return kernel.to_owned();
    }
    format!("{kernel}+kpatch{}", patches.iter().map(part).collect::<String>())
}
