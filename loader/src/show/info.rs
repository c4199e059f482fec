// SPDX-License-Identifier: GPL-2.0-or-later
//! `info`: what a patch module says of itself, in modinfo's form, and its manifest for people. `check`: whether it can be
//! loaded here.

use std::collections::BTreeMap;
use std::path::Path;

use klp_module::{MANIFEST_KEY, Manifest};
use serde::Serialize;

use crate::console::Console;
use crate::judge::check;
use crate::judge::judgement::Judgement;
use crate::model::error::Error;
use crate::model::module_file::{ModuleFile, refused};
use crate::model::refusal::Refusal;
use crate::model::store;
use crate::model::system::System;

#[derive(Serialize)]
struct Info {
    schema: &'static str,
    path: String,
    module: Option<String>,
    /// Keys may stand several times.
    modinfo: BTreeMap<String, Vec<String>>,
    build_id: Option<String>,
    manifest: Option<Manifest>,
}

pub(crate) fn run(
    system: &System,
    console: &mut Console<'_>,
    argument: &Path,
    json: bool,
) -> Result<(), Error> {
    let source = store::find(system, argument)?;
    let file = ModuleFile::open(&source)?;
    let module = file.module(&source)?;
    let manifest = module.manifest();
    if json {
        let mut modinfo: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in module.modinfo().filter(|(key, _)| key != MANIFEST_KEY) {
            modinfo.entry(key.into_owned()).or_default().push(value.into_owned());
        }
        console.json(&Info {
            schema: "ferrograft.kpatch.info/1",
            path: source.shown.display().to_string(),
            module: module.name().ok().map(|name| name.to_string()),
            modinfo,
            build_id: module.build_id(),
            manifest: manifest.map_err(|error| refused(&source, Refusal::Manifest(error)))?,
        });
        return Ok(());
    }
    console.say(format_args!("Patch information for {}:", argument.display()));
    row(console, "filename", source.shown.display());
    for (key, value) in module.modinfo().filter(|(key, _)| key != MANIFEST_KEY) {
        row(console, &key, value);
    }
    match manifest {
        Ok(None) => {}
        Ok(Some(manifest)) => show(console, &manifest),
        Err(error) => return Err(refused(&source, Refusal::Manifest(error))),
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
    for fix in &manifest.fixes {
        row(console, "fix", format_args!("{}: {}", fix.name, fix.description));
        for cve in &fix.cves {
            row(console, "fixes", cve);
        }
    }
    for function in &manifest.functions {
        row(console, "replaces", function);
    }
    for state in &manifest.states {
        row(console, "state", format_args!("{} version {}", state.id, state.version));
    }
    row(console, "source", &manifest.source);
    if let Some(id) = &manifest.kernel.build_id {
        row(console, "kernel build", id);
    }
}

#[derive(Serialize)]
struct Judged {
    schema: &'static str,
    path: String,
    module: Option<String>,
    loadable: bool,
    refusals: Vec<String>,
    warnings: Vec<String>,
    not_checked: Vec<String>,
}

/// Exit code where nothing speaks against a module, but something could not be looked at.
const NOT_CHECKED: u8 = 8;

/// All that can be known before insertion.
///
/// # Errors
/// Something speaks against the module, or could not be looked at.
pub(crate) fn judge(
    system: &System,
    console: &mut Console<'_>,
    argument: &Path,
    json: bool,
) -> Result<(), Error> {
    let source = store::find(system, argument)?;
    let file = ModuleFile::open(&source)?;
    let module = file.module(&source)?;
    let judgement = check::judge(system, &module, false)?;
    if json {
        console.json(&Judged {
            schema: "ferrograft.kpatch.check/1",
            path: source.shown.display().to_string(),
            module: module.name().ok().map(|name| name.to_string()),
            loadable: judgement.refusals.is_empty(),
            refusals: judgement.refusals.iter().map(ToString::to_string).collect(),
            warnings: judgement.warnings.clone(),
            not_checked: judgement.unchecked.clone(),
        });
    } else {
        for warning in &judgement.warnings {
            console.say(format_args!("warning: {warning}"));
        }
        for unchecked in &judgement.unchecked {
            console.say(format_args!("not checked: {unchecked}"));
        }
        if judgement.refusals.is_empty() {
            console.say(format_args!("{} can be loaded{}", source.shown.display(), reservation(&judgement)));
        }
    }
    match (judgement.refusals.is_empty(), judgement.unchecked.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(Error::Verdict { code: NOT_CHECKED }),
        (false, _) => Err(Error::Refused { path: source.shown.clone(), refusals: judgement.refusals }),
    }
}

/// The end of the verdict's line: what was not checked, without the reasons, which have lines of their own.
fn reservation(judgement: &Judgement) -> String {
    let topics = judgement
        .unchecked
        .iter()
        .map(|text| text.split_once(": ").map_or(text.as_str(), |(topic, _)| topic));
    match topics.collect::<Vec<_>>().join("; ") {
        topics if topics.is_empty() => topics,
        topics => format!(" as far as could be checked; not checked: {topics}"),
    }
}
