// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on the frames of functions: that a replacement keeps its own, and that all fit into a stack.

use std::collections::{BTreeMap, BTreeSet};

use klp_module::Place;

use crate::graph::Graph;
use crate::values::Call;
use crate::{Findings, Scope, Subject};

/// Number of functions of a path that a finding names.
const NAMED: usize = 6;

/// [`crate::rules::REPLACEMENT_FRAME`]
pub(crate) fn replacement(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return Subject::without_table("the replacements") };
    let program = &subject.graph.program;
    let replacements: BTreeMap<Place, &str> = table
        .objects
        .iter()
        .flat_map(|object| &object.functions)
        .map(|function| (function.new_function, function.old_name.as_str()))
        .collect();
    for (place, old_name) in replacements {
        // That there is no function at all is a finding of rule replacement-symbol.
        let Some(function) = program.function_from(place) else { continue };
        for part in program.parts(function) {
            if let Some(place) = program.functions[part].undecoded {
                findings.unchecked(old_name, undecoded(subject, place));
            }
            let leaving =
                program.steps_of(part).filter_map(|step| Some((step, program.leaves(function, step)?)));
            for (step, target) in leaving {
                findings.error(
                    old_name,
                    format!(
                        "its replacement {} ends in a jump to {} (at {}): a task that sleeps there has nothing of the \
                         replacement on its stack, and the kernel takes the patch out from under it; make it a call (C: \
                         `ccflags-y += -fno-optimize-sibling-calls`; Rust: the table names the generated entry function, build it again)",
                        program.functions[function].name,
                        program.describe(target),
                        subject.place(step.place),
                    ),
                );
            }
        }
    }
    Scope::All
}

fn undecoded(subject: &Subject<'_>, place: Place) -> String {
    format!(
        "the bytes at {} are no instruction: what stands behind them was not looked at",
        subject.place(place)
    )
}

/// [`crate::rules::STACK_FRAME`]
pub(crate) fn stack(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let graph = &subject.graph;
    let reachable = graph.reachable();
    let limit = subject.expected.thread_size / 3;
    let warn = subject.expected.frame_warn;
    let mut large = BTreeSet::new();
    for &at in &reachable {
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
            Ok(bytes) if bytes > limit => {
                large.insert(at);
                findings.error(
                    function.name,
                    format!("its stack frame takes {bytes} bytes: {}", too_much(subject, limit)),
                );
            }
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
    paths(subject, &reachable, &large, limit, findings);
    circles(graph, &reachable, findings);
    Scope::All
}

fn too_much(subject: &Subject<'_>, limit: u64) -> String {
    format!(
        "the stack of a task has {} in all, of which a third ({limit}) is left for a live patch beside what calls it and \
         what it calls; at its end the machine stops with a double fault; take memory from the heap",
        subject.expected.thread_size
    )
}

/// The deepest path from each function that nobody in the module calls.
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

/// The most bytes of stack that a function and what it calls in the module take, circles walked once, and the path.
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
        // The call pushes the return address, which the callee's frame counts.
        let pushed = graph.program.convention.pushed_by_call;
        let bytes = call.depth.saturating_sub(pushed).saturating_add(bytes);
        if bytes > most.0 {
            most = (bytes, [&[at], path.as_slice()].concat());
        }
    }
    above.pop();
    known.insert(at, most.clone());
    most
}

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
