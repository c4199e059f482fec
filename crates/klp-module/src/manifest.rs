// SPDX-License-Identifier: GPL-2.0-or-later
//! What a module says of what it repairs: one JSON object in its `.modinfo`, written by the pipeline, read by the loader.
//!
//! It travels inside the module, so that no file beside it can be lost or be another module's, and a signature covers it.

use serde::{Deserialize, Serialize};

/// Key of the `.modinfo` entry.
pub const MANIFEST_KEY: &str = "ferrograft";
/// Name and version of the schema; a reader refuses another one.
pub const MANIFEST_SCHEMA: &str = "ferrograft.manifest/1";

/// What a module says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// Name of the stream, or of the single fix.
    pub stream: String,
    /// Version and release; none for a single fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<(u32, u32)>,
    /// What it repairs.
    pub fixes: Vec<ManifestFix>,
    /// The functions that it replaces, as `object:function` or `object:function,position`.
    pub functions: Vec<String>,
    /// SHA-256 of the sources of all fixes, in hexadecimal digits.
    pub source: String,
    /// The kernel that it was built and checked against.
    pub kernel: Kernel,
    /// Whether it takes the place of all patches that are loaded.
    #[serde(default = "yes")]
    pub replace: bool,
    /// System states that it changes (`struct klp_state` of `Documentation/livepatch/system-state.rst`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// The version and release of this stream that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<(u32, u32)>,
}

fn yes() -> bool {
    true
}

/// One fix of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFix {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The CVEs that it repairs, as `CVE-2026-12345`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cves: Vec<String>,
}

/// The kernel that a module is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// What `uname -r` prints on it.
    pub release: String,
    /// Its GNU build id, in hexadecimal digits: two builds of one release differ in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
}

/// A system state and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Which.
    pub id: u64,
    /// Compatibility: a patch may replace another one only where it knows the state in this version or a newer one.
    pub version: u32,
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The entry is no such JSON object.
    #[error("its manifest (.modinfo entry {MANIFEST_KEY}) is damaged: {0}")]
    Damaged(String),
    /// Written by a newer Ferrograft.
    #[error("its manifest has schema {0:?}, this program reads {MANIFEST_SCHEMA:?}: use a newer kpatch")]
    Schema(String),
}

impl Manifest {
    /// Reads the value of the `.modinfo` entry.
    ///
    /// # Errors
    /// It is no manifest, or one of another schema.
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

    /// The value of the `.modinfo` entry: one line, without NUL.
    pub fn to_modinfo(&self) -> String {
        // Serialising plain structs to memory cannot fail; JSON escapes control characters.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// All CVEs of all fixes, sorted, each once.
    pub fn cves(&self) -> Vec<&str> {
        let mut all: Vec<&str> =
            self.fixes.iter().flat_map(|fix| fix.cves.iter().map(String::as_str)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back_and_other_schemas_do_not() {
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            stream: "demo".to_owned(),
            version: Some((1, 2)),
            fixes: vec![ManifestFix {
                name: "a".to_owned(),
                description: "line\nbreak \"and\" quotes".to_owned(),
                cves: vec!["CVE-2026-2".to_owned(), "CVE-2026-1".to_owned(), "CVE-2026-2".to_owned()],
            }],
            functions: vec!["vmlinux:f".to_owned()],
            source: "00".to_owned(),
            kernel: Kernel { release: "6.12".to_owned(), build_id: None },
            replace: false,
            states: vec![State { id: 1, version: 2 }],
            predecessor: Some((1, 1)),
        };
        let text = manifest.to_modinfo();
        assert!(!text.contains('\n'));
        assert_eq!(Manifest::from_modinfo(&text).unwrap(), manifest);
        assert_eq!(manifest.cves(), ["CVE-2026-1", "CVE-2026-2"]);
        let newer = text.replace(MANIFEST_SCHEMA, "ferrograft.manifest/2");
        assert!(matches!(Manifest::from_modinfo(&newer), Err(ManifestError::Schema(_))));
        for length in 0..text.len() {
            assert!(matches!(Manifest::from_modinfo(&text[..length]), Err(ManifestError::Damaged(_))));
        }
    }
}
