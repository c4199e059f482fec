// SPDX-License-Identifier: GPL-2.0-or-later
//! Facts that a module is compared with: of the kernel, and of the patch as stage 1 resolved it.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::arch::Arch;
use klp_format::KlpSymbol;
use klp_format::ftrace::Sites;
use klp_module::KlpLayout;

use super::named::Named;

/// Facts that a module is compared with. A fact that could not be read carries the reason, which becomes a finding.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Id of the kernel, for messages.
    pub kernel: String,
    /// Architecture of the kernel.
    pub arch: Arch,
    /// Version magic of the kernel's image.
    pub vermagic: String,
    /// GNU build id of the kernel's image, in hexadecimal digits.
    pub build_id: Option<String>,
    /// Size of `struct module`, and offset of its member `init`, in bytes.
    pub module_struct: Option<(u64, u64)>,
    /// True if indirect branches go through thunks (`CONFIG_MITIGATION_RETPOLINE`).
    pub retpolines: bool,
    /// True if returns go through a thunk (`CONFIG_MITIGATION_RETHUNK`).
    pub return_thunks: bool,
    /// True if the unlock of a spinlock is a call (`CONFIG_UNINLINE_SPIN_UNLOCK`).
    pub visible_unlocks: bool,
    /// Symbols that the kernel and its modules export, with their checksums (`Module.symvers`).
    pub exports: Result<BTreeMap<String, ExpectedExport>, String>,
    /// True if the kernel refuses a module that does not import the namespace of a symbol.
    pub namespaces_enforced: bool,
    /// True if modules carry checksums of their imports (`CONFIG_MODVERSIONS`).
    pub modversions: bool,
    /// Bytes of padding before each function; `None` for a kernel without call padding.
    pub call_padding: Result<Option<u64>, String>,
    /// True if `__pfx_` symbols name the padding (`CONFIG_PREFIX_SYMBOLS`).
    pub prefix_symbols: bool,
    /// True if the kernel takes signed modules alone (`CONFIG_MODULE_SIG_FORCE`).
    pub signed_only: bool,
    /// True if the kernel walks stacks by ORC (`CONFIG_UNWINDER_ORC`).
    pub orc: bool,
    /// True if the kernel supports indirect branch tracking (`CONFIG_X86_KERNEL_IBT`).
    pub ibt: bool,
    /// True if the kernel supports branch target identification (`CONFIG_ARM64_BTI_KERNEL`).
    pub bti: bool,
    /// Size of a task's stack in bytes (`THREAD_SIZE`).
    pub thread_size: u64,
    /// Largest stack frame without a warning, in bytes (`CONFIG_FRAME_WARN`).
    pub frame_warn: u64,
    /// Number of arguments of kernel functions by name; functions of unknown prototype are missing.
    pub arguments: BTreeMap<String, usize>,
    /// Offset of the own code of functions behind their ftrace sites, in bytes; functions of unknown code are missing.
    pub bodies: Vec<(KlpSymbol, u64)>,
    /// Form of the sites by which ftrace hooks into functions.
    pub sites: Sites,
    /// Symbols that the module names: replaced functions, and livepatch symbols.
    pub named: BTreeMap<KlpSymbol, Named>,
    /// Modules that are objects of the patch and are not at hand, with the reason.
    pub missing_objects: BTreeMap<String, String>,
    /// Copies of the functions that a file alone replaces, by the kernel's debug information. Empty if that is not at hand.
    pub debug_copies: BTreeMap<KlpSymbol, Vec<ExpectedCopy>>,
    /// Types in the module's debug information, beside the kernel's; `None` if it has none. `Err`: the reason why they cannot be read.
    pub types: Result<Option<TypeFacts>, String>,
    /// Live patches that are loaded before the module.
    pub loaded: Vec<LoadedPatch>,
    /// Layout of the livepatch tables' structs.
    pub layout: KlpLayout,
    /// The planned patch; `None` if only the module's file is at hand.
    pub patch: Option<ExpectedPatch>,
}

