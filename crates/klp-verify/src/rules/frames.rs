// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on stack frames: a replacement keeps its own, and all of them fit into a task's stack.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::events::Severity;
use klp_module::Place;

use super::{Check, Rule, no_function, without_tables};
use crate::analysis::{Call, Graph, Subject, Target};
use crate::report::{Findings, Scope};

/// Stack frame of replacements.
pub static REPLACEMENT_FRAME: Rule = Rule {
    id: "replacement-frame",
    severity: Severity::Error,
    source: "`klp_check_stack_func()` in `kernel/livepatch/transition.c`.",
    summary: "A replacement, its `.cold` part included, does not end in a jump to other code: its frame is on the stack while its callees \
              run.",
    explain: &[
        "The kernel searches the stacks of sleeping tasks for addresses of the replacement. A task that sleeps in a function to which \
         the replacement jumped has none: the transition completes, and the module's memory is freed while the task still returns \
         into it. Compilers turn a call in the last place into such a jump (sibling call) at every optimisation level that \
         kernels use. A replacement with bytes that are no instruction is *not checked*.",
        "A jump into the kernel is a warning: the task does not return into the module, which has only to keep what it passed: \
         texts, callbacks. The kernel's sample `livepatch-shadow-fix2` has such a jump, to `kfree()`.",
        "**Symptom:** none, then `BUG: unable to handle page fault` in freed memory.",
        "**Remedy:** in C a call instead of the jump: `ccflags-y += -fno-optimize-sibling-calls`. In Rust build the module again: its \
         tables then name the generated entry function, which calls the replacement.",
    ],
    check: Check::Module(replacement),
};

/// Stack frames and recursion.
pub static STACK_FRAME: Rule = Rule {
    id: "stack-frame",
    severity: Severity::Error,
    source: "`THREAD_SIZE` in `arch/x86/include/asm/page_64_types.h` and `arch/arm64/include/asm/memory.h`; `FRAME_WARN` in \
             `lib/Kconfig.debug`.",
    summary: "The stack frames of the module's functions fit into a task's stack, alone and on the deepest path of calls, and no function \
              calls itself on every path through it.",
    explain: &[
        "A frame larger than the kernel's `CONFIG_FRAME_WARN`, and any recursion, is a warning. Each function is followed from its \
         entry, instruction by instruction, on all paths.",
        "**Size of a frame.** The kernel does not probe its stack: at the end is a guard page, and a double fault takes the machine down. A \
         task has 16 KiB of stack (`THREAD_SIZE`; twice that with KASAN). The needs of a replacement's callers, and of the kernel \
         functions that it calls, are not known; each of them and the module get a third. A frame, or the frames of a path of \
         calls inside of the module together, of more than a third (5461 bytes) are an error. Kernels need the other two thirds: \
         with stacks of 8 KiB, ordinary paths of file systems and swapping overflowed (commit 6538b8ea886e, which made them \
         16 KiB large in Linux 3.15). A frame counts with return address and saved registers.",
        "A frame whose size is decided at run time (`alloca`), a function with bytes that are no instruction, and code that no \
         function symbol with a size covers are *not checked*.",
        "**Recursion.** A function that calls itself on every path through it, directly or through others, is an error. If one path ends, \
         the depth depends on data: a warning, since sorting and formatting functions do this correctly.",
        "**Limits.** Recursion through the kernel's own functions or through pointers in memory is not detected; nor is the stack that the \
         kernel's functions need.",
        "**Symptom:** `BUG: TASK stack guard page was hit`, then a double fault: the machine goes down.",
        "**Remedy:** memory from the heap instead of large local variables; a loop instead of recursion.",
    ],
    check: Check::Module(stack),
};

/// Most functions of a path that a message names.
const NAMED: usize = 6;

fn replacement(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    let program = &subject.graph.program;
    let replacements: BTreeMap<Place, &str> = table
        .objects
        .iter()
        .flat_map(|object| &object.functions)
        .map(|function| (function.new_function, function.old_name.as_str()))
        .collect();
    let mut unchecked = Vec::new();
    for (place, old_name) in replacements {
        let Some(function) = program.function_from(place) else {
            unchecked.push(no_function(subject, old_name, place));
            continue;
        };
        for part in program.parts(function) {
            if let Some(place) = program.functions[part].undecoded {
                findings.unchecked(old_name, undecoded(subject, place));
            }
            let leaving =
                program.steps_of(part).filter_map(|step| Some((step, program.leaves(function, step)?)));
            for (step, target) in leaving {
                let jump = format!(
                    "its replacement {} ends in a jump to {} (at {})",
                    program.functions[function].name,
                    program.describe(target),
                    subject.place(step.place),
                );
                let remedy = "make it a call (C: `ccflags-y += -fno-optimize-sibling-calls`; Rust: the table names the generated entry \
                              function, build it again)";
                if let Some(Target::Symbol(..)) = target {
                    findings.warning(
                        old_name,
                        format!(
                            "{jump}, a function of the kernel: if a task sleeps there, nothing of the replacement is on its stack, and \
                             nothing of the module may be among its arguments; {remedy}"
                        ),
                    );
                } else {
                    findings.error(
                        old_name,
                        format!(
                            "{jump}: a task that sleeps there has nothing of the replacement on its stack, and the kernel takes the \
                             patch out from under it; {remedy}"
                        ),
                    );
                }
            }
        }
    }
    Scope::all_but_unchecked(unchecked)
}

