// SPDX-License-Identifier: GPL-2.0-or-later
//! `info`: the `.modinfo` of a module in the form of modinfo(8), and its manifest.

use std::collections::BTreeMap;
use std::path::Path;

use klp_module::{MANIFEST_KEY, Manifest};
use serde::Serialize;

use crate::console::Console;
use crate::model::error::Error;
use crate::model::module_file::ModuleFile;
use crate::model::refusal::Refusal;
use crate::model::store;
use crate::model::system::System;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    path: String,
    module: Option<String>,
    /// Values by key; a key may have several.
    modinfo: BTreeMap<String, Vec<String>>,
    build_id: Option<String>,
    manifest: Option<Manifest>,
}

/// Verb `info`.
pub(crate) fn run(
    system: &System,
    console: &mut Console<'_>,
    argument: &Path,
    json: bool,
) -> Result<(), Error> {
    let file = ModuleFile::open(&store::find(system, argument)?)?;
    let module = file.module()?;
    let manifest = module.manifest();
    if json {
        let mut modinfo: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in module.modinfo().filter(|(key, _)| key != MANIFEST_KEY) {
            modinfo.entry(key.into_owned()).or_default().push(value.into_owned());
        }
        console.json(&Document {
            schema: "ferrograft.kpatch.info/1",
            path: file.shown().display().to_string(),
            module: module.name().ok().map(|name| name.to_string()),
            modinfo,
            build_id: module.build_id(),
            manifest: manifest.map_err(|error| file.refused(Refusal::Manifest(error)))?,
        });
        return Ok(());
    }
    console.say(format_args!("Patch information for {}:", argument.display()));
    row(console, "filename", file.shown().display());
    for (key, value) in module.modinfo().filter(|(key, _)| key != MANIFEST_KEY) {
        row(console, &key, value);
    }
    match manifest {
        Ok(None) => {}
        Ok(Some(manifest)) => show(console, &manifest),
        Err(error) => return Err(file.refused(Refusal::Manifest(error))),
    }
    Ok(())
}

fn row(console: &mut Console<'_>, key: &str, value: impl std::fmt::Display) {
    console.say(format_args!("{:<16}{value}", format!("{key}:")));
}

fn show(console: &mut Console<'_>, manifest: &Manifest) {
    let version = |(version, release): (u32, u32)| format!("{version}-{release}");
    row(console, "stream", &manifest.stream);
    if let Some(its) = manifest.version {
        row(console, "patch version", version(its));
    }
    if let Some(its) = manifest.predecessor {
        row(console, "follows", version(its));
    }
    if let Some(end) = &manifest.support_end {
        row(console, "support end", end);
    }
    if let Some(release) = &manifest.effective_release {
        row(console, "amounts to", release);
    }
    for fix in &manifest.fixes {
        row(console, "fix", format_args!("{}: {}", fix.name, fix.description));
        for cve in &fix.cves {
            row(console, "fixes", cve);
        }
    }
    for affected in manifest.affected() {
        row(console, "affected", format_args!("{}: {}; {}", affected.cve, affected.reason, affected.action));
    }
    for function in &manifest.functions {
        let around = if manifest.originals.contains(function) { ", and may call the original" } else { "" };
        row(console, "replaces", format_args!("{function}{around}"));
    }
    for state in &manifest.states {
        row(console, "state", format_args!("{} version {}", state.id, state.version));
    }
    for param in &manifest.params {
        let default = param.default.as_ref().map(|text| format!(", default {text}")).unwrap_or_default();
        let description = if param.description.is_empty() { "" } else { ": " };
        let text = format!("{} ({}, mode {}{default}){description}", param.name, param.kind, param.mode);
        row(console, "parameter", format_args!("{text}{}", param.description));
    }
    for tripwire in &manifest.tripwires {
        row(console, "tripwire", format_args!("{}: {}", tripwire.name, tripwire.description));
    }
    row(console, "source", &manifest.source);
    if let Some(id) = &manifest.kernel.build_id {
        row(console, "kernel build", id);
    }
}
