// SPDX-License-Identifier: GPL-2.0-or-later
//! Reasons to refuse a module, with their messages.

/// Reason why a module cannot be loaded into the running kernel.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// File that is no module, or is damaged.
    #[error("{0}")]
    NotAModule(klp_module::Error),
    /// Damaged compressed file.
    #[error("{0}")]
    Packed(klp_module::UnpackError),
    /// Manifest that cannot be read.
    #[error("{0}")]
    Manifest(klp_module::ManifestError),
    /// Module for another build of the same kernel release.
    #[error(
        "it was built and checked against another build of {release}: build id {module}, the running kernel has {running}; get or build the patch for this one"
    )]
    KernelBuild {
        /// Kernel release.
        release: String,
        /// Build id of the kernel that the module was built for.
        module: String,
        /// Build id of the running kernel.
        running: String,
    },
    /// Module for another build of a module that it patches.
    #[error(
        "it was built and checked against another build of module {patched}: build id {module}, {place} has {running}; get or build the patch for this one"
    )]
    ModuleBuild {
        /// Name of the patched module.
        patched: String,
        /// Build id of the patched module that this module was built for.
        module: String,
        /// Loaded module or file with this build id.
        place: String,
        /// Its build id.
        running: String,
    },
    /// Module loading is disabled (sysctl kernel.modules_disabled).
    #[error("loading modules was switched off for good until the next boot (sysctl kernel.modules_disabled)")]
    ModulesDisabled,
    /// Missing signature on a kernel that requires one.
    #[error(
        "it has no signature, and this kernel loads signed modules only ({why}); sign it with a key that the kernel trusts"
    )]
    Unsigned {
        /// Setting that requires signatures.
        why: &'static str,
    },
    /// ftrace is disabled (sysctl kernel.ftrace_enabled).
    #[error(
        "ftrace is switched off, which live patching needs; sysctl kernel.ftrace_enabled=1 switches it on"
    )]
    FtraceOff,
    /// ftrace, switched off by the kernel itself.
    #[error(
        "the kernel has switched ftrace off after an error of its own (a WARNING of ftrace.c in its log), and live patching needs it; reboot"
    )]
    FtraceGone,
    /// Function with another ftrace user that modifies the instruction pointer.
    #[error(
        "{function} is already changed by another user of ftrace than live patching (a kprobe with a post handler, another live patching): {line}; remove that first"
    )]
    Modified {
        /// Name of the function.
        function: String,
        /// Line of the kernel's list `enabled_functions`.
        line: String,
    },
    /// Older version of a line than the enabled patch.
    #[error(
        "{newer} of the same line is enabled, which is newer; kpatch rollback goes back to an older version, --allow-older loads this one over it"
    )]
    Older {
        /// Name of the enabled patch.
        newer: String,
    },
    /// System state of a loaded patch that this module does not support in that version.
    #[error(
        "the loaded patch {patch} has system state {id} in version {version}, {known}: the kernel would refuse to replace it; use a newer patch, or reboot"
    )]
    State {
        /// Loaded patch.
        patch: String,
        /// Id of the state.
        id: u64,
        /// Version of the state.
        version: u32,
        /// Version that the module supports, as a clause of the message.
        known: String,
    },
    /// Kernel module that is no live patch.
    #[error(
        "it is a kernel module but not a live patch: its .modinfo has no livepatch tag; load it with insmod or modprobe if that is meant"
    )]
    NotALivepatch,
    /// File that is not the one that was built.
    #[error(
        "its SHA-256 is not the one that was written into it when it was built: it was changed or damaged since; get it again"
    )]
    Changed,
    /// Module for another architecture.
    #[error("it is for {module}, this machine is {running}")]
    Machine {
        /// Architecture of the module.
        module: &'static str,
        /// Architecture of this machine.
        running: &'static str,
    },
    /// Module for another kernel release.
    #[error("invalid module version {module} for kernel {running}; get or build the patch for {running}")]
    Release {
        /// Kernel release in the version magic.
        module: String,
        /// Running kernel release.
        running: String,
    },
    /// Module without version magic.
    #[error("its .modinfo has no vermagic: it was not linked by the kernel's build; build it again")]
    NoVermagic,
    /// Livepatch symbols that were not converted and are ordinary undefined symbols.
    #[error(
        "it was not converted: {count} symbols that are meant for the livepatch core are still ordinary undefined ones, which the kernel cannot resolve ({symbols}); run the build's postlink stage on it"
    )]
    Unconverted {
        /// First symbols, separated by commas.
        symbols: String,
        /// Number of symbols.
        count: usize,
    },
    /// Kernel without live patching.
    #[error(
        "the running kernel has no live patching (there is no /sys/kernel/livepatch): it was built without CONFIG_LIVEPATCH"
    )]
    NoLivepatchSupport,
}
