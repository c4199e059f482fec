// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on the functions and variables of the kernel that a live patch names: each against the image of its object.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::events::Severity;
use klp_format::{KlpSymbol, VMLINUX};
use klp_module::{PatchedObject, SymbolSection};

use super::{Check, Rule, without_tables};
use crate::analysis::{Subject, Target};
use crate::facts::{Memory, Named, NamedSymbol};
use crate::report::{Findings, Scope};

/// Functions in the tables.
pub static REPLACED_FUNCTION: Rule = Rule {
    id: "replaced-function",
    severity: Severity::Error,
    source: "`klp_find_object_symbol()` and `klp_find_object_module()` in `kernel/livepatch/core.c`; `klp_patch_func()` in \
             `kernel/livepatch/patch.c`; the symbols and the ftrace sites of the image.",
    summary: "Every function in the tables is in its object once, at the position that the table gives, begins with an ftrace site, and \
              stays after the object's start.",
    explain: &[
        "The tables are compared with the kernel's image, and with the file of each module that is an object of the patch. Position 0 is for \
         a name that is unique in its object.",
        "An object that is named `vmlinux` is taken for a module of that name, which is never loaded: the patch is enabled and changes \
         nothing. The kernel itself is the object without a name. A function that stands twice gets two replacements, of which one runs.",
        "An object that is no module of the kernel's packages or of the project is *not checked*: its name may be misspelt, or the module is \
         someone else's. A patch of a module that is never loaded changes nothing, without any message.",
        "**Symptom:** `symbol '...' not found in symbol table`, `unresolvable ambiguity for symbol '...'` (EINVAL), `failed to set ftrace \
         filter for function '...'` (EINVAL); for a module only when it is loaded, which then fails.",
        "**Remedy:** the name and position that `cargo xtask look` shows; the function into which the compiler inlined it; another function \
         for one without an ftrace site.",
    ],
    check: Check::Module(replaced_function),
};

/// Functions that tasks do not leave.
pub static LASTING_FUNCTION: Rule = Rule {
    id: "lasting-function",
    severity: Severity::Warning,
    source: "`klp_check_stack()` in `kernel/livepatch/transition.c`; the calls of `kthread_create_on_node()` and its like in the image.",
    summary: "No replaced function is one that a task never leaves, or that the livepatch core itself runs in a transition.",
    explain: &[
        "A task changes over when none of the replaced functions is on its stack. The main function of a kernel thread is on that thread's \
         stack for ever, and so are `schedule()` on the stack of each task that sleeps, and the idle loop.",
        "A function of the livepatch core, or one that it uses to read stacks, runs in the transition that it decides about: what it does \
         then decides whether this patch, or any other, can ever be loaded or taken out again.",
        "**Symptom:** the transition does not end; `kpatch` takes the patch out again after its time limit, or cannot.",
        "**Remedy:** replace a function that the loop calls.",
    ],
    check: Check::Module(lasting_function),
};

/// Livepatch symbols.
pub static LIVEPATCH_TARGET: Rule = Rule {
    id: "livepatch-target",
    severity: Severity::Error,
    source: "`klp_resolve_symbols()` and `klp_find_object_symbol()` in `kernel/livepatch/core.c`; the symbols of the image.",
    summary: "Every livepatch symbol is in its object once or at the position in its name, stays after the object's start, and is code where it \
              is called.",
    explain: &[
        "The livepatch core writes the address of a symbol into the module's code. It finds the address by name and position alone: whether \
         the symbol is a function, a variable, or memory that was freed long ago, it does not look.",
        "**Symptom:** `symbol '...' not found in symbol table`, `unresolvable ambiguity` (EINVAL), for a symbol of a module only when that is \
         loaded; for init code and init data, and for data that is called, none until the first use: a page fault.",
        "**Remedy:** the name and position that `cargo xtask look` shows; build the module again for this kernel.",
    ],
    check: Check::Module(livepatch_target),
};

/// Other entries into the same source function.
pub static OTHER_ENTRY: Rule = Rule {
    id: "other-entry",
    severity: Severity::Warning,
    source: "`arch/x86/include/asm/syscall_wrapper.h`; the symbols of the image.",
    summary: "A replaced function that the kernel has in several forms is replaced in each: system calls of 32-bit programs, clones of the \
              compiler.",
    explain: &[
        "A system call has one entry for 64-bit programs (`__x64_sys_...`) and another for 32-bit ones (`__ia32_sys_...`, \
         `__ia32_compat_sys_...`). Whoever wants to use the fault takes the one that was left. Clones (`f.constprop.0`, `f.part.0`, \
         `f.isra.0`) are copies for some callers; where rule inlined-copy knows the copies of a function, it has the finding.",
        "**Symptom:** none; the fault remains for some callers.",
        "**Remedy:** replace the other entry too, or the function that all of them call.",
    ],
    check: Check::Module(other_entry),
};

