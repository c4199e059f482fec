// SPDX-License-Identifier: GPL-2.0-or-later
//! rustc's flags, derived from the kernel's configuration: what the kernel's own C code is compiled with.
//!
//! Source: `arch/x86/Makefile` and `Makefile` of the kernel (KBUILD_RUSTFLAGS), and what objtool and the module loader
//! refuse.

use crate::kernel::{Arch, KernelTree};

/// Flags that every crate of a module is compiled with, `core` too. Crates of different flags do not mix: rustc refuses
/// only some of the mismatches, so they are part of every key.
pub(super) fn rustc(tree: &KernelTree) -> Vec<String> {
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
        // One section a function, so that the link can drop what is not used.
        "-Zfunction-sections=y",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    match tree.arch {
        Arch::X86_64 => x86_64(tree, &mut flags),
    }
    flags
}

fn x86_64(tree: &KernelTree, flags: &mut Vec<String>) {
    let config = &tree.config;
    let mut add = |items: &[&str]| flags.extend(items.iter().map(|item| (*item).to_owned()));
    add(&[
        "--target=x86_64-unknown-none",
        "-Ccode-model=kernel",
        "-Cno-redzone=y",
        // Without it LLVM's calls of memcpy and the like get GOTPCREL relocations, which the module loader does not know.
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
