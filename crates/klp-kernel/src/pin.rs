// SPDX-License-Identifier: GPL-2.0-or-later
//! Pinned kernels: `kernel-configs/<id>/kernel.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use klp_base::arch::Arch;
use klp_format::KernelRelease;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::package::Package;
use crate::toml_file::parse_toml;
use crate::toolchain::{HostTool, Toolchain};

/// Origin of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Image and headers of a distribution; nothing of the kernel is compiled.
    Stock,
    /// Source package of a distribution with the project's configuration fragments, built once.
    Source,
}

/// Selection of packages for a new pin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repin {
    /// The newest packages of the line.
    #[default]
    Newest,
    /// The oldest packages in the archive, for a kernel that is pinned because of its bugs.
    Oldest,
}

/// A pinned kernel: content of `kernel.toml`.
#[derive(Clone, Debug)]
pub struct Pin {
    /// Name of its directory in kernel-configs.
    pub id: String,
    /// Path of `kernel.toml`.
    pub file: PathBuf,
    /// One line of description.
    pub description: String,
    /// Origin of the kernel.
    pub kind: Kind,
    /// Architecture of the kernel.
    pub arch: Arch,
    /// Output of `uname -r` on this kernel.
    pub release: KernelRelease,
    /// Selection of packages for a new pin.
    pub repin: Repin,
    /// Packages by role: `image`, `headers`, `common`, `kbuild` and optionally `source`, `other-source` and `debug` for a stock
    /// kernel, `source` for a kernel built here; for both kinds optionally `busybox`, the guest's userland, if the machine's busybox cannot
    /// run there.
    pub packages: BTreeMap<String, Package>,
    /// Build instructions, for kind `source` only.
    pub source: Option<SourcePin>,
}

/// Build instructions of a kernel of kind `source`.
#[derive(Clone, Debug)]
pub struct SourcePin {
    /// File names in kernel-configs/fragments without `.config`, in the order of concatenation.
    pub fragments: Vec<String>,
    /// Additional lines of the configuration.
    pub config: Vec<String>,
    /// Compilers of the kernel.
    pub toolchain: Toolchain,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinFile {
    description: String,
    kind: Kind,
    arch: Arch,
    release: String,
    #[serde(default)]
    repin: Repin,
    packages: BTreeMap<String, Package>,
    fragments: Option<Vec<String>>,
    config: Option<Vec<String>>,
    toolchain: Option<Toolchain>,
}

/// Required package roles of a stock kernel.
pub(crate) const STOCK_ROLES: [&str; 4] = ["image", "headers", "common", "kbuild"];
/// Required package roles of a kernel built here.
const SOURCE_ROLES: [&str; 1] = [SOURCE_ROLE];
/// Role of the package with the source: required of a kernel built here, and what C diffs need of a stock kernel.
pub(crate) const SOURCE_ROLE: &str = "source";
/// Role of the package with another version of the source: the corpus of C diffs has the differences.
pub(crate) const OTHER_SOURCE_ROLE: &str = "other-source";
/// Role of the package with the kernel's debug information, which a distribution has apart.
pub(crate) const DEBUG_ROLE: &str = "debug";
/// Optional package roles.
const OTHER_ROLES: [&str; 4] = ["busybox", SOURCE_ROLE, OTHER_SOURCE_ROLE, DEBUG_ROLE];

impl Pin {
    /// Another version of the kernel's source.
    ///
    /// # Errors
    /// The pin has none.
    pub fn other_source(&self) -> Result<&Package, Error> {
        self.packages.get(OTHER_SOURCE_ROLE).ok_or_else(|| Error::Config {
            file: self.file.clone(),
            message: format!("`packages.{OTHER_SOURCE_ROLE}` is missing: there is nothing to compare the kernel's source with"),
        })
    }