/// Declarations that nothing checks.
pub static ASSERTED: Rule = Rule {
    id: "asserted-declaration",
    severity: Severity::Warning,
    source: "patch.toml, keys `prototype` and `declaration`; the kernel's types (BTF).",
    summary: "The prototype of each replaced function and of each imported symbol is in the kernel's types.",
    explain: &[
        "Where the types have none (module without BTF, variable, function that the compiler changed), the author writes the declaration, and \
         the compiler believes it. Parameters in another order, or of other types, compile.",
        "**Symptom:** none; wrong values, or a page fault at the first use.",
        "**Remedy:** compare the declaration with the source of this very kernel.",
    ],
    check: Check::Module(asserted),
};

/// Functions on the stack of each task that sleeps or is idle, and why.
const ALWAYS_ON_STACKS: [(&str, &str); 8] = [
    ("schedule", "each task that sleeps has it on its stack"),
    ("__schedule", "each task that sleeps has it on its stack"),
    ("schedule_timeout", "each task that sleeps with a time limit has it on its stack"),
    ("schedule_idle", "the idle task of each CPU sleeps in it"),
    ("do_idle", "the idle task of each CPU runs in it"),
    ("cpu_startup_entry", "the idle task of each CPU never leaves it"),
    ("kthread", "each kernel thread has it on its stack"),
    ("ret_from_fork", "each kernel thread has it on its stack"),
];
/// Functions that the livepatch core uses in a transition; its own have the prefixes of [`CORE`].
const USED_BY_CORE: [&str; 5] = [
    "stack_trace_save_tsk_reliable",
    "arch_stack_walk_reliable",
    "kallsyms_lookup_size_offset",
    "ftrace_set_filter_ip",
    "task_call_func",
];
const CORE: [&str; 2] = ["klp_", "__klp_"];

/// The facts of a symbol; a finding if there is none.
fn found<'s>(
    subject: &'s Subject<'_>,
    symbol: &KlpSymbol,
    findings: &mut Findings,
) -> Option<&'s NamedSymbol> {
    match subject.expected.named.get(symbol) {
        Some(Named::Found(found)) => Some(found),
        Some(Named::Missing(reason)) => {
            findings.error(
                symbol.to_string(),
                format!(
                    "{reason} ({}); the kernel answers EINVAL when {} is loaded",
                    subject.expected.kernel,
                    what(symbol)
                ),
            );
            None
        }
        Some(Named::NotKnown(reason)) => {
            findings.unchecked(
                symbol.to_string(),
                format!("it could not be compared with {}: {reason}", symbol.object),
            );
            None
        }
        None => {
            findings.unchecked(symbol.to_string(), "nobody looked for it in its object");
            None
        }
    }
}

fn what(symbol: &KlpSymbol) -> &str {
    if symbol.object.is_vmlinux() { "the live patch" } else { symbol.object.as_str() }
}

fn replaced_function(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    let mut seen = BTreeSet::new();
    for object in &table.objects {
        if object.name.as_deref() == Some(VMLINUX) {
            findings.error(
                VMLINUX,
                "the object is named, and the kernel takes the name for that of a module, which is never loaded: the patch would \
                 change nothing; the kernel itself is the object without a name (NULL)",
            );
        } else if let Some(name) = &object.name
            && let Some(reason) = subject.expected.missing_objects.get(name)
        {
            findings.unchecked(
                name,
                format!("whether there is such a module is not known: {reason}; a patch of a module that is never loaded changes nothing"),
            );
        }
    }
    let is_there = |object: &PatchedObject| !subject.expected.missing_objects.contains_key(object.name());
    for (object, function) in table.functions().filter(|(object, _)| is_there(object)) {
        let symbol = match object.symbol(function) {
            Ok(symbol) => symbol,
            Err(error) => {
                findings.error(format!("{}:{}", object.name(), function.old_name), error.to_string());
                continue;
            }
        };
        if !seen.insert(symbol.clone()) {
            findings.error(
                symbol.to_string(),
                "it stands in the tables twice: two replacements, of which only one runs",
            );
            continue;
        }
        if let Some(reason) =
            found(subject, &symbol, findings).and_then(|found| found.not_replaceable.as_ref())
        {
            findings.error(
                symbol.to_string(),
                format!("it cannot be replaced: {reason} ({})", subject.expected.kernel),
            );
        }
    }
    Scope::All
}

