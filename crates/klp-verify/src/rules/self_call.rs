// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on replacements that call the function that they replace.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::events::Severity;
use klp_format::{KlpSymbol, SymbolPosition, VMLINUX};
use klp_module::{PatchTable, Place, SymbolSection};

use super::{Check, Rule, no_function, without_tables};
use crate::analysis::{Call, Graph, Subject, Target};
use crate::report::{Findings, Scope};

/// Calls of the replaced function by its replacement.
pub static SELF_CALL: Rule = Rule {
    id: "self-call",
    severity: Severity::Error,
    source: "`klp_ftrace_handler()` in `kernel/livepatch/patch.c`.",
    summary: "A replacement does not call the function that it replaces by that function's name, itself or through others.",
    explain: &[
        "ftrace redirects every call of the function to the replacement, calls by the replacement included.",
        "It is an error if each path through the replacement makes such a call, or if the call passes on the arguments that the \
         replacement was given, be it behind a condition, in a helper, through a pointer or through another replaced function: the \
         original was meant, and the call never ends. The number of arguments is that of the kernel's prototype.",
        "A call with other arguments on some paths can be a recursion that ends, such as a walk over a tree: a warning. Use of the \
         function's address is a warning too. A jump or call behind the start of the replaced function (its body, past the call of \
         ftrace) is no self call.",
        "Code with bytes that are no instruction is *not checked*. Recursion through the kernel's own functions or through pointers in \
         memory is not detected.",
        "**Symptom:** at the first call `BUG: TASK stack guard page was hit`, then a double fault: the machine goes down.",
        "**Remedy:** to run the original, `replaced::original::...`; for a recursion, a call of the replacement itself, which also saves the \
         way through ftrace. Both pass without a finding.",
    ],
    check: Check::Module(self_call),
};

/// Replaced function.
struct Replaced<'t> {
    object: &'t str,
    name: &'t str,
    position: SymbolPosition,
    /// Its replacement, as index into the program's functions.
    by: usize,
}

/// Results for one replaced function, the gravest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The function's address is taken.
    Address,
    /// The function is called on some paths, with other arguments.
    Recursion,
    /// The function is called on each path, or with the arguments that the replacement was given.
    Endless,
}

fn self_call(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    let graph = &subject.graph;
    let (replaced, mut unchecked) = replaced(subject, table);
    let symbols = symbols(subject, &replaced);
    for (at, function) in replaced.iter().enumerate() {
        let calls = Calls { graph, symbols: &symbols, replaced: &replaced };
        let reached = calls.reached(function.by);
        let mut found: BTreeMap<Place, Kind> = BTreeMap::new();
        let arguments = subject.expected.arguments.get(function.name).copied();
        let endless =
            calls.endless(at).contains(&function.by) || calls.same(at, arguments).contains(&function.by);
        let undecoded = reached.iter().filter_map(|&at| graph.program.functions[at].undecoded);
        unchecked.extend(
            undecoded
                .map(|place| format!("the code behind {}, which is no instruction", subject.place(place))),
        );
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
    Scope::all_but_unchecked(unchecked)
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

/// Replaced functions, and texts for those whose replacement is no function.
fn replaced<'t>(subject: &Subject<'_>, table: &'t PatchTable) -> (Vec<Replaced<'t>>, Vec<String>) {
    let (mut replaced, mut unchecked) = (Vec::new(), Vec::new());
    for object in &table.objects {
        let name = object.name.as_deref().unwrap_or(VMLINUX);
        for function in &object.functions {
            match subject.graph.program.function_from(function.new_function) {
                Some(by) => replaced.push(Replaced {
                    object: name,
                    name: &function.old_name,
                    position: function.position,
                    by,
                }),
                None => unchecked.push(no_function(subject, &function.old_name, function.new_function)),
            }
        }
    }
    (replaced, unchecked)
}

/// Symbols of the module that refer to a replaced function: livepatch symbols, and imports by an export's name.
fn symbols(subject: &Subject<'_>, replaced: &[Replaced<'_>]) -> BTreeMap<usize, usize> {
    let unique = |position: SymbolPosition| position.0 == 0;
    let stands_for = |symbol: &klp_module::Symbol<'_>| match symbol.section {
        SymbolSection::Livepatch => {
            let symbol = KlpSymbol::from_elf_name(symbol.name).ok()?;
            replaced.iter().position(|function| {
                // Position 0 says that the name is unique: it refers to the same function as any other position.
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

/// Replaced function that begins at a target. A target behind the start is in the body, past the call of ftrace.
fn leads(symbols: &BTreeMap<usize, usize>, target: Target) -> Option<usize> {
    match target {
        Target::Symbol(symbol, 0) => symbols.get(&symbol).copied(),
        _ => None,
    }
}

/// Calls of a module as they run after patching: a call of a replaced function leads to its replacement.
struct Calls<'s, 'm, 'a> {
    graph: &'s Graph<'m, 'a>,
    symbols: &'s BTreeMap<usize, usize>,
    replaced: &'s [Replaced<'s>],
}

impl Calls<'_, '_, '_> {
    /// Replaced function that a call names.
    fn replaced(&self, call: &Call) -> Option<usize> {
        leads(self.symbols, call.target?)
    }

    /// Function of the module that a call runs.
    fn callee(&self, call: &Call) -> Option<usize> {
        self.graph.callee(call).or_else(|| self.replaced(call).map(|at| self.replaced[at].by))
    }

    /// Functions that can run when one is called.
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

    /// Functions that call a replaced function with the arguments that they were given, themselves or through others.
    fn same(&self, at: usize, arguments: Option<usize>) -> BTreeSet<usize> {
        self.grow(|function, known| {
            self.graph.followed[function].calls.iter().any(|call| {
                let leads = self.replaced(call) == Some(at)
                    || self.callee(call).is_some_and(|to| known.contains(&to));
                leads && call.passes_on(arguments)
            })
        })
    }

    /// Functions in which each path calls a replaced function, themselves or through others.
    fn endless(&self, at: usize) -> BTreeSet<usize> {
        self.grow(|function, known| {
            self.graph.always(function, &|call| {
                self.replaced(call) == Some(at) || self.callee(call).is_some_and(|to| known.contains(&to))
            })
        })
    }

    /// Least set of functions that is closed under `holds`, which gets a function and the set so far.
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
