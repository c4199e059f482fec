// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on addresses: writes to read-only memory, and functions of the module that the kernel keeps.

use std::collections::BTreeSet;

use klp_base::events::Severity;
use klp_format::KlpSymbol;
use klp_module::Place;

use super::{Check, Rule, without_tables};
use crate::analysis::{Passed, Subject, Target};
use crate::facts::{Memory, Named, NamedSymbol};
use crate::report::{Findings, Scope};

/// Writes to read-only memory.
pub static READ_ONLY_WRITE: Rule = Rule {
    id: "read-only-write",
    severity: Severity::Error,
    source: "`module_enable_rodata_ro()` in `kernel/module/strict_rwx.c`; `mark_rodata_ro()`.",
    summary: "No instruction writes to a constant of the module, or to a variable of the kernel that is read-only.",
    explain: &[
        "A `static` without `mut`, a text and a constant stand in memory that the kernel write-protects when the module is loaded; so do \
         `const` and `__ro_after_init` variables of the kernel. Writes through an address in a register are not seen.",
        "**Symptom:** `BUG: unable to handle page fault for address ...`, `#PF: supervisor write access in kernel mode`, at the first write.",
        "**Remedy:** an atomic type or `UnsafeCell` for what changes; no cast of `&raw const` to `*mut`.",
    ],
    check: Check::Module(read_only_write),
};

/// Functions of the module that the kernel keeps.
pub static KEPT_POINTER: Rule = Rule {
    id: "kept-pointer",
    severity: Severity::Warning,
    source: "`free_module()` in `kernel/module/main.c`; `Documentation/livepatch/callbacks.rst`.",
    summary: "A module that gives a function of its own to a thread, a timer or a callback of the kernel takes it back in a callback.",
    explain: &[
        "The livepatch core waits for tasks that run replacements. It knows nothing of a thread, a timer, a work item or an RCU callback that \
         runs other code of the module: when the module is unloaded, that code is gone while something still runs it.",
        "Calls of the functions that keep a pointer are recognised by name. A pointer that is stored in memory first is not seen.",
        "**Symptom:** after `kpatch unload`, `BUG: unable to handle page fault` in memory where the module was.",
        "**Remedy:** a callback `pre_unpatch` or `post_unpatch` that stops it and waits: `kthread_stop`, `timer_delete_sync`, \
         `cancel_work_sync`, `rcu_barrier`.",
    ],
    check: Check::Module(kept_pointer),
};

/// Pointers of programs.
pub static USER_POINTER: Rule = Rule {
    id: "user-pointer",
    severity: Severity::Warning,
    source: "The definition of the function in the kernel's source (`__user`); `Documentation/process/adding-syscalls.rst`.",
    summary: "No replacement reads or writes memory at an argument that is a pointer of the user's program.",
    explain: &[
        "The address is chosen by the program. Read without `copy_from_user`, it faults where the processor protects programs' memory from the \
         kernel (SMAP, PAN), and elsewhere lets a program name any address of the kernel.",
        "The marks are read from the source of the very kernel; where its package is not pinned, and for a file alone, they are not known.",
        "**Symptom:** `BUG: unable to handle page fault`, `supervisor read access in kernel mode` with the address of a program.",
        "**Remedy:** `copy_from_user`, `strncpy_from_user`, `copy_to_user`.",
    ],
    check: Check::Module(user_pointer),
};

/// Functions that keep the pointer to a function.
const KEEPERS: [&str; 22] = [
    "kthread_create_on_node",
    "__kthread_create_on_node",
    "kthread_create_on_cpu",
    "init_timer_key",
    "timer_init_key",
    "hrtimer_init",
    "hrtimer_setup",
    "call_rcu",
    "call_rcu_hurry",
    "call_rcu_tasks",
    "call_srcu",
    "request_threaded_irq",
    "request_irq",
    "tracepoint_probe_register",
    "tracepoint_probe_register_prio",
    "task_work_add",
    "irq_work_queue",
    "tasklet_init",
    "tasklet_setup",
    "proc_create",
    "proc_create_single_data",
    "debugfs_create_file",
];

