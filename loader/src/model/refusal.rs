// SPDX-License-Identifier: GPL-2.0-or-later
//! Reasons to refuse a module, as the operator reads them.

/// Why a module cannot be loaded into the running kernel.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file is none, or damaged.
    #[error("{0}")]
    NotAModule(klp_module::Error),
    /// Compressed, and damaged.
    #[error("{0}")]
    Packed(klp_module::UnpackError),
    /// Its manifest cannot be read.
    #[error("{0}")]
    Manifest(klp_module::ManifestError),
    /// Another build of the kernel's release.
    #[error(
        "it was built and checked against another build of {release}: build id {module}, the running kernel has {running}; get or build the patch for this one"
    )]
    KernelBuild {
        /// The release of both.
        release: String,
        /// The build id that the patch was made for.
        module: String,
        /// The running kernel's.
        running: String,
    },
    /// Modules cannot be loaded any more.
    #[error("loading modules was switched off for good until the next boot (sysctl kernel.modules_disabled)")]
    ModulesDisabled,
    /// Signatures are asked for, and there is none.
    #[error(
        "it has no signature, and this kernel loads signed modules only ({why}); sign it with a key that the kernel trusts"
    )]
    Unsigned {
        /// What asks for signatures.
        why: &'static str,
    },
    /// ftrace is off.
    #[error(
        "ftrace is switched off, which live patching needs; sysctl kernel.ftrace_enabled=1 switches it on"
    )]
    FtraceOff,
    /// Someone else changes where a function goes.
    #[error(
        "{function} is already changed by another user of ftrace than live patching (a kprobe with a post handler, another live patching): {line}; remove that first"
    )]
    Modified {
        /// The function.
        function: String,
        /// What the kernel's list says.
        line: String,
    },
    /// A newer version of the same line is enabled.
    #[error(
        "{newer} of the same line is enabled, which is newer; kpatch rollback goes back to an older version, --allow-older loads this one over it"
    )]
    Older {
        /// The newer one.
        newer: String,
    },
    /// A state that a loaded patch has brought further.
    #[error(
        "the loaded patch {patch} has system state {id} in version {version}, {known}: the kernel would refuse to replace it; use a newer patch, or reboot"
    )]
    State {
        /// The loaded patch.
        patch: String,
        /// The state.
        id: u64,
        /// Its version.
        version: u32,
        /// What this patch knows of it.
        known: String,
    },
    /// A module, but no live patch.
    #[error(
        "it is a kernel module but not a live patch: its .modinfo has no livepatch tag; load it with insmod or modprobe if that is meant"
    )]
    NotALivepatch,
    /// For another processor.
    #[error("it is for {module}, this machine is {running}")]
    Machine {
        /// What it is for.
        module: &'static str,
        /// What runs here.
        running: &'static str,
    },
    /// Built for another kernel.
    #[error("invalid module version {module} for kernel {running}; get or build the patch for {running}")]
    Release {
        /// The release that it was built for.
        module: String,
        /// The running one.
        running: String,
    },
    /// Without version magic.
    #[error("its .modinfo has no vermagic: it was not linked by the kernel's build; build it again")]
    NoVermagic,
    /// Livepatch symbols that are ordinary undefined symbols still.
    #[error(
        "it was not converted: {count} symbols that are meant for the livepatch core are still ordinary undefined ones, which the kernel cannot resolve ({symbols}); run the build's postlink stage on it"
    )]
    Unconverted {
        /// The first of them.
        symbols: String,
        /// How many there are.
        count: usize,
    },
    /// A kernel without live patching.
    #[error(
        "the running kernel has no live patching (there is no /sys/kernel/livepatch): it was built without CONFIG_LIVEPATCH"
    )]
    NoLivepatchSupport,
}
