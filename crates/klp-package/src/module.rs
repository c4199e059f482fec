// SPDX-License-Identifier: GPL-2.0-or-later
//! Module of a package, checked against the kernel that the package is for.

use std::path::Path;

use klp_base::arch::Arch;
use klp_base::files::read;
use klp_format::{KernelRelease, ModuleName};
use klp_module::{Machine, ManifestFix, Module};

use crate::error::Error;

/// Module of a stream.
///
/// # Invariants
/// It is a live patch for the kernel `release` by its version magic and manifest; its name is
/// `kpatch_<release>_<version>_<release>`.
#[derive(Clone, Debug)]
pub struct PatchModule {
    /// Kernel.
    pub release: KernelRelease,
    /// Architecture.
    pub arch: Arch,
    /// Version and release in the stream.
    pub version: (u32, u32),
    /// Module name.
    pub name: ModuleName,
    /// Name of the stream.
    pub stream: String,
    /// Fixes of the module.
    pub fixes: Vec<ManifestFix>,
    /// Content of the module file.
    pub bytes: Vec<u8>,
}

impl PatchModule {
    /// Reads the file `ko` and checks that it is the module of a stream for `release`.
    ///
    /// # Errors
    /// The file cannot be read, or is not such a module.
    pub fn load(ko: &Path, release: &KernelRelease, arch: Arch) -> Result<Self, Error> {
        Self::parse(read(ko)?, release, arch)
            .map_err(|reason| Error::Module { module: ko.to_owned(), reason })
    }

    /// Checks that `bytes` are the module of a stream for `release`.
    ///
    /// # Errors
    /// Reason against it, one line.
    pub fn parse(bytes: Vec<u8>, release: &KernelRelease, arch: Arch) -> Result<Self, String> {
        let module = Module::parse(&bytes).map_err(|error| error.to_string())?;
        let name = module.name().map_err(|error| error.to_string())?;
        if !module.is_livepatch() {
            return Err("it is no live patch".to_owned());
        }
        let vermagic = module.vermagic().ok_or("it has no version magic")?;
        let built_for = vermagic.split_whitespace().next().unwrap_or_default();
        if built_for != release.as_str() {
            return Err(format!(
                "its version magic is of kernel {built_for}, and the package is for kernel {release}"
            ));
        }
        if arch_of(module.machine()) != arch {
            return Err(format!(
                "it is for {}, and the package is for {}",
                module.machine().name(),
                arch.name()
            ));
        }
        let manifest = module.manifest().map_err(|error| error.to_string())?;
        let manifest = manifest.ok_or("it has no manifest; build it with `cargo xtask build`")?;
        if manifest.kernel.release != release.as_str() {
            return Err(format!("its manifest names kernel {}, not {release}", manifest.kernel.release));
        }
        let Some(version) = manifest.version else {
            return Err(format!(
                "{} is a single fix; packages are made of streams, which have a version (patches/streams)",
                manifest.stream
            ));
        };
        if version.0 == 0 {
            return Err("version 0 is that of the empty package; streams start with version 1".to_owned());
        }
        let expected = module_name(release, version)?;
        if name != expected {
            return Err(format!(
                "the module's name is {name}, and that of a package's module is {expected}; take `module` out of the stream's file"
            ));
        }
        let release = release.clone();
        Ok(Self { release, arch, version, name, stream: manifest.stream, fixes: manifest.fixes, bytes })
    }
}

/// Start of the names of all modules for a kernel, without the underscore before the version.
pub(crate) fn stream_prefix(release: &KernelRelease) -> Result<String, String> {
    let name = module_name(release, (0, 0))?;
    Ok(name.as_str().trim_end_matches("_0_0").to_owned())
}

fn module_name(release: &KernelRelease, (version, patch_release): (u32, u32)) -> Result<ModuleName, String> {
    let text = format!("kpatch_{release}_{version}_{patch_release}");
    ModuleName::sanitized(&text).map_err(|error| error.to_string())
}

fn arch_of(machine: Machine) -> Arch {
    match machine {
        Machine::X86_64 => Arch::X86_64,
        Machine::Arm64 => Arch::Arm64,
    }
}
