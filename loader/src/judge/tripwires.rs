// SPDX-License-Identifier: GPL-2.0-or-later
//! Counters of the tripwires of loaded patches: tries of guarded paths, as the modules count them.

use klp_module::Manifest;
use serde::Serialize;

use crate::model::error::Error;
use crate::model::system::System;

/// Counter of a tripwire.
#[derive(Serialize)]
pub(crate) struct Tries {
    pub(crate) module: String,
    pub(crate) name: String,
    /// The guarded path.
    pub(crate) description: String,
    /// Number of tries since the load of the module.
    pub(crate) count: u64,
}

/// Counters of all tripwires that the manifests of loaded patches name. Those that cannot be read are added to
/// `not_checked`.
pub(crate) fn of_patches<'a>(
    system: &System,
    patches: impl IntoIterator<Item = (&'a String, &'a Manifest)>,
    not_checked: &mut Vec<String>,
) -> Result<Vec<Tries>, Error> {
    let mut found = Vec::new();
    for (module, manifest) in patches {
        for tripwire in &manifest.tripwires {
            let path = format!("/sys/module/{module}/parameters/{}", tripwire.name);
            match system.read_line(&path)?.and_then(|text| text.trim().parse().ok()) {
                Some(count) => found.push(Tries {
                    module: module.clone(),
                    name: tripwire.name.clone(),
                    description: tripwire.description.clone(),
                    count,
                }),
                None => not_checked
                    .push(format!("tripwire {} of {module}: {path} is missing or no number", tripwire.name)),
            }
        }
    }
    Ok(found)
}
