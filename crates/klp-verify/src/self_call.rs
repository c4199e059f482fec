// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on replacements that call what they replace: the call comes back to them.

use std::collections::{BTreeMap, BTreeSet};

use klp_format::{KlpSymbol, SymbolPosition, VMLINUX};
use klp_module::{PatchTable, Place, SymbolSection};

use crate::graph::Graph;
use crate::program::Target;
use crate::values::Call;
use crate::{Findings, Scope, Subject};

/// A replaced function.
struct Replaced<'t> {
    object: &'t str,
    name: &'t str,
    position: SymbolPosition,
    /// The function of the module that takes its place.
    by: usize,
}

/// Results for one replaced function, the gravest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Its address is taken.
    Address,
    /// It is called on some ways, with other arguments.
    Recursion,
    /// It is called on each way, or with the arguments that the replacement was given.
    Endless,
}

/// [`crate::rules::SELF_CALL`]
pub(crate) fn self_call(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return Subject::without_table("the replacements") };
    let graph = &subject.graph;
    let replaced = replaced(graph, table);
    let symbols = symbols(subject, &replaced);
    for (at, function) in replaced.iter().enumerate() {
        let calls = Calls { graph, symbols: &symbols, replaced: &replaced };
        let reached = calls.reached(function.by);
        let mut found: BTreeMap<Place, Kind> = BTreeMap::new();
        let arguments = subject.expected.arguments.get(function.name).copied();
        let endless =
            calls.endless(at).contains(&function.by) || calls.same(at, arguments).contains(&function.by);
        for &caller in &reached {
            for call in &graph.followed[caller].calls {
                if calls.replaced(call) == Some(at) {
                    found.insert(call.place, if endless { Kind::Endless } else { Kind::Recursion });
                }
            }
            for step in graph.program.steps_of(caller) {
                if step.address.is_some_and(|target| leads(&symbols, target) == Some(at)) {
                    found.entry(step.place).or_insert(Kind::Address);
                }
            }
        }
        found.extend(in_data(subject, &symbols, at).into_iter().map(|place| (place, Kind::Address)));
        if let Some((place, kind)) = found.into_iter().max_by_key(|(_, kind)| *kind) {
            report(subject, function, place, kind, findings);
        }
    }
    Scope::All
}

fn report(subject: &Subject<'_>, function: &Replaced<'_>, place: Place, kind: Kind, findings: &mut Findings) {
    const INSTEAD: &str = "for the kernel's own body call `replaced::original::...` (not the function by its name); for a recursion \
                           call the replacement itself";
    let what = format!("{}:{}", function.object, function.name);
    let at = subject.place(place);
    match kind {
        Kind::Endless => findings.error(
            what,
            format!(
                "its replacement calls it by its name (at {at}): ftrace leads the call back to the replacement, again and \
                 again, until the stack ends and the machine stops with a double fault; {INSTEAD}"
            ),
        ),
        Kind::Recursion => findings.warning(
            what,
            format!(
                "its replacement calls it by its name (at {at}): ftrace leads the call back to the replacement; where this is \
                 meant as a recursion, see to it that it ends; {INSTEAD}"
            ),
        ),
        Kind::Address => findings.warning(
            what,
            format!(
                "its replacement uses its address (at {at}): a call by that address comes back to the replacement; {INSTEAD}"
            ),
        ),
    }
}

fn replaced<'t>(graph: &Graph<'_, '_>, table: &'t PatchTable) -> Vec<Replaced<'t>> {
    let functions = table.objects.iter().flat_map(|object| {
        let name = object.name.as_deref().unwrap_or(VMLINUX);
        object.functions.iter().map(move |function| (name, function))
    });
    functions
        .filter_map(|(object, function)| {
            // One that is no function is a finding of rule replacement-symbol.
            let by = graph.program.function_from(function.new_function)?;
            Some(Replaced { object, name: &function.old_name, position: function.position, by })
        })
        .collect()
}