fn undecoded(subject: &Subject<'_>, place: Place) -> String {
    format!(
        "the bytes at {} are no instruction: what stands behind them was not looked at",
        subject.place(place)
    )
}

fn stack(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let graph = &subject.graph;
    let reachable = graph.reachable();
    let limit = subject.expected.thread_size / 3;
    let large: BTreeSet<usize> = reachable
        .iter()
        .copied()
        .filter(|&at| graph.followed[at].depth.is_ok_and(|bytes| bytes > limit))
        .collect();
    for &at in &reachable {
        frame(subject, at, limit, findings);
    }
    paths(subject, &reachable, &large, limit, findings);
    circles(graph, &reachable, findings);
    let outside = graph.code_outside_of_functions(&reachable, subject.arch.absolute).into_iter();
    Scope::all_but_unchecked(outside.map(|place| {
        format!("the code at {}, which no function symbol with a size covers", subject.place(place))
    }))
}

/// Checks the frame of one function.
fn frame(subject: &Subject<'_>, at: usize, limit: u64, findings: &mut Findings) {
    let graph = &subject.graph;
    let warn = subject.expected.frame_warn;
    let function = &graph.program.functions[at];
    if let Some(place) = function.undecoded {
        findings.unchecked(function.name, undecoded(subject, place));
    }
    match graph.followed[at].depth {
        Err(place) => findings.unchecked(
            function.name,
            format!(
                "the size of its stack frame is decided at run time (at {}), so that nobody knows whether it fits; give \
                 it a fixed size, or take memory from the heap",
                subject.place(place)
            ),
        ),
        Ok(bytes) if bytes > limit => findings.error(
            function.name,
            format!("its stack frame takes {bytes} bytes: {}", too_much(subject, limit)),
        ),
        Ok(bytes) if bytes > warn => findings.warning(
            function.name,
            format!(
                "its stack frame takes {bytes} bytes, more than the {warn} of the kernel's CONFIG_FRAME_WARN: the stack of a \
                 task has {} in all; take memory from the heap",
                subject.expected.thread_size
            ),
        ),
        Ok(_) => {}
    }
}

fn too_much(subject: &Subject<'_>, limit: u64) -> String {
    format!(
        "the stack of a task has {} in all, of which a third ({limit}) is left for a live patch beside what calls it and \
         what it calls; at its end the machine stops with a double fault; take memory from the heap",
        subject.expected.thread_size
    )
}

/// Checks the deepest path from each function that no function of the module calls.
fn paths(
    subject: &Subject<'_>,
    reachable: &BTreeSet<usize>,
    large: &BTreeSet<usize>,
    limit: u64,
    findings: &mut Findings,
) {
    let graph = &subject.graph;
    let called: BTreeSet<usize> = reachable
        .iter()
        .flat_map(|&at| graph.followed[at].calls.iter().filter_map(|call| graph.callee(call)))
        .collect();
    let mut known = BTreeMap::new();
    for &at in reachable.difference(&called) {
        let (bytes, path) = deepest(graph, at, &mut Vec::new(), &mut known);
        if bytes > limit && path.iter().all(|function| !large.contains(function)) {
            let names = path.iter().take(NAMED).map(|&at| graph.program.functions[at].name);
            let names = names.collect::<Vec<_>>().join(" -> ");
            findings.error(
                graph.program.functions[at].name,
                format!("the frames of {names} take {bytes} bytes together: {}", too_much(subject, limit)),
            );
        }
    }
}

/// Largest stack depth in bytes of a function with its callees in the module, and the path to it. Circles are walked once.
fn deepest(
    graph: &Graph<'_, '_>,
    at: usize,
    above: &mut Vec<usize>,
    known: &mut BTreeMap<usize, (u64, Vec<usize>)>,
) -> (u64, Vec<usize>) {
    if let Some(found) = known.get(&at) {
        return found.clone();
    }
    above.push(at);
    let mut most = (graph.followed[at].depth.unwrap_or(0), vec![at]);
    for call in &graph.followed[at].calls {
        let Some(callee) = graph.callee(call).filter(|callee| !above.contains(callee)) else { continue };
        let (bytes, path) = deepest(graph, callee, above, known);
        // The callee's frame counts the return address that the call pushes.
        let pushed = graph.program.pushed_by_call();
        let bytes = call.depth.saturating_sub(pushed).saturating_add(bytes);
        if bytes > most.0 {
            most = (bytes, [&[at], path.as_slice()].concat());
        }
    }
    above.pop();
    known.insert(at, most.clone());
    most
}

/// Checks the circles of calls.
fn circles(graph: &Graph<'_, '_>, reachable: &BTreeSet<usize>, findings: &mut Findings) {
    for circle in &graph.circles(reachable) {
        let inside =
            |call: &Call| !call.tail && graph.callee(call).is_some_and(|callee| circle.contains(&callee));
        let endless = circle.iter().all(|&at| graph.always(at, &inside));
        let names: Vec<&str> =
            circle.iter().take(NAMED).map(|&at| graph.program.functions[at].name).collect();
        let (first, others) = (names[0], &names[1..]);
        let what = match others {
            [] => "it calls itself".to_owned(),
            others => format!("it calls itself by way of {}", others.join(", ")),
        };
        if endless {
            findings.error(
                first,
                format!("{what} on every way through it: the stack ends, and the machine stops with a double fault"),
            );
        } else {
            findings.warning(
                first,
                format!(
                    "{what}, as deep as its data lead it: see to it that this is bounded by a small number, or use a loop"
                ),
            );
        }
    }
}
