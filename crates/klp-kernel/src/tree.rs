// SPDX-License-Identifier: GPL-2.0-or-later
//! A kernel on disk.

use std::path::PathBuf;

use klp_base::arch::Arch;
use klp_format::KernelRelease;
use klp_image::ImageFile;

use crate::config::KernelConfig;
use crate::package::Package;
use crate::toolchain::Toolchain;

/// Location of the kernel's modules.
#[derive(Clone, Debug)]
pub enum OwnModules {
    /// In a package, fetched on demand.
    Package(Package),
    /// In a directory.
    Dir(PathBuf),
}

/// A kernel on disk: all files and data for a build, a check and a boot.
#[derive(Clone, Debug)]
pub struct KernelTree {
    /// Id of the pin.
    pub id: String,
    /// Architecture of the kernel.
    pub arch: Arch,
    /// Output of `uname -r` on this kernel.
    pub release: KernelRelease,
    /// Root directory of all files of the kernel.
    pub root: PathBuf,
    /// The bootable image.
    pub image: PathBuf,
    /// File with symbols and types: the image, or the ELF file that the image was made from.
    pub vmlinux: PathBuf,
    /// Modules that a guest loads to reach the host, in load order. Empty if the drivers are built in.
    pub guest_modules: Vec<PathBuf>,
    /// Location of the kernel's modules.
    pub modules: OwnModules,
    /// Start directory for kbuild.
    pub headers: PathBuf,
    /// Configuration of the kernel.
    pub config: KernelConfig,
    /// Compilers for modules of this kernel.
    pub toolchain: Toolchain,
    /// make arguments for modules of this kernel.
    pub make: Vec<String>,
    /// Key and certificate (PEM) for module signatures that the kernel trusts. Present if the kernel was
    /// built here and checks signatures.
    pub signing_key: Option<PathBuf>,
    /// Package with the source of the kernel's very version.
    pub source: Option<Package>,
    /// Package with the debug information of the kernel's very build.
    pub debug: Option<Package>,
    /// Hash that changes whenever the tree changes.
    pub fingerprint: String,
}

impl KernelTree {
    /// File with symbols and types, for [`klp_image::KernelImage::load`].
    pub fn image_file(&self) -> ImageFile<'_> {
        ImageFile {
            id: &self.id,
            path: &self.vmlinux,
            release: self.release.as_str(),
            fingerprint: &self.fingerprint,
        }
    }

    /// Path of `Module.symvers`: exported symbols with their checksums.
    pub fn symvers(&self) -> PathBuf {
        self.headers.join("Module.symvers")
    }

    /// True if the tree has the `kernel` crate and its metadata for modules.
    pub fn has_kernel_crate(&self) -> bool {
        self.config.is_on("RUST") && self.headers.join("rust/libkernel.rmeta").is_file()
    }
}