fn lasting_function(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    for (symbol, function) in table.symbols() {
        let name = function.old_name.as_str();
        if symbol.object.is_vmlinux() {
            if let Some((_, reason)) = ALWAYS_ON_STACKS.iter().find(|(known, _)| *known == name) {
                findings.warning(symbol.to_string(), format!("{reason}: the transition would not end"));
            }
            if USED_BY_CORE.contains(&name) || CORE.iter().any(|start| name.starts_with(start)) {
                findings.warning(
                    symbol.to_string(),
                    "the livepatch core runs it in each transition, its own included: a fault in it leaves no way to take the patch out \
                     until the next boot",
                );
            }
        }
        if let Some(Named::Found(NamedSymbol { thread_of, .. })) = subject.expected.named.get(&symbol)
            && let Some(starter) = thread_of.first()
        {
            findings.warning(
                symbol.to_string(),
                format!(
                    "it is the main function of a kernel thread ({starter} starts it), which may never leave it: the transition would not \
                     end; replace a function that it calls"
                ),
            );
        }
    }
    Scope::All
}

fn livepatch_target(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = subject.module;
    let called = called(subject);
    let mut any = false;
    // Rule klp-symbol has the finding for a malformed name.
    for (index, symbol) in module.klp_symbols().filter_map(|(found, name)| Some((found.index, name.ok()?))) {
        any = true;
        let Some(found) = found(subject, &symbol, findings) else { continue };
        match (found.memory, called.get(&index)) {
            (Memory::Init, _) => findings.error(
                symbol.to_string(),
                format!(
                    "it belongs to the start of {} (`__init`), whose memory is freed afterwards",
                    symbol.object
                ),
            ),
            (Memory::Code, _) | (_, None) => {}
            (_, Some(place)) => findings.error(
                symbol.to_string(),
                format!("it is data, and the code calls it or jumps to it, at {}", subject.place(*place)),
            ),
        }
    }
    if any { Scope::All } else { Scope::Nothing("the module has no livepatch symbols".to_owned()) }
}

/// Livepatch symbols that the code calls or jumps to, by index, each with one place.
fn called(subject: &Subject<'_>) -> BTreeMap<usize, klp_module::Place> {
    let program = &subject.graph.program;
    let steps = (0..program.functions.len()).flat_map(|function| program.steps_of(function));
    let targets = steps.filter_map(|step| match step.target? {
        Target::Symbol(index, _) => Some((index, step.place)),
        Target::Place(_) => None,
    });
    let symbols = subject.module.symbols();
    targets
        .filter(|(index, _)| symbols.get(*index).is_some_and(|s| s.section == SymbolSection::Livepatch))
        .collect()
}

fn other_entry(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    let replaced: BTreeSet<(&str, &str)> =
        table.functions().map(|(object, function)| (object.name(), function.old_name.as_str())).collect();
    let known = subject.expected.patch.as_ref().map(|patch| &patch.copies);
    for (symbol, _) in table.symbols() {
        let object = symbol.object.as_str();
        let Some(Named::Found(NamedSymbol { siblings, .. })) = subject.expected.named.get(&symbol) else {
            continue;
        };
        for other in siblings.iter().filter(|other| !replaced.contains(&(object, other.as_str()))) {
            let is_clone = other.contains('.');
            if is_clone && known.is_some_and(|known| known.contains_key(&symbol)) {
                continue;
            }
            let what = if is_clone {
                "a clone of it, for some callers"
            } else {
                "the same system call for other programs"
            };
            findings.warning(
                symbol.to_string(),
                format!(
                    "{other} is {what}, and stays as it is; replace it too, or the function that both call"
                ),
            );
        }
    }
    Scope::All
}

fn asserted(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Some(patch) = &subject.expected.patch else {
        return Scope::Nothing(
            "the declarations that the code was compiled with are not known for a file alone".to_owned(),
        );
    };
    for (symbol, declaration) in &patch.asserted {
        findings.warning(
            symbol.to_string(),
            format!("`{declaration}` is the author's word, which nothing checks: compare it with the kernel's source"),
        );
    }
    Scope::All
}
