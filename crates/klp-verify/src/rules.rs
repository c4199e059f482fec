// SPDX-License-Identifier: GPL-2.0-or-later
//! The rules: their ids, which are stable, and the function that applies each. docs/verify-rules.md has a row for each.

use crate::{Findings, Scope, Subject};
use crate::{code, frame, ftrace, info, panics, relocations, self_call, symbols, tables};

/// The file is a relocatable 64-bit ELF file in which nothing points outside.
///
/// Source: `elf_validity_cache_copy()` in `kernel/module/main.c`. The kernel refuses most of these files (ENOEXEC), and a
/// file that cannot be read cannot be judged by any other rule.
pub const ELF: &str = "elf";
/// The file is for the kernel's processor.
///
/// Source: `elf_check_arch()`. The kernel refuses it (ENOEXEC); to us every other rule would speak of the wrong table.
pub const ARCHITECTURE: &str = "architecture";
/// Every relocation of a section that stays in memory is of a type that the module loader knows.
///
/// Source: `apply_relocate_add()` in `arch/*/kernel/module.c`. Neither modpost nor objtool looks at the types, so that the
/// first to complain is the machine on which the module is loaded.
pub const RELOCATION_TYPE: &str = "relocation-type";
/// All bytes that a relocation writes lie in the section that it changes.
///
/// Source: `apply_relocate_add()` does not look at the size of the section. The kernel would write over what stands behind.
pub const RELOCATION_RANGE: &str = "relocation-range";
/// Under `CONFIG_CALL_PADDING` every function has its padding before it: one-byte nops that belong to no other function,
/// named by a `__pfx_` symbol.
///
/// Source: `patch_dest()` in `arch/x86/kernel/callthunks.c`, `CONFIG_FUNCTION_PADDING_BYTES`. With call depth tracking
/// (`retbleed=stuff`) the kernel writes a thunk into the padding and directs calls there. Where it finds no nops it leaves
/// the calls uncounted, with one warning per boot: the protection against return stack underflow has a gap in the patch.
/// Nops of another function would be overwritten. No tool of the kernel's build says a word.
pub const CALL_PADDING: &str = "call-padding";
/// On a kernel with indirect branch tracking, replacements and the module's init and exit begin with an instruction that
/// may be branched to, and that instruction is not sealed away.
///
/// Source: `CONFIG_X86_KERNEL_IBT`, `apply_seal_endbr()`. The processor raises a control protection fault at the first call.
/// Most test machines do not have the feature, so that no test would show it.
pub const IBT_ENDBR: &str = "ibt-endbr";
/// On a kernel with branch target identification, replacements, the module's init and exit, and every function whose address
/// stands in data begin with an instruction that may be branched to.
///
/// Source: `CONFIG_ARM64_BTI_KERNEL`. The processor raises an exception at the first call; those without the feature, and
/// emulators' plain models, show nothing.
pub const BTI_LANDING_PAD: &str = "bti-landing-pad";
/// Symbols that the livepatch core resolves are marked so, have a well-formed name, and only livepatch relocations use them.
///
/// Source: `Documentation/livepatch/module-elf-format.rst`; `klp_resolve_symbols()`. The module loader takes the value of
/// such a symbol as it stands, 0: an ordinary relocation against it becomes a null pointer without a word.
pub const KLP_SYMBOL: &str = "klp-symbol";
/// Sections of livepatch relocations have the name, flags, link and target that the livepatch core reads, use symbols of
/// their own object only, and there is one of them for an object and target. The object is one of the patch, and only code that
/// runs while it is there comes to them.
///
/// Source: `Documentation/livepatch/module-elf-format.rst`; `klp_apply_section_relocs()`. With a wrong object the
/// relocations are applied never, or before what they refer to is there; and code of another object's replacement runs whether
/// they are applied or not.
pub const KLP_RELOCATION: &str = "klp-relocation";
/// The module's version magic is the one that the kernel asks for.
///
/// Source: `same_magic()` in `kernel/module/version.c`. With `CONFIG_MODVERSIONS` the kernel itself does not compare the
/// release. We do: a live patch is for one kernel.
pub const VERMAGIC: &str = "vermagic";
/// The module information says `livepatch=Y`.
///
/// Source: `Documentation/livepatch/module-elf-format.rst`; `klp_enable_patch()` refuses other modules (EINVAL).
pub const LIVEPATCH_TAG: &str = "livepatch-tag";
/// The module information names a licence that is compatible with the GPL.
///
/// Source: `include/linux/license.h`. `klp_enable_patch()` is exported to such modules only; for others it does not exist.
pub const LICENSE_TAG: &str = "license-tag";
/// The module has one name: in its `struct module`, in its module information, and in what stage 1 resolved.
///
/// Source: `include/linux/module.h`. The name in `struct module` is what `/sys/module` and `/sys/kernel/livepatch` show;
/// where it differs, whoever loads or unloads the module by its name acts on another one.
pub const MODULE_NAME: &str = "module-name";
/// The tables of the live patch hold what stage 1 resolved: the same functions, positions and objects, atomic replace on.
///
/// Source: `include/linux/livepatch.h`. A function that is missing stays unfixed without a word; one too many is replaced
/// although nobody asked; without `replace` an older patch stays active beneath.
pub const PATCH_TABLE: &str = "patch-table";
/// Every replacement is the start of a function with a size in the module's symbol table.
///
/// Source: `klp_init_object_loaded()` asks kallsyms for the size (ENOENT where there is none) and `klp_check_stack_func()`
/// uses it to see whether a task sleeps in the replacement. kallsyms takes the nearest symbol of any kind, so that a missing
/// one gives a wrong size, and tasks change over in the middle of the function.
pub const REPLACEMENT_SYMBOL: &str = "replacement-symbol";
/// ftrace can hook into every replacement: the section that lists the module's sites has an entry for it, and each entry leads
/// to the site of a function, where the instruction stands that ftrace expects.
///
/// Source: `ftrace_process_locs()` and `ftrace_bug()` in `kernel/trace/ftrace.c`. The kernel loads a module without the
/// section: the fix then runs, and no function tracer, fprobe or kprobe on a function's entry shows it. Where the instruction
/// is another one, ftrace warns and switches itself off, and no live patch can be loaded or unloaded until the next boot.
pub const TRACEABLE_REPLACEMENT: &str = "traceable-replacement";
/// Every undefined symbol is exported by this kernel.
///
/// Source: `simplify_symbols()` in `kernel/module/main.c`; `Module.symvers`. The kernel refuses the module (ENOENT).
pub const UNDEFINED_SYMBOL: &str = "undefined-symbol";
/// The checksum that the module records for a symbol is the kernel's.
///
/// Source: `check_version()` in `kernel/module/version.c`. A different one says that the module was compiled against
/// other types. The kernel refuses it (EINVAL), but with `CONFIG_MODULE_FORCE_LOAD` it loads a module without any.
pub const SYMBOL_VERSION: &str = "symbol-version";
/// Debug information was taken off.
///
/// Source: our own size budget. It is harmless, but ten times the module, and stands in the kernel's memory while it loads.
pub const DEBUG_LEFT: &str = "debug-left";

