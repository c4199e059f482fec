// SPDX-License-Identifier: GPL-2.0-or-later
//! Calls between the functions of a module, and the paths to them.

use std::collections::{BTreeMap, BTreeSet};

use klp_module::{Module, Place};

use super::machine::Flow;
use super::places::place_of;
use super::program::{Onward, Program, Step, Target};
use super::values::{Call, Followed, follow};

/// Prefixes of the sections with pointers to functions that the kernel calls.
const CALLED_FROM: [&str; 6] =
    [".data", ".rodata", ".gnu.linkonce.this_module", ".init.data", "__ksymtab", "___ksymtab"];

/// Functions of a module and their calls.
pub(crate) struct Graph<'m, 'a> {
    pub(crate) program: Program<'m, 'a>,
    /// Result of following each function of the program.
    pub(crate) followed: Vec<Followed>,
    /// For each function: true if no path through it returns to the caller.
    never_returns: Vec<bool>,
}

impl<'m, 'a> Graph<'m, 'a> {
    pub(crate) fn read(module: &'m Module<'a>) -> Self {
        let program = Program::read(module);
        let never_returns = never_returns(&program);
        let followed = (0..program.functions.len()).map(|at| follow(&program, at, &never_returns)).collect();
        Self { program, followed, never_returns }
    }

    /// Function of the module that a call leads to.
    pub(crate) fn callee(&self, call: &Call) -> Option<usize> {
        match call.target? {
            Target::Place(place) => self.program.function_from(place),
            Target::Symbol(..) => None,
        }
    }

    /// True if each path through a function that returns to its caller passes one of the calls.
    pub(crate) fn always(&self, function: usize, calls: &dyn Fn(&Call) -> bool) -> bool {
        let by_place: BTreeMap<Place, &Call> =
            self.followed[function].calls.iter().map(|call| (call.place, call)).collect();
        let mut passed = false;
        let returns = reaches_return(&self.program, function, &self.never_returns, &mut |step| {
            let found = by_place.get(&step.place).is_some_and(|call| calls(call));
            passed |= found;
            found
        });
        passed && !returns
    }

    /// Functions that can run: those that the kernel or a pointer leads to, and their callees.
    pub(crate) fn reachable(&self) -> BTreeSet<usize> {
        let module = self.program.module;
        let in_data = module.relocations().filter_map(|relocation| {
            let section = module.sections()[relocation.target].name;
            let called = CALLED_FROM.iter().any(|name| section.starts_with(name));
            called.then(|| place_of(module, relocation.symbol, relocation.addend)).flatten()
        });
        let in_code = (0..self.program.functions.len())
            .flat_map(|function| self.program.steps_of(function))
            .filter_map(
                |step| if let Some(Target::Place(place)) = step.address { Some(place) } else { None },
            );
        let mut waiting: Vec<usize> =
            in_data.chain(in_code).filter_map(|place| self.program.function_from(place)).collect();
        let mut found = BTreeSet::new();
        while let Some(function) = waiting.pop() {
            if found.insert(function) {
                waiting.extend(self.followed[function].calls.iter().filter_map(|call| self.callee(call)));
            }
        }
        found
    }

    /// Code that the kernel, or one of these functions, leads to and that is in no function with a size. `absolute` is the
    /// relocation type of an address in data.
    pub(crate) fn code_outside_of_functions(
        &self,
        reachable: &BTreeSet<usize>,
        absolute: u32,
    ) -> BTreeSet<Place> {
        let module = self.program.module;
        // The addend of a relative pointer counts from the pointer's own place, so that its target is not exact.
        let in_data = module.relocations().filter(|relocation| relocation.kind == absolute);
        let in_data = in_data.filter(|relocation| {
            let section = module.sections()[relocation.target].name;
            CALLED_FROM.iter().any(|name| section.starts_with(name))
        });
        let in_data = in_data.filter_map(|relocation| place_of(module, relocation.symbol, relocation.addend));
        let calls = reachable.iter().flat_map(|&at| &self.followed[at].calls);
        let called = calls.filter_map(|call| match call.target? {
            Target::Place(place) => Some(place),
            Target::Symbol(..) => None,
        });
        in_data
            .chain(called)
            .filter(|place| module.sections()[place.section].is_executable())
            .filter(|place| self.program.function_at(*place).is_none())
            .collect()
    }

    /// Groups among these functions that call each other in a circle, each in the order of the program.
    pub(crate) fn circles(&self, among: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
        let next = |function: usize| {
            let calls = self.followed[function].calls.iter().filter(|call| !call.tail);
            calls.filter_map(|call| self.callee(call)).collect::<Vec<_>>()
        };
        // A module has some hundred functions at most: the closure of each is cheap.
        let closure = |function: usize| {
            let (mut waiting, mut found) = (next(function), BTreeSet::new());
            while let Some(callee) = waiting.pop() {
                if found.insert(callee) {
                    waiting.extend(next(callee));
                }
            }
            found
        };
        let closures: BTreeMap<usize, BTreeSet<usize>> = among.iter().map(|&at| (at, closure(at))).collect();
        let reaches = |from: usize, to: usize| closures.get(&from).is_some_and(|found| found.contains(&to));
        let mut circles = BTreeSet::new();
        for (&function, reached) in closures.iter().filter(|(at, reached)| reached.contains(at)) {
            circles.insert(reached.iter().copied().filter(|&at| reaches(at, function)).collect());
        }
        circles.into_iter().collect()
    }
}

fn never_returns(program: &Program<'_, '_>) -> Vec<bool> {
    let mut known = vec![false; program.functions.len()];
    loop {
        let found: Vec<usize> = (0..known.len())
            .filter(|&at| !known[at] && !reaches_return(program, at, &known, &mut |_| false))
            .collect();
        if found.is_empty() {
            return known;
        }
        for at in found {
            known[at] = true;
        }
    }
}

/// True if a path through a function returns to its caller, or ends at an unknown target, and passes none of these instructions.
fn reaches_return(
    program: &Program<'_, '_>,
    function: usize,
    never_returns: &[bool],
    ends: &mut dyn FnMut(&Step) -> bool,
) -> bool {
    let stays = |target: Option<Target>| match target {
        Some(Target::Place(place)) => program.function_from(place).is_some_and(|at| never_returns[at]),
        target => program.never_returns(target),
    };
    let (mut waiting, mut seen) = (vec![program.functions[function].start], BTreeSet::new());
    while let Some(place) = waiting.pop() {
        if !seen.insert(place) {
            continue;
        }
        let Some(step) = program.step(place) else { return true };
        if ends(step) || (step.flow == Flow::Call && stays(step.target)) {
            continue;
        }
        if program.leaves(function, step).is_some_and(|target| !stays(target)) {
            return true;
        }
        match program.onward(function, step) {
            Onward::Inside(places) => waiting.extend(places),
            Onward::Return | Onward::Table => return true,
            Onward::Leave(_) | Onward::End => {}
        }
    }
    false
}
