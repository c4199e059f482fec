// SPDX-License-Identifier: GPL-2.0-or-later
//! Facts that the rules compare a module with: of the kernel, and of stage resolve.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::arch::Arch;
use klp_format::KlpSymbol;
use klp_format::ftrace::Sites;
use klp_module::KlpLayout;

/// Facts that a module is compared with. A fact that is not known carries the reason, which becomes a finding.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Id of the kernel, for messages.
    pub kernel: String,
    /// Architecture of the kernel.
    pub arch: Arch,
    /// The version magic in the kernel's image.
    pub vermagic: String,
    /// Symbols that the kernel and its modules export, with their checksums (`Module.symvers`).
    pub exports: Result<BTreeMap<String, u32>, String>,
    /// True if modules carry the checksums of imported symbols (`CONFIG_MODVERSIONS`).
    pub modversions: bool,
    /// Bytes of padding before each function; none where the kernel does not use any.
    pub call_padding: Result<Option<u64>, String>,
    /// True if `__pfx_` symbols name the padding (`CONFIG_PREFIX_SYMBOLS`).
    pub prefix_symbols: bool,
    /// True if the kernel uses indirect branch tracking (`CONFIG_X86_KERNEL_IBT`).
    pub ibt: bool,
    /// True if the kernel uses branch target identification (`CONFIG_ARM64_BTI_KERNEL`).
    pub bti: bool,
    /// Bytes of a task's stack (`THREAD_SIZE`).
    pub thread_size: u64,
    /// The most bytes that a stack frame takes without a warning (`CONFIG_FRAME_WARN`).
    pub frame_warn: u64,
    /// Number of arguments of functions, by name, as far as they are known.
    pub arguments: BTreeMap<String, usize>,
    /// The sites by which ftrace hooks into functions.
    pub sites: Sites,
    /// Layout of the livepatch tables' structs.
    pub layout: KlpLayout,
    /// Contents that the module must have. None: only the file of the module is known.
    pub patch: Option<ExpectedPatch>,
}

/// Contents that a module must have, out of stage resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPatch {
    /// Its name.
    pub module: String,
    /// The functions that it replaces.
    pub functions: Vec<KlpSymbol>,
    /// The objects for which it has callbacks.
    pub callbacks: Vec<String>,
    /// The states that it supports: id and version.
    pub states: Vec<(u64, u32)>,
    /// True if the module replaces the patches that are loaded.
    pub replace: bool,
    /// For each module that it changes, the modules that are loaded whenever that one is.
    pub needs: BTreeMap<String, BTreeSet<String>>,
}