/// No line of the fixes can panic. What the libraries `core`, `alloc` and `kernel` may do inside is left out.
///
/// Source: `make_task_dead()` in `kernel/exit.c`. A panic ends in an invalid instruction: the kernel kills the task, and nobody lets
/// go of the locks that it holds. A warning: the compiler may not see that an index is always in bounds.
pub const PANIC_REACHABLE: &str = "panic-reachable";

/// A replacement does not end in a jump to other code: its frame is on the stack as long as what it calls runs.
///
/// Source: `klp_check_stack_func()` in `kernel/livepatch/transition.c`. The kernel looks for an address of the replacement
/// on the stacks of sleeping tasks; a function that the replacement jumped to shows none. Unpatching then ends, and the
/// module's memory is freed under the task. Compilers make such jumps (sibling calls) of a call in the last place, at every
/// level of optimisation that kernels use.
pub const REPLACEMENT_FRAME: &str = "replacement-frame";
/// The stack frames of the module's functions fit into a task's stack, alone and on the deepest path of calls, and no
/// function calls itself on every way through it. A warning from the kernel's `CONFIG_FRAME_WARN` on, and for recursion.
///
/// Source: `THREAD_SIZE` in `arch/x86/include/asm/page_64_types.h` and `arch/arm64/include/asm/memory.h`; `FRAME_WARN` in
/// `lib/Kconfig.debug`. The kernel does not probe its stack: the end of it is a guard page and a double fault, which takes the
/// machine down. What calls a replacement, and what it calls, is not known, so that each of them and the module get a third.
/// (x86's stacks became 16 KiB large in 3.15 since ordinary paths overflowed 8 KiB: commit 6538b8ea886e.)
pub const STACK_FRAME: &str = "stack-frame";
/// A replacement does not call the function that it replaces by that function's name, itself or by way of others.
///
/// Source: `klp_ftrace_handler()` in `kernel/livepatch/patch.c`. Every call of the function is led to the replacement, those
/// of the replacement too. Where each way through the replacement makes such a call, or the call passes on the arguments
/// that the replacement was given (what was meant is the original), it never ends. Other calls may be a recursion that
/// does: a warning.
pub const SELF_CALL: &str = "self-call";

/// Looks for what breaks one rule.
pub(crate) type Check = fn(&Subject<'_>, &mut Findings) -> Scope;

/// The two rules that [`super::verify`] applies before there is a [`Subject`] to judge.
pub(crate) const FIRST: [&str; 2] = [ELF, ARCHITECTURE];

/// The other rules, in the order in which they are applied.
pub(crate) const CHECKS: [(&str, Check); 21] = [
    (RELOCATION_TYPE, relocations::types),
    (RELOCATION_RANGE, relocations::ranges),
    (CALL_PADDING, code::call_padding),
    (IBT_ENDBR, code::ibt_endbr),
    (BTI_LANDING_PAD, code::bti_landing_pad),
    (KLP_SYMBOL, symbols::livepatch),
    (KLP_RELOCATION, relocations::livepatch),
    (VERMAGIC, info::vermagic),
    (LIVEPATCH_TAG, info::livepatch_tag),
    (LICENSE_TAG, info::license_tag),
    (MODULE_NAME, info::module_name),
    (PATCH_TABLE, tables::patch_table),
    (REPLACEMENT_SYMBOL, tables::replacement_symbol),
    (REPLACEMENT_FRAME, frame::replacement),
    (STACK_FRAME, frame::stack),
    (SELF_CALL, self_call::self_call),
    (TRACEABLE_REPLACEMENT, ftrace::traceable),
    (UNDEFINED_SYMBOL, symbols::undefined),
    (SYMBOL_VERSION, symbols::versions),
    (DEBUG_LEFT, info::debug_left),
    (PANIC_REACHABLE, panics::reachable),
];

/// Ids of all rules, in the order in which they are applied.
pub fn rule_ids() -> impl Iterator<Item = &'static str> {
    FIRST.into_iter().chain(CHECKS.into_iter().map(|(rule, _)| rule))
}
