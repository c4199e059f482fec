// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernels: `kernel-configs/<id>/kernel.toml`, and what stands behind it as a [`KernelTree`].

mod apt;
mod config;
mod modules;
mod stock;

use std::collections::BTreeMap;
use std::path::PathBuf;

use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_format::KernelRelease;
use serde::{Deserialize, Serialize};

pub(crate) use self::apt::Apt;
pub use self::config::KernelConfig;
use crate::error::Error;
use crate::project::{Project, parse_toml};

pub use self::stock::repin;

/// Processor architectures that we can build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
}

impl Arch {
    /// The name that kernel.toml uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
        }
    }
}

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A distribution's own image and headers; nothing of the kernel is compiled.
    Stock,
}

/// Which packages a new pin takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repin {
    /// The newest of its line.
    #[default]
    Newest,
    /// The oldest that the archive still has: for a kernel that is here because of its faults.
    Oldest,
}

/// A package of a distribution, pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name in the archive.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// SHA-256 of the package's file, 64 hexadecimal digits.
    pub sha256: String,
}

/// A pinned kernel: what `kernel.toml` says.
#[derive(Clone, Debug)]
pub struct Pin {
    /// Name of the directory under kernel-configs.
    pub id: String,
    /// The file.
    pub file: PathBuf,
    /// One line for people.
    pub description: String,
    /// Where it comes from.
    pub kind: Kind,
    /// What it runs on.
    pub arch: Arch,
    /// What `uname -r` prints on it.
    pub release: KernelRelease,
    /// Which packages a new pin takes.
    pub repin: Repin,
    /// Its packages by role: image, headers, common, kbuild.
    pub packages: BTreeMap<String, Package>,
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
}

/// Roles that the packages of a stock kernel must fill.
const STOCK_ROLES: [&str; 4] = ["image", "headers", "common", "kbuild"];

impl Pin {
    /// Reads `kernel-configs/<id>/kernel.toml`.
    ///
    /// # Errors
    /// There is no such kernel, or the file is wrong.
    pub fn load(project: &Project, id: &str) -> Result<Self, Error> {
        let known = project.kernel_ids();
        if !known.iter().any(|known| known == id) {
            return Err(Error::Unknown { what: "kernel", name: id.to_owned(), known });
        }
        let file = project.root().join("kernel-configs").join(id).join("kernel.toml");
        let parsed: PinFile = parse_toml(&file)?;
        let wrong = |message: String| Error::Config { file: file.clone(), message };
        for role in STOCK_ROLES {
            if !parsed.packages.contains_key(role) {
                return Err(wrong(format!("`packages.{role}` is missing")));
            }
        }
        for (role, package) in &parsed.packages {
            if !STOCK_ROLES.contains(&role.as_str()) {
                return Err(wrong(format!(
                    "`packages.{role}`: unknown role; there are {}",
                    STOCK_ROLES.join(", ")
                )));
            }
            if package.sha256.len() != 64 || !package.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(wrong(format!("`packages.{role}.sha256` must have 64 hexadecimal digits")));
            }
        }
        let release =
            KernelRelease::new(&parsed.release).map_err(|error| wrong(format!("`release`: {error}")))?;
        Ok(Self {
            id: id.to_owned(),
            description: parsed.description,
            kind: parsed.kind,
            arch: parsed.arch,
            release,
            repin: parsed.repin,
            packages: parsed.packages,
            file,
        })
    }

    /// Makes or finds the kernel in the cache.
    ///
    /// # Errors
    /// A package is not to be had or not what was pinned, or the kernel is one that cannot be served.
    pub fn fetch(&self, cache: &Cache, sink: &dyn Sink) -> Result<KernelTree, Error> {
        match self.kind {
            Kind::Stock => stock::fetch(self, cache, sink),
        }
    }
}

/// A kernel on disk: everything that a build, a check and a boot need of it.
#[derive(Clone, Debug)]
pub struct KernelTree {
    /// Id of the pin.
    pub id: String,
    /// What it runs on.
    pub arch: Arch,
    /// What `uname -r` prints on it.
    pub release: KernelRelease,
    /// Directory that holds everything of it.
    pub root: PathBuf,
    /// The bootable image.
    pub image: PathBuf,
    /// Its own modules that a guest must load to reach the host, in this order; none where they are built in.
    pub guest_modules: Vec<PathBuf>,
    /// The package that the image and the modules come in.
    pub image_package: Package,
    /// Directory that kbuild is started in.
    pub headers: PathBuf,
    /// Its configuration.
    pub config: KernelConfig,
    /// The C compiler's command that kbuild uses.
    pub c_compiler: String,
    /// Changes when anything of the tree changes.
    pub fingerprint: String,
}

impl KernelTree {
    /// The exported symbols with their checksums.
    pub fn symvers(&self) -> PathBuf {
        self.headers.join("Module.symvers")
    }
}