/// The module's symbols that stand for a replaced function: livepatch symbols, and imports of the name of an export.
fn symbols(subject: &Subject<'_>, replaced: &[Replaced<'_>]) -> BTreeMap<usize, usize> {
    let unique = |position: SymbolPosition| position.0 == 0;
    let stands_for = |symbol: &klp_module::Symbol<'_>| match symbol.section {
        SymbolSection::Livepatch => {
            let symbol = KlpSymbol::from_elf_name(symbol.name).ok()?;
            replaced.iter().position(|function| {
                // Position 0 is only for a name that stands once, so that it is that of any other position too.
                let one = unique(symbol.position) || unique(function.position);
                symbol.object.as_str() == function.object
                    && symbol.symbol == function.name
                    && (one || symbol.position == function.position)
            })
        }
        SymbolSection::Undefined if !symbol.name.is_empty() => {
            replaced.iter().position(|function| unique(function.position) && symbol.name == function.name)
        }
        _ => None,
    };
    let symbols = subject.module.symbols().iter();
    symbols.filter_map(|symbol| Some((symbol.index, stands_for(symbol)?))).collect()
}

/// The replaced function that a target is the start of. A place behind the start is the body, past the call of ftrace.
fn leads(symbols: &BTreeMap<usize, usize>, target: Target) -> Option<usize> {
    match target {
        Target::Symbol(symbol, 0) => symbols.get(&symbol).copied(),
        _ => None,
    }
}

/// The calls of a module in which a replaced function stands for its replacement.
struct Calls<'s, 'm, 'a> {
    graph: &'s Graph<'m, 'a>,
    symbols: &'s BTreeMap<usize, usize>,
    replaced: &'s [Replaced<'s>],
}

impl Calls<'_, '_, '_> {
    /// The replaced function that is called by its name.
    fn replaced(&self, call: &Call) -> Option<usize> {
        leads(self.symbols, call.target?)
    }

    /// The function of the module that runs then.
    fn callee(&self, call: &Call) -> Option<usize> {
        self.graph.callee(call).or_else(|| self.replaced(call).map(|at| self.replaced[at].by))
    }

    /// The functions that can run when one is called.
    fn reached(&self, from: usize) -> BTreeSet<usize> {
        let (mut waiting, mut found) = (vec![from], BTreeSet::new());
        while let Some(function) = waiting.pop() {
            if found.insert(function) {
                waiting
                    .extend(self.graph.followed[function].calls.iter().filter_map(|call| self.callee(call)));
            }
        }
        found
    }

    /// The functions that call a replaced function with the arguments that they were given, themselves or by others.
    fn same(&self, at: usize, arguments: Option<usize>) -> BTreeSet<usize> {
        self.grow(|function, known| {
            self.graph.followed[function].calls.iter().any(|call| {
                let leads = self.replaced(call) == Some(at)
                    || self.callee(call).is_some_and(|to| known.contains(&to));
                leads && call.passes_on(arguments)
            })
        })
    }

    /// The functions in which each way calls a replaced function, themselves or by others.
    fn endless(&self, at: usize) -> BTreeSet<usize> {
        self.grow(|function, known| {
            self.graph.always(function, &|call| {
                self.replaced(call) == Some(at) || self.callee(call).is_some_and(|to| known.contains(&to))
            })
        })
    }

    /// The functions for which something holds that follows from its holding for those that they call.
    fn grow(&self, holds: impl Fn(usize, &BTreeSet<usize>) -> bool) -> BTreeSet<usize> {
        let mut known = BTreeSet::new();
        loop {
            let all = 0..self.graph.followed.len();
            let new: Vec<usize> = all.filter(|at| !known.contains(at) && holds(*at, &known)).collect();
            if new.is_empty() {
                return known;
            }
            known.extend(new);
        }
    }
}

/// Places in data with the address of a replaced function.
fn in_data(subject: &Subject<'_>, symbols: &BTreeMap<usize, usize>, at: usize) -> Vec<Place> {
    let module = subject.module;
    let data = |section: usize| {
        let section = &module.sections()[section];
        section.is_alloc() && !section.is_executable()
    };
    let found = module.relocations().filter(|relocation| {
        data(relocation.target) && relocation.addend == 0 && symbols.get(&relocation.symbol) == Some(&at)
    });
    found.map(|relocation| Place { section: relocation.target, offset: relocation.offset }).collect()
}