    /// Reads `<id>/kernel.toml` in the directory `configs`.
    ///
    /// # Errors
    /// The kernel does not exist, or its file is invalid.
    pub fn load(configs: &Path, id: &str) -> Result<Self, Error> {
        let known = pinned_ids(configs);
        if !known.iter().any(|known| known == id) {
            return Err(Error::Unknown { what: "kernel", name: id.to_owned(), known });
        }
        let file = configs.join(id).join("kernel.toml");
        let parsed: PinFile = parse_toml(&file)?;
        let wrong = |message: String| Error::Config { file: file.clone(), message };
        let roles: &[&str] = match parsed.kind {
            Kind::Stock => &STOCK_ROLES,
            Kind::Source => &SOURCE_ROLES,
        };
        for role in roles {
            if !parsed.packages.contains_key(*role) {
                return Err(wrong(format!("`packages.{role}` is missing")));
            }
        }
        for (role, package) in &parsed.packages {
            if !roles.iter().chain(&OTHER_ROLES).any(|known| known == role) {
                return Err(wrong(format!(
                    "`packages.{role}`: unknown role; there are {}",
                    roles
                        .iter()
                        .chain(OTHER_ROLES.iter().filter(|role| !roles.contains(role)))
                        .copied()
                        .collect::<Vec<_>>()
                        .join(", ")
                )));
            }
            if package.sha256.len() != 64 || !package.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(wrong(format!("`packages.{role}.sha256` must have 64 hexadecimal digits")));
            }
        }
        let release =
            KernelRelease::new(&parsed.release).map_err(|error| wrong(format!("`release`: {error}")))?;
        let source = match (parsed.kind, parsed.fragments, parsed.toolchain) {
            (Kind::Stock, None, None) if parsed.config.is_none() => None,
            (Kind::Stock, ..) => {
                return Err(wrong(
                    "`fragments`, `config` and `toolchain` are for kind \"source\": nothing of a stock kernel is built"
                        .to_owned(),
                ));
            }
            (Kind::Source, Some(fragments), Some(toolchain)) => {
                Some(SourcePin { fragments, config: parsed.config.unwrap_or_default(), toolchain })
            }
            (Kind::Source, None, _) => return Err(wrong("`fragments` is missing".to_owned())),
            (Kind::Source, _, None) => return Err(wrong("`toolchain` is missing".to_owned())),
        };
        Ok(Self {
            id: id.to_owned(),
            description: parsed.description,
            kind: parsed.kind,
            arch: parsed.arch,
            release,
            repin: parsed.repin,
            packages: parsed.packages,
            source,
            file,
        })
    }

    /// Additional programs for building this kernel or modules for it, and for configuring its source, which shows what the
    /// compiler inlined. Programs common to all kernels are not included.
    pub fn tools(&self) -> Vec<HostTool> {
        match &self.source {
            Some(source) => source.toolchain.tools(),
            None if self.has_source() => Toolchain::source_tools(),
            None => Vec::new(),
        }
    }

    /// True if the kernel's source is pinned.
    pub fn has_source(&self) -> bool {
        self.packages.contains_key(SOURCE_ROLE)
    }

    /// True if the kernel is built with the `kernel` crate for fixes.
    pub fn has_kernel_crate(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.toolchain.rust.is_some())
    }
}

/// Ids of the pinned kernels in the directory `configs`, sorted.
pub fn pinned_ids(configs: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(configs).into_iter().flatten().filter_map(Result::ok);
    let pinned = entries.filter(|entry| entry.path().join("kernel.toml").is_file());
    let mut ids: Vec<String> = pinned.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    ids.sort();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Pin, Error> {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("k");
        std::fs::create_dir_all(&kernel).unwrap();
        std::fs::write(kernel.join("kernel.toml"), text).unwrap();
        Pin::load(dir.path(), "k")
    }

    const HEAD: &str = "description = 'x'\narch = 'arm64'\nrelease = '7.3.4-x'\n";

    #[test]
    fn a_source_kernel_names_fragments_toolchain_and_source() {
        let package = format!(
            "[packages.source]\nname = 'linux-source-7.3'\nversion = '1'\nsha256 = '{}'\n",
            "0".repeat(64)
        );
        let stock =
            ["image", "headers", "common", "kbuild"].map(|role| package.replace("source", role)).concat();
        let stock = format!("{HEAD}kind = 'stock'\n{stock}");
        assert!(load(&stock).unwrap().tools().is_empty());
        let configured = load(&format!("{stock}{package}")).unwrap().tools();
        assert!(configured.iter().any(|tool| tool.package == "flex"), "its source is configured");
        let source = format!("{HEAD}kind = 'source'\nfragments = ['boot']\n");
        let pin = load(&format!("{source}toolchain = {{ llvm = 19 }}\n{package}")).unwrap();
        assert!(!pin.has_kernel_crate() && pin.tools().iter().any(|tool| tool.package == "clang-19"));
        let rust = "toolchain = { gcc = 12, rust = '1.95.0', bindgen = '0.72.1' }\n";
        assert!(load(&format!("{source}{rust}{package}")).unwrap().has_kernel_crate());
        for (text, expected) in [
            (format!("{source}{package}"), "`toolchain` is missing"),
            (
                format!("{HEAD}kind = 'source'\ntoolchain = {{ llvm = 19 }}\n{package}"),
                "`fragments` is missing",
            ),
            (format!("{source}toolchain = {{ llvm = 19 }}\n[packages]"), "`packages.source` is missing"),
            (
                format!("{source}toolchain = {{ llvm = 19 }}\n{}", package.replace(".source", ".sauce")),
                "`packages.source` is missing",
            ),
            (
                format!(
                    "{source}toolchain = {{ llvm = 19 }}\n{package}{}",
                    package.replace(".source", ".sauce")
                ),
                "`packages.sauce`: unknown role; there are source, busybox, other-source, debug",
            ),
            (format!("{HEAD}kind = 'stock'\nfragments = []\n[packages]"), "is missing"),
            (
                format!("{source}toolchain = {{ llvm = 19 }}\n{}", package.replace("'0", "'x")),
                "64 hexadecimal",
            ),
        ] {
            let error = load(&text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("kernel.toml"), "{text}: {error}");
        }
    }
}
