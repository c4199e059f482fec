// SPDX-License-Identifier: GPL-2.0-or-later
//! Manifest of a module: fixes, functions and kernel, as one JSON object in `.modinfo`. The pipeline writes it, the
//! loader reads it.
//!
//! The manifest is part of the module file: it cannot be lost or mixed up, and the module signature covers it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Key of the `.modinfo` entry.
pub const MANIFEST_KEY: &str = "ferrograft";
/// Name and version of the schema; readers reject any other value.
pub const MANIFEST_SCHEMA: &str = "ferrograft.manifest/1";

/// Manifest of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Schema; always [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// Name of the stream, or of the single fix.
    pub stream: String,
    /// Version and release; `None` for a single fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<(u32, u32)>,
    /// Fixes of the module.
    pub fixes: Vec<ManifestFix>,
    /// Replaced functions, as `object:function` or `object:function,position`.
    pub functions: Vec<String>,
    /// Functions of `functions` whose originals the replacements may call (`replaced::original`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub originals: Vec<String>,
    /// SHA-256 of the sources of all fixes, in hexadecimal digits.
    pub source: String,
    /// Kernel that the module was built for and checked against.
    pub kernel: Kernel,
    /// True if the module replaces all loaded patches (atomic replace).
    #[serde(default = "yes")]
    pub replace: bool,
    /// System states that the module changes (`struct klp_state`, `Documentation/livepatch/system-state.rst`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// Module parameters that administrators may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Param>,
    /// Tripwires; the counter of each is a module parameter with its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tripwires: Vec<Tripwire>,
    /// Version and release of the previous version of this stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<(u32, u32)>,
    /// Last day of support of the stream, as `2027-06-30` (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_end: Option<String>,
    /// Release of the distribution's kernel that contains the same fixes: the effective release of a kernel with this module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_release: Option<String>,
}

fn yes() -> bool {
    true
}

/// A fix of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFix {
    /// Name of the fix.
    pub name: String,
    /// Description in one line.
    pub description: String,
    /// CVEs that the fix repairs, as `CVE-2026-12345`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cves: Vec<String>,
    /// CVEs of the same code that the fix does not repair.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affected: Vec<Affected>,
}

/// CVE that is known and not repaired: status `affected` of OpenVEX.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// Name, as `CVE-2026-12345`.
    pub cve: String,
    /// Reason why it is not repaired, in one line.
    pub reason: String,
    /// Action that removes or mitigates it, in one line (`action_statement` of OpenVEX).
    pub action: String,
}

/// Kernel of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Release of the kernel (`uname -r`).
    pub release: String,
    /// GNU build id of the kernel, in hexadecimal digits. Builds of the same release differ in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// GNU build ids of the patched modules, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modules: BTreeMap<String, String>,
}

/// System state and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Id of the state.
    pub id: u64,
    /// Version for compatibility: a patch may replace another patch only if it supports the state in the same or a newer
    /// version.
    pub version: u32,
}

/// Module parameter of a fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Name.
    pub name: String,
    /// Type as in `parmtype` of `.modinfo`: `uint`, `array of int`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Access mode of its file in `/sys/module/<module>/parameters`: four octal digits.
    pub mode: String,
    /// Default value as the fix names it; `None`: 0, no or an empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Description in one line; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// Tripwire of a fix: a guarded path whose tries are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tripwire {
    /// Name, also of the counter in `/sys/module/<module>/parameters`.
    pub name: String,
    /// The guarded path, in one line.
    pub description: String,
}

/// Error of a manifest that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The entry is not a JSON object of this form.
    #[error("its manifest (.modinfo entry {MANIFEST_KEY}) is damaged: {0}")]
    Damaged(String),
    /// The manifest was written by a newer Ferrograft.
    #[error("its manifest has schema {0:?}, this program reads {MANIFEST_SCHEMA:?}: use a newer kpatch")]
    Schema(String),
}

impl Manifest {
    /// Parses the value of the `.modinfo` entry.
    ///
    /// # Errors
    /// The text is not a manifest, or its schema is different.
    pub fn from_modinfo(text: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let damaged = |error: serde_json::Error| ManifestError::Damaged(error.to_string());
        let head: Head = serde_json::from_str(text).map_err(damaged)?;
        if head.schema != MANIFEST_SCHEMA {
            return Err(ManifestError::Schema(head.schema));
        }
        serde_json::from_str(text).map_err(damaged)
    }

