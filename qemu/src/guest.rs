// SPDX-License-Identifier: GPL-2.0-or-later
//! Guests: architectures, kernels, and guest files except those of cases.

use std::collections::BTreeMap;
use std::path::PathBuf;

use klp_base::arch::Arch;

/// All properties that differ between architectures.
pub(crate) struct ArchTable {
    /// Emulator program.
    pub(crate) qemu: &'static str,
    /// Debian package of the emulator.
    pub(crate) package: &'static str,
    /// Value of `-machine`.
    pub(crate) machine: &'static str,
    /// Value of `-cpu` under TCG. On arm64, `max` emulates pointer authentication at six times the CPU time.
    pub(crate) tcg_cpu: &'static str,
    /// Console device of the first serial port.
    pub(crate) console: &'static str,
    /// Kernel parameters. On a busy host, x86's timer check can panic under TCG.
    pub(crate) append: &'static str,
    /// `std::env::consts::ARCH` of hosts that can accelerate the guest.
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

/// Properties of an architecture.
pub(crate) fn table(arch: Arch) -> &'static ArchTable {
    match arch {
        Arch::X86_64 => &X86_64,
        Arch::Arm64 => &ARM64,
    }
}

/// Emulator program of an architecture, and its Debian package.
pub fn emulator(arch: Arch) -> (&'static str, &'static str) {
    (table(arch).qemu, table(arch).package)
}

/// Kernel to boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Id of the kernel, as in cases and reports.
    pub id: String,
    /// Architecture.
    pub arch: Arch,
    /// Bootable image (`vmlinuz`, `Image`).
    pub image: PathBuf,
    /// Expected `uname -r`. A guest with another release is not judged.
    pub release: String,
}

/// Files of the initramfs except those of cases. They depend on the architecture.
#[derive(Clone, Debug)]
pub struct GuestFiles {
    /// Guest program (crate `klp-guest`), statically linked.
    pub program: PathBuf,
    /// busybox, statically linked.
    pub busybox: PathBuf,
    /// Directory whose files go to `/lib` of the guest (`tests/lib`) and are sourced by `run.sh`.
    pub lib: PathBuf,
    /// Additional files: absolute path in the guest, file of the host. All are made executable.
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
