// SPDX-License-Identifier: GPL-2.0-or-later
//! Guests: architectures, kernels, and the files of a guest besides its cases.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// An architecture that can be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Arm64,
}

/// Everything that differs between architectures, in one place.
pub(crate) struct ArchTable {
    /// The emulator.
    pub(crate) qemu: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
    /// `-machine`.
    pub(crate) machine: &'static str,
    /// `-cpu` under TCG. On arm64 `max` emulates pointer authentication, at six times the CPU time.
    pub(crate) tcg_cpu: &'static str,
    /// Console of the first serial port.
    pub(crate) console: &'static str,
    /// Words for the kernel's command line. A busy host can make x86's timer check panic under TCG.
    pub(crate) append: &'static str,
    /// `std::env::consts::ARCH` of a host that can accelerate it.
    pub(crate) host: &'static str,
}

const X86_64: ArchTable = ArchTable {
    qemu: "qemu-system-x86_64",
    package: "qemu-system-x86",
    machine: "pc",
    tcg_cpu: "max",
    console: "ttyS0",
    append: "no_timer_check",
    host: "x86_64",
};

const ARM64: ArchTable = ArchTable {
    qemu: "qemu-system-aarch64",
    package: "qemu-system-arm",
    machine: "virt",
    tcg_cpu: "cortex-a57",
    console: "ttyAMA0",
    append: "",
    host: "aarch64",
};

impl Arch {
    pub(crate) fn table(self) -> &'static ArchTable {
        match self {
            Self::X86_64 => &X86_64,
            Self::Arm64 => &ARM64,
        }
    }

    /// The emulator's program, and the Debian package that brings it.
    pub fn emulator(self) -> (&'static str, &'static str) {
        (self.table().qemu, self.table().package)
    }

    /// The kernel's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Self, UnknownArch> {
        [Self::X86_64, Self::Arm64]
            .into_iter()
            .find(|arch| arch.name() == text)
            .ok_or_else(|| UnknownArch(text.to_owned()))
    }
}

/// A name that is no architecture.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no architecture that can be booted; there is: x86_64, arm64")]
pub struct UnknownArch(pub String);

/// A kernel to boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its id, as cases and people name it.
    pub id: String,
    /// Architecture.
    pub arch: Arch,
    /// The bootable image (`vmlinuz`, `Image`).
    pub image: PathBuf,
    /// `uname -r`. A guest that says otherwise is not judged.
    pub release: String,
}

/// Files of the initramfs besides the cases. They depend on the architecture.
#[derive(Clone, Debug)]
pub struct GuestFiles {
    /// The guest program (crate `klp-guest`), static.
    pub program: PathBuf,
    /// busybox, static.
    pub busybox: PathBuf,
    /// Directory whose files stand in `/lib` of the guest (`tests/lib`): what `run.sh` sources.
    pub lib: PathBuf,
    /// More files: absolute path in the guest, file of the host. All become executable.
    pub extra: BTreeMap<String, PathBuf>,
}

/// A kernel with the files of its initramfs.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The kernel.
    pub kernel: Kernel,
    /// Files of its initramfs.
    pub files: GuestFiles,
}