fn read_only_write(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let (module, program) = (subject.module, &subject.graph.program);
    for (at, function) in program.functions.iter().enumerate() {
        for step in program.steps_of(at).filter(|step| step.writes) {
            let what = match step.address {
                Some(Target::Place(place)) => {
                    let section = &module.sections()[place.section];
                    let fixed = section.is_alloc() && !section.is_writable();
                    fixed.then(|| format!("{}, which is read-only", subject.place(place)))
                }
                Some(Target::Symbol(symbol, _)) => KlpSymbol::from_elf_name(module.symbols()[symbol].name)
                    .ok()
                    .filter(|symbol| is_read_only(subject, symbol))
                    .map(|symbol| format!("{symbol}, which the kernel makes read-only")),
                None => None,
            };
            if let Some(what) = what {
                findings.error(
                    function.name,
                    format!("at {} it writes to {what}: a page fault", subject.place(step.place)),
                );
            }
        }
    }
    Scope::All
}

fn is_read_only(subject: &Subject<'_>, symbol: &KlpSymbol) -> bool {
    matches!(
        subject.expected.named.get(symbol),
        Some(Named::Found(NamedSymbol { memory: Memory::ReadOnly | Memory::Code, .. }))
    )
}

fn kept_pointer(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    let graph = &subject.graph;
    // Callbacks that a fix leaves out are empty functions.
    let works = |place: &Place| {
        graph.program.function_from(*place).is_none_or(|at| !graph.followed[at].calls.is_empty())
    };
    if table.objects.iter().flat_map(|object| &object.unpatch_places).any(works) {
        return Scope::But(
            "whether the callbacks of the patch take back every function that it gave away".to_owned(),
        );
    }
    for call in graph.reachable().iter().flat_map(|&at| &graph.followed[at].calls) {
        let Some(name) = graph.program.kernel_function(call.target) else { continue };
        if !KEEPERS.contains(&name.as_str()) {
            continue;
        }
        let own = call.arguments.iter().find_map(|passed| match passed {
            Passed::Address(Target::Place(place)) => graph.program.function_from(*place),
            _ => None,
        });
        if let Some(own) = own {
            findings.warning(
                graph.program.functions[own].name,
                format!(
                    "{name} gets its address at {}, and no callback of the patch takes it back: when the module is unloaded, the kernel may \
                     still run it; stop it in `pre_unpatch` or `post_unpatch`",
                    subject.place(call.place)
                ),
            );
        }
    }
    Scope::All
}

fn user_pointer(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    let Some(patch) = &subject.expected.patch else {
        return Scope::Nothing(
            "the source of the replaced functions is not known for a file alone".to_owned(),
        );
    };
    for (symbol, function) in table.symbols() {
        let marked = patch.user_pointers.iter().find(|(known, _)| *known == symbol);
        let start = subject.graph.program.function_from(function.new_function);
        let (Some((_, marked)), Some(start)) = (marked, start) else { continue };
        for &argument in marked {
            if let Some(place) = touches(subject, start, argument, &mut BTreeSet::new()) {
                findings.warning(
                    symbol.to_string(),
                    format!(
                        "its argument {} is a pointer of the user's program, and the code at {} reads or writes there itself: use \
                         copy_from_user and the like",
                        argument + 1,
                        subject.place(place)
                    ),
                );
            }
        }
    }
    Scope::All
}

/// Place where a function, or one that gets the same argument from it, uses an argument as an address.
fn touches(
    subject: &Subject<'_>,
    function: usize,
    argument: usize,
    seen: &mut BTreeSet<usize>,
) -> Option<Place> {
    if !seen.insert(function) {
        return None;
    }
    let followed = &subject.graph.followed[function];
    followed.touched.get(&argument).copied().or_else(|| {
        let passed = followed.calls.iter().filter(|call| call.arguments.get(argument) == Some(&Passed::Same));
        passed
            .filter_map(|call| subject.graph.callee(call))
            .find_map(|to| touches(subject, to, argument, seen))
    })
}
