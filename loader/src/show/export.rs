// SPDX-License-Identifier: GPL-2.0-or-later
//! `export`: repaired and open CVEs, as OpenVEX for vulnerability scanners and as OpenMetrics text for monitors.

use std::collections::BTreeMap;
use std::path::Path;

use clap::ValueEnum;
use klp_module::Affected;
use serde_json::{Value, json};

use crate::console::Console;
use crate::judge::machine::{self, Patch, Status};
use crate::model::error::Error;
use crate::model::livepatch::PatchState;
use crate::model::product;
use crate::model::system::System;
use crate::model::time::rfc3339;
use crate::show::metrics::openmetrics;

/// Format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// OpenVEX 0.2.0, a JSON document
    Openvex,
    /// OpenMetrics 1.0, as the text-file collector of node_exporter reads it
    Openmetrics,
}

/// Verb `export`: prints the document, or replaces a file atomically, so that a collector never reads a part of it.
pub(crate) fn run(
    system: &System,
    console: &mut Console<'_>,
    format: Format,
    output: Option<&Path>,
) -> Result<(), Error> {
    let status = machine::status(system)?;
    let text = match format {
        Format::Openvex => openvex(system, &status)?,
        Format::Openmetrics => Some(openmetrics(&status)),
    };
    let Some(text) = text else {
        return Err(nothing_to_state(&status, output));
    };
    let Some(output) = output else {
        console.say(text.trim_end());
        return Ok(());
    };
    let error = |source| Error::file("write", output, source);
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let temporary = output.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, output));
    if written.is_err() {
        // The write error is reported; a failure to remove the rest is not.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(error)
}

/// Error for an OpenVEX document without statements, which the specification forbids. The document of an earlier export is
/// removed, since its statements are no longer true.
fn nothing_to_state(status: &Status, output: Option<&Path>) -> Error {
    let mut message =
        "no loaded patch names a CVE, and an OpenVEX document must state something: none is made".to_owned();
    let without = status.patches.iter().filter(|patch| patch.manifest.is_none());
    let without: Vec<&str> = without.map(|patch| patch.module.as_str()).collect();
    if !without.is_empty() {
        message += &format!(
            "; what {} repairs is not known: it has no manifest that could be read",
            without.join(", ")
        );
    }
    if let Some(output) = output {
        match std::fs::remove_file(output) {
            Ok(()) => {
                message += &format!("; {}, which an earlier export wrote, is removed", output.display());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Error::file("remove what is no longer true,", output, source),
        }
    }
    message += "\n  kpatch status shows what is loaded, kpatch list what is installed";
    Error::Argument { message, code: 1 }
}

/// OpenVEX document with one statement per CVE of the loaded patches; `None` if they name no CVE. A CVE that one patch repairs
/// and another names as not repaired is repaired.
fn openvex(system: &System, status: &Status) -> Result<Option<String>, Error> {
    let mut patches: BTreeMap<&str, Vec<&Patch>> = BTreeMap::new();
    for patch in &status.patches {
        for cve in patch.manifest.iter().flat_map(|manifest| manifest.cves()) {
            patches.entry(cve).or_default().push(patch);
        }
    }
    let affected: Vec<&Affected> =
        status.affected.iter().filter(|affected| !patches.contains_key(affected.cve.as_str())).collect();
    if patches.is_empty() && affected.is_empty() {
        return Ok(None);
    }
    let time = rfc3339(system.kernel().clock());
    let packages = product::of_kernel(system, &status.kernel)?;
    let product = |url: &String| json!({ "@id": url, "identifiers": { "purl": url } });
    let products: Vec<Value> = packages.iter().map(product).collect();
    let mut statements: Vec<Value> =
        patches.iter().map(|(cve, patches)| statement(cve, patches, &products)).collect();
    statements.extend(affected.iter().map(|Affected { cve, reason, action }| {
        json!({ "vulnerability": { "name": cve }, "products": products, "status": "affected",
            "status_notes": reason, "action_statement": action })
    }));
    let machine = system.read("/etc/machine-id")?.unwrap_or_default();
    let (machine, kernel) = (product::encoded(machine.trim()), product::encoded(&status.kernel));
    let document = json!({
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": format!("urn:ferrograft:kpatch:{machine}:{kernel}:{time}"),
        "author": "kpatch on this machine",
        "timestamp": time,
        "version": 1,
        "tooling": concat!("kpatch ", env!("CARGO_PKG_VERSION")),
        "statements": statements,
    });
    Ok(Some(serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"))
}

/// Statement about a CVE of these patches. It is `fixed` only if one of them is enabled for all tasks.
fn statement(cve: &str, patches: &[&Patch], products: &[Value]) -> Value {
    let enabled = patches.iter().find(|patch| patch.state == PatchState::Enabled);
    let Some(patch) = enabled.or(patches.first()) else {
        return Value::Null;
    };
    let (module, state) = (&patch.module, patch.state);
    let notes = format!("live patch {module} is {state}");
    if enabled.is_some() {
        json!({ "vulnerability": { "name": cve }, "products": products, "status": "fixed", "status_notes": notes })
    } else {
        let action =
            format!("{notes}: kpatch status shows what holds it up; until it is enabled nothing is repaired");
        json!({ "vulnerability": { "name": cve }, "products": products, "status": "affected", "action_statement": action })
    }
}
