// SPDX-License-Identifier: GPL-2.0-or-later
//! rustc flags derived from the kernel's configuration, equivalent to the flags of the kernel's C code.
//!
//! Sources: `arch/x86/Makefile` and `Makefile` of the kernel (KBUILD_RUSTFLAGS), and the checks of objtool
//! and the module loader.

use klp_base::arch::Arch;
use klp_format::ftrace::Sites;
use klp_kernel::{KernelConfig, KernelTree};

/// Flags of every crate of a module, including `core`. Crates with different flags must not be mixed. rustc
/// rejects only some mismatches, so the flags are part of every key.
pub(crate) fn rustc(tree: &KernelTree) -> Vec<String> {
    let mut flags: Vec<String> = [
        "-Cpanic=abort",
        "-Cembed-bitcode=n",
        "-Clto=n",
        "-Cforce-unwind-tables=n",
        "-Ccodegen-units=1",
        "-Csymbol-mangling-version=v0",
        "-Crelocation-model=static",
        "-Copt-level=2",
        "-Cdebug-assertions=n",
        "-Coverflow-checks=n",
        // One section per function, so that the link can remove unused functions.
        "-Zfunction-sections=y",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    match tree.arch {
        Arch::X86_64 => x86_64(&tree.config, &mut flags),
        Arch::Arm64 => arm64(&tree.config, &mut flags),
    }
    flags
}

fn x86_64(config: &KernelConfig, flags: &mut Vec<String>) {
    let mut add = |items: &[&str]| flags.extend(items.iter().map(|item| (*item).to_owned()));
    add(&[
        "--target=x86_64-unknown-none",
        "-Ccode-model=kernel",
        "-Cno-redzone=y",
        // Without this flag LLVM's calls of memcpy and similar functions get GOTPCREL relocations, which the
        // module loader does not support.
        "-Zplt=yes",
        "-Ctarget-cpu=x86-64",
        "-Ztune-cpu=generic",
        "-Cjump-tables=n",
    ]);
    if config.is_on("X86_KERNEL_IBT") {
        add(&["-Zcf-protection=branch"]);
    }
    if config.has_mitigation("RETHUNK") {
        add(&["-Zfunction-return=thunk-extern"]);
    }
    if config.has_mitigation("RETPOLINE") {
        add(&["-Zretpoline-external-thunk", "-Zindirect-branch-cs-prefix"]);
    }
    if config.has_mitigation("SLS") {
        add(&["-Ctarget-feature=+harden-sls-ijmp,+harden-sls-ret"]);
    }
    if let Some(bytes) = config.call_padding() {
        add(&[&format!("-Zpatchable-function-entry={bytes},{bytes}")]);
    }
    if config.is_on("FUNCTION_ALIGNMENT_16B") {
        add(&["-Zmin-function-alignment=16"]);
    }
}

/// Source: `arch/arm64/Makefile`.
fn arm64(config: &KernelConfig, flags: &mut Vec<String>) {
    let mut add = |items: &[&str]| flags.extend(items.iter().map(|item| (*item).to_owned()));
    add(&["--target=aarch64-unknown-none-softfloat", "-Cforce-frame-pointers=y"]);
    // Protection of returns and branches must be in all functions or in none. A kernel without the protection
    // also runs protected code.
    match (config.is_on("ARM64_BTI_KERNEL"), config.is_on("ARM64_PTR_AUTH_KERNEL")) {
        (true, _) => add(&["-Zbranch-protection=bti,pac-ret"]),
        (false, true) => add(&["-Zbranch-protection=pac-ret"]),
        (false, false) => {}
    }
    // The kernel replaces the two nops before a function by a pointer in one write
    // (DYNAMIC_FTRACE_WITH_CALL_OPS), so functions need this alignment. The flag is for every crate: a
    // generic function has the alignment of its defining crate, wherever it is instantiated.
    if config.is_on("FUNCTION_ALIGNMENT_8B") {
        add(&["-Zmin-function-alignment=8"]);
    }
    if config.is_on("SHADOW_CALL_STACK") {
        add(&["-Zfixed-x18"]);
    }
}

/// Flag that reserves space for the ftrace sites of a crate's functions.
pub(super) fn room_for(sites: Sites) -> String {
    format!("-Zpatchable-function-entry={},{}", sites.before + sites.after, sites.before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags that a configuration adds to the flags of every x86 kernel.
    fn added(config: &str) -> Vec<String> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        x86_64(&KernelConfig::parse(config), &mut with);
        x86_64(&KernelConfig::default(), &mut without);
        with.split_off(without.len())
    }

    #[test]
    fn mitigations_have_two_names() {
        let expected = [
            "-Zfunction-return=thunk-extern",
            "-Zretpoline-external-thunk",
            "-Zindirect-branch-cs-prefix",
            "-Ctarget-feature=+harden-sls-ijmp,+harden-sls-ret",
        ];
        // Options of 6.1, then of 6.12 without the options that are new in 6.12.
        assert_eq!(added("CONFIG_RETPOLINE=y\nCONFIG_RETHUNK=y\nCONFIG_SLS=y\n"), expected);
        assert_eq!(
            added("CONFIG_MITIGATION_RETPOLINE=y\nCONFIG_MITIGATION_RETHUNK=y\nCONFIG_MITIGATION_SLS=y\n"),
            expected
        );
    }

    #[test]
    fn function_entry_flags_match_the_kernel() {
        assert_eq!(
            added("CONFIG_X86_KERNEL_IBT=y\nCONFIG_CALL_PADDING=y\nCONFIG_FUNCTION_PADDING_BYTES=16\n"),
            ["-Zcf-protection=branch", "-Zpatchable-function-entry=16,16"]
        );
        assert_eq!(added("# CONFIG_X86_KERNEL_IBT is not set\n"), [""; 0]);
    }
}
