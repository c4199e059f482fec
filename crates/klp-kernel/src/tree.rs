// SPDX-License-Identifier: GPL-2.0-or-later
//! A kernel on disk.

use std::path::PathBuf;

use klp_base::arch::Arch;
use klp_format::KernelRelease;
use klp_image::ImageFile;

use crate::config::KernelConfig;
use crate::package::Package;
use crate::toolchain::Toolchain;

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
    /// The file that symbols and types are read from, for [`klp_image::KernelImage::load`].
    pub fn image_file(&self) -> ImageFile<'_> {
        ImageFile {
            id: &self.id,
            path: &self.vmlinux,
            release: self.release.as_str(),
            fingerprint: &self.fingerprint,
        }
    }

    /// The exported symbols with their checksums.
    pub fn symvers(&self) -> PathBuf {
        self.headers.join("Module.symvers")
    }

    /// Whether it has the `kernel` crate, with what modules need of it.
    pub fn has_kernel_crate(&self) -> bool {
        self.config.is_on("RUST") && self.headers.join("rust/libkernel.rmeta").is_file()
    }
}
