// SPDX-License-Identifier: GPL-2.0-or-later
//! `export`: what is fixed, for vulnerability scanners (OpenVEX) and for monitoring (OpenMetrics text).

use std::fmt::Write;
use std::path::Path;

use clap::ValueEnum;
use serde_json::json;

use crate::console::Console;
use crate::livepatch::State;
use crate::record::rfc3339;
use crate::status::{self, Status, Verdict};
use crate::{Error, System};

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// OpenVEX 0.2.0, a JSON document
    Openvex,
    /// OpenMetrics 1.0, as the text-file collector of node_exporter reads it
    Openmetrics,
}

/// Prints an export, or puts it in place of a file at once, so that a collector never reads half of it.
pub(crate) fn run(
    system: &System,
    console: &mut Console<'_>,
    format: Format,
    output: Option<&Path>,
) -> Result<(), Error> {
    let status = status::gather(system)?;
    let text = match format {
        Format::Openvex => openvex(system, &status)?,
        Format::Openmetrics => openmetrics(&status),
    };
    let Some(output) = output else {
        console.say(text.trim_end());
        return Ok(());
    };
    let error = |source| Error::file("write", output, source);
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let aside = output.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, output));
    if written.is_err() {
        // Nothing half-written stays; that it could not be written is what is reported.
        let _ = std::fs::remove_file(&aside);
    }
    written.map_err(error)
}

/// Only a patch that is enabled for every task has repaired anything.
fn openvex(system: &System, status: &Status) -> Result<String, Error> {
    let time = rfc3339(system.kernel().clock());
    let product = product(system, &status.kernel)?;
    let mut statements = Vec::new();
    for patch in &status.patches {
        for cve in patch.manifest.iter().flat_map(|manifest| manifest.cves()) {
            let mut statement = json!({
                "vulnerability": { "name": cve },
                "products": [{ "@id": product }],
                "status": if patch.state == State::Enabled { "fixed" } else { "affected" },
            });
            let notes = format!("live patch {} is {}", patch.module, patch.state);
            let key = if patch.state == State::Enabled { "status_notes" } else { "action_statement" };
            if let Some(object) = statement.as_object_mut() {
                object.insert(key.to_owned(), notes.into());
            }
            statements.push(statement);
        }
    }
    let machine = system.read("/etc/machine-id")?.unwrap_or_default();
    let document = json!({
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": format!("urn:ferrograft:kpatch:{}:{}:{time}", machine.trim(), status.kernel),
        "author": "kpatch on this machine",
        "timestamp": time,
        "version": 1,
        "statements": statements,
    });
    Ok(serde_json::to_string_pretty(&document).unwrap_or_default() + "\n")
}

/// The kernel as a package URL, by what the distribution calls itself.
fn product(system: &System, release: &str) -> Result<String, Error> {
    let text = match system.read("/etc/os-release")? {
        Some(text) => text,
        None => system.read("/usr/lib/os-release")?.unwrap_or_default(),
    };
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    let id = value("ID").unwrap_or_else(|| "linux".to_owned());
    let version = value("VERSION_ID").map(|version| format!("?distro={id}-{version}")).unwrap_or_default();
    let encoded = release.replace('+', "%2B");
    let like = format!("{id} {}", value("ID_LIKE").unwrap_or_default());
    let is = |names: &[&str]| names.iter().any(|name| like.split(' ').any(|word| word == *name));
    Ok(if is(&["debian", "ubuntu"]) {
        format!("pkg:deb/{id}/linux-image-{encoded}{version}")
    } else if is(&["rhel", "fedora", "centos", "suse"]) {
        format!("pkg:rpm/{id}/kernel@{encoded}{version}")
    } else {
        format!("pkg:generic/linux@{encoded}{version}")
    })
}

fn openmetrics(status: &Status) -> String {
    let label = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut text = String::new();
    let mut family = |name: &str, help: &str, rows: &[(String, u8)]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE {name} gauge\n# HELP {name} {help}");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let verdicts = [Verdict::Current, Verdict::Outdated, Verdict::Stalled, Verdict::Unknown];
    let words = ["current", "outdated", "stalled", "unknown"];
    let rows: Vec<_> = verdicts
        .iter()
        .zip(words)
        .map(|(verdict, word)| (format!("{{verdict=\"{word}\"}}"), u8::from(*verdict == status.verdict)))
        .collect();
    family("kpatch_verdict", "Where this machine stands: 1 for the verdict that holds.", &rows);
    let rows: Vec<_> = status
        .patches
        .iter()
        .map(|patch| {
            let (module, kernel) = (label(&patch.module), label(&status.kernel));
            (format!("{{module=\"{module}\",kernel=\"{kernel}\"}}"), u8::from(patch.state == State::Enabled))
        })
        .collect();
    family("kpatch_enabled", "1 for a live patch that is in effect for every task, 0 in transition.", &rows);
    let rows: Vec<_> = status.fixed.iter().map(|cve| (format!("{{cve=\"{}\"}}", label(cve)), 1)).collect();
    family("kpatch_fixed", "1 for each CVE that a live patch in effect repairs.", &rows);
    text.push_str("# EOF\n");
    text
}