/// A live patch that is loaded before the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedPatch {
    /// Name of its module.
    pub name: String,
    /// Functions that it replaces.
    pub functions: BTreeSet<KlpSymbol>,
    /// States that it supports: id and version.
    pub states: Vec<(u64, u32)>,
    /// CVEs that its manifest names.
    pub cves: Vec<String>,
}

/// Types in a module's debug information, beside the kernel's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeFacts {
    /// Structs and unions that the kernel has, too.
    pub layouts: Vec<LayoutFact>,
    /// Replacements in C.
    pub prototypes: Vec<PrototypeFact>,
}

/// A struct or union in the module and in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutFact {
    /// Its name: `struct file`.
    pub name: String,
    /// Its layout in the module.
    pub module: TypeLayout,
    /// The layouts of this name in the kernel; at least one.
    pub kernel: Vec<TypeLayout>,
}

/// Layout of a struct or union.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeLayout {
    /// Size, in bytes.
    pub size: u64,
    /// Offsets of the members, in bits.
    pub members: BTreeMap<String, u64>,
}

/// A replacement in C, and the function that it replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrototypeFact {
    /// The replaced function.
    pub symbol: KlpSymbol,
    /// Name of the replacement.
    pub replacement: String,
    /// The kernel's prototype, in C.
    pub text: String,
    /// Shapes of the replacement's return value and parameters: `int4`, `*struct file`, `*`.
    pub module: Vec<String>,
    /// Those of the replaced function.
    pub kernel: Vec<String>,
}

/// A symbol that the kernel or one of its modules exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedExport {
    /// Checksum of its type.
    pub checksum: u32,
    /// `vmlinux`, or the module that has it.
    pub object: String,
    /// Namespace that a module must import.
    pub namespace: Option<String>,
}

/// A planned module parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedParam {
    /// Name.
    pub name: String,
    /// Type as in `parmtype` of `.modinfo`: `uint`, `array of int`.
    pub kind: String,
    /// Access mode.
    pub mode: u16,
}

/// Copy of a replaced function in another function of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedCopy {
    /// Symbol of the function with the copy.
    pub caller: String,
    /// File of the call.
    pub file: String,
    /// Line of the call.
    pub line: u64,
    /// True if the copy is a function of its own, specialised for some callers: `f.constprop.0`.
    pub is_clone: bool,
}

/// The planned patch, as stage 1 resolved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPatch {
    /// Name of the module.
    pub module: String,
    /// Replaced functions.
    pub functions: Vec<KlpSymbol>,
    /// Objects with callbacks.
    pub callbacks: Vec<String>,
    /// Supported states: id and version.
    pub states: Vec<(u64, u32)>,
    /// Module parameters.
    pub params: Vec<ExpectedParam>,
    /// True for atomic replace: the patch disables all older patches.
    pub replace: bool,
    /// Replaced functions that are static and that nothing in the kernel's image calls or points to.
    pub unreached: Vec<KlpSymbol>,
    /// Copies of replaced functions that the compiler made, for those of which they are known.
    pub copies: BTreeMap<KlpSymbol, Vec<ExpectedCopy>>,
    /// Replaced functions whose copies are not known, with the reason.
    pub copies_not_known: BTreeMap<KlpSymbol, String>,
    /// True if code that can panic is an error.
    pub deny_panic: bool,
    /// Parameters of replaced functions that are pointers of the user's program, from 0.
    pub user_pointers: Vec<(KlpSymbol, Vec<usize>)>,
    /// Patterns in the source of the fixes: place and problem.
    pub source: Vec<(String, String)>,
    /// Declarations that the kernel's types do not have: the author's words.
    pub asserted: BTreeSet<(KlpSymbol, String)>,
    /// Dependencies: for each patched module, the modules that are loaded whenever that one is.
    pub needs: BTreeMap<String, BTreeSet<String>>,
}
