// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernels: `kernel-configs/<id>/kernel.toml`, and what stands behind it as a [`KernelTree`].

mod apt;
mod config;
mod modules;
mod source;
mod stock;
mod toolchain;

use std::collections::BTreeMap;
use std::path::PathBuf;

use klp_base::cache::{Cache, Key};
use klp_base::events::Sink;
use klp_base::process::Cmd;
use klp_format::KernelRelease;
use serde::{Deserialize, Serialize};

pub(crate) use self::apt::Apt;
pub use self::apt::{debian_mirror, unpacked_package};
pub use self::config::KernelConfig;
use crate::error::{Error, io_error};
use crate::project::{Project, parse_toml};

pub use self::stock::repin;
pub use self::toolchain::{CToolchain, HostTool, Toolchain};

/// Processor architectures that we can build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Arm64,
}

impl Arch {
    /// The name that kernel.toml uses, which is the kernel's `ARCH` too.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// The target triple that C compilers know it by.
    pub fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }

    /// What the wrappers of system calls begin with (`arch/*/include/asm/syscall_wrapper.h`).
    pub fn syscall_prefix(self) -> &'static str {
        match self {
            Self::X86_64 => "__x64_",
            Self::Arm64 => "__arm64_",
        }
    }
}

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A distribution's own image and headers; nothing of the kernel is compiled.
    Stock,
    /// A distribution's source package and fragments of our own, built once.
    Source,
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
    /// The suite of the distribution that has it, where it is not one that apt reads on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The architecture that it is for, where it is not the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

impl Package {
    /// One of the machine's own suites and architecture.
    pub fn new(name: &str, version: &str, sha256: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: sha256.to_owned(),
            suite: None,
            architecture: None,
        }
    }
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
    /// Its packages by role: image, headers, common, kbuild of a stock kernel; source of one that is built here; and
    /// for each kind busybox, the guest's userland, where the machine's own cannot serve.
    pub packages: BTreeMap<String, Package>,
    /// How it is built, if it is.
    pub source: Option<SourcePin>,
}

/// How a kernel of kind `source` is built.
#[derive(Clone, Debug)]
pub struct SourcePin {
    /// Files of kernel-configs/fragments, without `.config`, in the order in which they are joined.
    pub fragments: Vec<String>,
    /// Lines of its configuration beside those.
    pub config: Vec<String>,
    /// What it is built with.
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

/// Roles that the packages of a stock kernel must fill.
const STOCK_ROLES: [&str; 4] = ["image", "headers", "common", "kbuild"];
/// Roles that the packages of a kernel that is built here must fill.
const SOURCE_ROLES: [&str; 1] = ["source"];
/// Roles that may be filled.
const OTHER_ROLES: [&str; 1] = ["busybox"];

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
                    [roles, OTHER_ROLES.as_slice()].concat().join(", ")
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

    /// Makes or finds the kernel in the cache.
    ///
    /// # Errors
    /// A package is not to be had or not what was pinned, or the kernel is one that cannot be served.
    pub fn fetch(&self, cache: &Cache, sink: &dyn Sink) -> Result<KernelTree, Error> {
        match self.kind {
            Kind::Stock => stock::fetch(self, cache, sink),
            Kind::Source => source::fetch(self, cache, sink),
        }
    }

    /// Programs that making this kernel, or modules for it, needs beside those that every kernel does.
    pub fn tools(&self) -> Vec<HostTool> {
        self.source.as_ref().map(|source| source.toolchain.tools()).unwrap_or_default()
    }

    /// Whether it is built with the `kernel` crate that fixes can use.
    pub fn has_kernel_crate(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.toolchain.rust.is_some())
    }

    /// The guest's userland of this kernel's architecture, where it is pinned: the static program.
    ///
    /// # Errors
    /// The package is not to be had or not what was pinned, or holds no such program.
    pub fn busybox(&self, cache: &Cache, sink: &dyn Sink) -> Result<Option<PathBuf>, Error> {
        let Some(package) = self.packages.get("busybox") else { return Ok(None) };
        let key = Key::new("busybox 1").with(&package.name).with(&package.version).with(&package.sha256);
        let entry = cache.entry("busybox", self.arch.name(), &key, |dir| {
            let deb = Apt::that_has(package, cache, sink)?.download_checked(package, dir)?;
            Cmd::new("dpkg-deb").arg("-x").args([&deb, dir]).hint("install the package dpkg").run()?;
            std::fs::remove_file(&deb).map_err(io_error("remove", &deb))
        })?;
        ["bin/busybox", "usr/bin/busybox"]
            .iter()
            .map(|path| entry.join(path))
            .find(|path| path.is_file())
            .map_or_else(
                || {
                    Err(Error::Package {
                        package: format!("{} {}", package.name, package.version),
                        message: "holds no busybox".to_owned(),
                    })
                },
                |path| Ok(Some(path)),
            )
    }
}

/// Where a kernel's own modules are.
#[derive(Clone, Debug)]
pub enum OwnModules {
    /// In a package, fetched when one of them is asked for.
    Package(Package),
    /// In a directory.
    Dir(PathBuf),
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
    /// The file that symbols and types are read from: the image, or the ELF file that it was made of.
    pub vmlinux: PathBuf,
    /// Its own modules that a guest must load to reach the host, in this order; none where they are built in.
    pub guest_modules: Vec<PathBuf>,
    /// Its own modules.
    pub modules: OwnModules,
    /// Directory that kbuild is started in.
    pub headers: PathBuf,
    /// Its configuration.
    pub config: KernelConfig,
    /// What modules are made with for it.
    pub toolchain: Toolchain,
    /// What goes on make's command line for its modules.
    pub make: Vec<String>,
    /// The key that it trusts for modules, where it was built here and checks them: PEM, key and certificate.
    pub signing_key: Option<PathBuf>,
    /// Changes when anything of the tree changes.
    pub fingerprint: String,
}

impl KernelTree {
    /// The exported symbols with their checksums.
    pub fn symvers(&self) -> PathBuf {
        self.headers.join("Module.symvers")
    }

    /// Whether it has the `kernel` crate, with what modules need of it.
    pub fn has_kernel_crate(&self) -> bool {
        self.config.is_on("RUST") && self.headers.join("rust/libkernel.rmeta").is_file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Pin, Error> {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("kernel-configs/k");
        std::fs::create_dir_all(&kernel).unwrap();
        std::fs::write(kernel.join("kernel.toml"), text).unwrap();
        Pin::load(&Project::open(dir.path()).unwrap(), "k")
    }

    const HEAD: &str = "description = 'x'\narch = 'arm64'\nrelease = '7.3.4-x'\n";

    #[test]
    fn a_source_kernel_names_fragments_toolchain_and_source() {
        let package = format!(
            "[packages.source]\nname = 'linux-source-7.3'\nversion = '1'\nsha256 = '{}'\n",
            "0".repeat(64)
        );
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
                "`packages.sauce`: unknown role; there are source, busybox",
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