    /// Value of the `.modinfo` entry: one line, without NUL.
    pub fn to_modinfo(&self) -> String {
        // Serialisation of plain structs to memory cannot fail; JSON escapes control characters.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// CVEs of all fixes, sorted, without duplicates.
    pub fn cves(&self) -> Vec<&str> {
        let mut all: Vec<&str> =
            self.fixes.iter().flat_map(|fix| fix.cves.iter().map(String::as_str)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// CVEs that no fix repairs, sorted by name; of several entries for one CVE the first.
    pub fn affected(&self) -> Vec<&Affected> {
        let fixed = self.cves();
        let mut all: Vec<&Affected> = self.fixes.iter().flat_map(|fix| &fix.affected).collect();
        all.retain(|affected| !fixed.contains(&affected.cve.as_str()));
        all.sort_by(|one, other| one.cve.cmp(&other.cve));
        all.dedup_by(|one, other| one.cve == other.cve);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affected(cve: &str) -> Affected {
        Affected { cve: cve.to_owned(), reason: "because".to_owned(), action: "reboot".to_owned() }
    }

    /// A module of an earlier version.
    #[test]
    fn manifest_without_optional_keys_is_readable() {
        let text = r#"{"schema":"ferrograft.manifest/1","stream":"s","fixes":[{"name":"a","description":"d"}],"functions":[],"source":"00","kernel":{"release":"6.12"}}"#;
        let manifest = Manifest::from_modinfo(text).unwrap();
        assert_eq!((manifest.support_end.as_deref(), manifest.affected().len()), (None, 0));
        assert!(!manifest.to_modinfo().contains("affected"), "an older kpatch prints what it knows");
    }

    #[test]
    fn manifest_round_trips_and_rejects_other_schemas() {
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            stream: "demo".to_owned(),
            version: Some((1, 2)),
            fixes: vec![ManifestFix {
                name: "a".to_owned(),
                description: "line\nbreak \"and\" quotes".to_owned(),
                cves: vec!["CVE-2026-2".to_owned(), "CVE-2026-1".to_owned(), "CVE-2026-2".to_owned()],
                affected: ["CVE-2026-9", "CVE-2026-1", "CVE-2026-3", "CVE-2026-9"].map(affected).to_vec(),
            }],
            functions: vec!["vmlinux:f".to_owned()],
            originals: vec!["vmlinux:f".to_owned()],
            source: "00".to_owned(),
            kernel: Kernel { release: "6.12".to_owned(), build_id: None, modules: BTreeMap::new() },
            replace: false,
            states: vec![State { id: 1, version: 2 }],
            params: vec![Param {
                name: "limit".to_owned(),
                kind: "uint".to_owned(),
                mode: "0644".to_owned(),
                default: Some("3".to_owned()),
                description: String::new(),
            }],
            tripwires: vec![Tripwire { name: "odd".to_owned(), description: "an odd read".to_owned() }],
            predecessor: Some((1, 1)),
            support_end: Some("2027-06-30".to_owned()),
            effective_release: Some("6.12.9".to_owned()),
        };
        let text = manifest.to_modinfo();
        assert!(!text.contains('\n'));
        assert_eq!(Manifest::from_modinfo(&text).unwrap(), manifest);
        assert_eq!(manifest.cves(), ["CVE-2026-1", "CVE-2026-2"]);
        let open: Vec<&str> = manifest.affected().iter().map(|affected| affected.cve.as_str()).collect();
        assert_eq!(open, ["CVE-2026-3", "CVE-2026-9"], "what another fix repairs is not open");
        let newer = text.replace(MANIFEST_SCHEMA, "ferrograft.manifest/2");
        assert!(matches!(Manifest::from_modinfo(&newer), Err(ManifestError::Schema(_))));
        for length in 0..text.len() {
            assert!(matches!(Manifest::from_modinfo(&text[..length]), Err(ManifestError::Damaged(_))));
        }
    }
}
