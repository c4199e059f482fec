// SPDX-License-Identifier: GPL-2.0-or-later
//! Functions and instructions of a module, with the targets of jumps and calls.

use std::collections::{BTreeMap, BTreeSet};

use klp_format::KlpSymbol;
use klp_module::{Machine, Module, Place, Relocation, SymbolKind, SymbolSection};

use super::machine::{self, Convention, Effect, Flow, thunk_register};
use super::places::place_of;

/// Prefix of the name of a function's padding.
const PREFIX: &str = "__pfx_";
/// Suffix of the part of a function that a compiler splits off: `f.cold`, `f.cold.3`.
const COLD: &str = ".cold";
/// Return thunk: a jump to it is a return (`CONFIG_MITIGATION_RETHUNK`).
const RETURN_THUNK: &str = "__x86_return_thunk";
/// Functions that compilers call at the start of functions; all registers are preserved.
const TRACE_ENTRIES: [&str; 3] = ["__fentry__", "mcount", "_mcount"];
/// x86: section of the tests behind `static_cpu_has()` (`_static_cpu_has()` in `arch/x86/include/asm/cpufeature.h`). A function
/// jumps to its test and the test jumps back, until the kernel replaces the first jump when it loads the module.
const FEATURE_TESTS: &str = ".altinstr_aux";
/// Functions of the kernel that modules call and that do not return (`tools/objtool/noreturns.h`).
const NEVER_RETURN: [&str; 11] = [
    "__fortify_panic",
    "__module_put_and_kthread_exit",
    "__reiserfs_panic",
    "__stack_chk_fail",
    "do_exit",
    "do_group_exit",
    "fortify_panic",
    "kthread_complete_and_exit",
    "kthread_exit",
    "panic",
    "rust_helper_BUG",
];

/// Target of a jump, a call or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// Place in the module.
    Place(Place),
    /// Symbol outside of the module, by its index, plus bytes.
    Symbol(usize, i64),
}

/// Instruction in its place.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Place of the instruction.
    pub(crate) place: Place,
    /// Place of the next instruction.
    pub(crate) next: Place,
    pub(super) flow: Flow,
    /// True if its call or jump leads to the thunk of a register.
    by_thunk: bool,
    /// Target of its jump or call, as far as the file shows it.
    pub(crate) target: Option<Target>,
    /// Address in it, other than the target of a jump or call.
    pub(crate) address: Option<Target>,
    pub(super) effects: Vec<Effect>,
    /// True if it writes to [`Self::address`].
    pub(crate) writes: bool,
    /// True if it uses registers of floating-point numbers or vectors.
    pub(crate) vector: bool,
}

impl Step {
    /// True for a return instruction. A jump to the return thunk is none.
    pub(crate) fn is_bare_return(&self) -> bool {
        self.flow == Flow::Return
    }

    /// True for a call or jump to an address in a register or in memory that passes no thunk.
    pub(crate) fn is_bare_indirect(&self) -> bool {
        matches!(self.flow, Flow::CallIndirect(_) | Flow::JumpIndirect(_)) && !self.by_thunk
    }
}

/// Function with a size.
#[derive(Clone, Debug)]
pub(crate) struct Function<'a> {
    /// Its symbol's name.
    pub(crate) name: &'a str,
    /// Start of the function.
    pub(crate) start: Place,
    /// Size in bytes.
    pub(crate) size: u64,
    /// First place that holds no instruction.
    pub(crate) undecoded: Option<Place>,
}

impl Function<'_> {
    fn covers(&self, place: Place) -> bool {
        let inside = place.offset.checked_sub(self.start.offset);
        place.section == self.start.section && inside.is_some_and(|inside| inside < self.size)
    }
}

/// Successors of an instruction.
pub(crate) enum Onward {
    /// These places of the same function.
    Inside(Vec<Place>),
    /// The caller.
    Return,
    /// Another function, without return: a tail call.
    Leave(Option<Target>),
    /// Places of the function in a jump table, not known one by one.
    Table,
    /// None.
    End,
}

/// Code of a module.
pub(crate) struct Program<'m, 'a> {
    pub(crate) module: &'m Module<'a>,
    pub(super) convention: &'static Convention,
    /// In ascending order of places; each start once.
    pub(crate) functions: Vec<Function<'a>>,
    steps: BTreeMap<Place, Step>,
    /// Tests of processor features in section [`FEATURE_TESTS`]: the two places where each one continues.
    feature_tests: BTreeMap<Place, [Place; 2]>,
}

impl<'m, 'a> Program<'m, 'a> {
    pub(crate) fn read(module: &'m Module<'a>) -> Self {
        let machine = module.machine();
        let functions = functions(module);
        let convention = machine::convention(machine);
        let (steps, feature_tests) = (BTreeMap::new(), feature_tests(module));
        let mut program = Self { module, convention, functions, steps, feature_tests };
        let sections: BTreeSet<usize> = program.functions.iter().map(|f| f.start.section).collect();
        let relocations: BTreeMap<usize, BTreeMap<u64, Relocation>> = sections
            .into_iter()
            .map(|section| (section, module.relocations_of(section).map(|r| (r.offset, r)).collect()))
            .collect();
        for at in 0..program.functions.len() {
            let function = &program.functions[at];
            let (start, end) = (function.start, function.start.offset.saturating_add(function.size));
            let mut offset = start.offset;
            while offset < end {
                let place = Place { offset, ..start };
                let code = module.sections()[place.section].data;
                let found = machine::decode(machine, code, offset)
                    .filter(|found| offset.checked_add(found.length).is_some_and(|next| next <= end));
                let Some(found) = found else {
                    program.functions[at].undecoded = Some(place);
                    break;
                };
                offset += found.length;
                let step = step(module, place, found, &relocations[&place.section]);
                program.steps.insert(place, step);
            }
        }
        program
    }

    /// Bytes that a call pushes.
    pub(crate) fn pushed_by_call(&self) -> u64 {
        self.convention.pushed_by_call
    }

    pub(crate) fn step(&self, place: Place) -> Option<&Step> {
        self.steps.get(&place)
    }

    /// Instructions of a function in order; those behind a place that holds none are missing.
    pub(crate) fn steps_of(&self, function: usize) -> impl Iterator<Item = &Step> {
        let Function { start, size, .. } = self.functions[function];
        self.steps
            .range(start..Place { offset: start.offset.saturating_add(size), ..start })
            .map(|(_, step)| step)
    }

    /// Function that covers a place.
    pub(crate) fn function_at(&self, place: Place) -> Option<usize> {
        let after = self.functions.partition_point(|function| function.start <= place);
        (0..after).rev().take(4).find(|&at| self.functions[at].covers(place))
    }

    /// Function that begins at a place.
    pub(crate) fn function_from(&self, place: Place) -> Option<usize> {
        self.functions.binary_search_by_key(&place, |function| function.start).ok()
    }

    /// True if a place belongs to a function: it lies in the function or in a cold part of it.
    pub(crate) fn belongs(&self, function: usize, place: Place) -> bool {
        let function = &self.functions[function];
        let aside = |part: &Function<'_>| {
            part.name.strip_prefix(function.name).is_some_and(|rest| rest.starts_with(COLD))
        };
        function.covers(place) || self.function_at(place).is_some_and(|part| aside(&self.functions[part]))
    }

    /// Parts of a function: itself, and the split-off parts that it jumps to.
    pub(crate) fn parts(&self, function: usize) -> Vec<usize> {
        let mut parts = vec![function];
        let mut at = 0;
        while let Some(&part) = parts.get(at) {
            let jumps = self.steps_of(part).filter(|step| matches!(step.flow, Flow::Jump | Flow::Branch));
            let aside: BTreeSet<usize> = jumps
                .flat_map(|step| self.places(step.target))
                .filter(|&place| self.belongs(function, place))
                .filter_map(|place| self.function_at(place))
                .collect();
            parts.extend(aside.into_iter().filter(|part| !parts.contains(part)).collect::<Vec<_>>());
            at += 1;
        }
        parts
    }

    /// Places in the module that a target leads to: itself, or the two places where a test of a processor feature continues.
    pub(crate) fn places(&self, target: Option<Target>) -> Vec<Place> {
        match target {
            Some(Target::Place(place)) => {
                self.feature_tests.get(&place).map_or_else(|| vec![place], |places| places.to_vec())
            }
            _ => Vec::new(),
        }
    }

    /// Successors of an instruction of a function, after the return of its call.
    pub(crate) fn onward(&self, function: usize, step: &Step) -> Onward {
        let branch = match step.target {
            Some(Target::Place(place)) if self.belongs(function, place) => Some(place),
            _ => None,
        };
        match step.flow {
            Flow::Next | Flow::Call | Flow::CallIndirect(_) if self.belongs(function, step.next) => {
                Onward::Inside(vec![step.next])
            }
            // End of the function behind a call that does not return.
            Flow::Next | Flow::Call | Flow::CallIndirect(_) | Flow::Stop => Onward::End,
            Flow::Return => Onward::Return,
            Flow::Jump if self.symbol_name(step.target) == Some(RETURN_THUNK) => Onward::Return,
            Flow::Jump => {
                let places = self.places(step.target);
                let inside = !places.is_empty() && places.iter().all(|&place| self.belongs(function, place));
                if inside { Onward::Inside(places) } else { Onward::Leave(step.target) }
            }
            // `leaves` covers a branch out of the function.
            Flow::Branch => Onward::Inside([branch, Some(step.next)].into_iter().flatten().collect()),
            Flow::JumpIndirect(_) if self.is_table_jump(function, step) => Onward::Table,
            Flow::JumpIndirect(_) => Onward::Leave(None),
        }
    }

    /// Exit that an instruction takes out of its function without return, if any.
    pub(crate) fn leaves(&self, function: usize, step: &Step) -> Option<Option<Target>> {
        match (step.flow, self.onward(function, step)) {
            (_, Onward::Leave(target)) => Some(target),
            (Flow::Branch, _) => match step.target {
                Some(Target::Place(place)) if self.belongs(function, place) => None,
                other => Some(other),
            },
            _ => None,
        }
    }

    /// True if an indirect jump uses a table of places of its own function (a `switch`).
    ///
    /// Method of objtool (`find_jump_table()` in `tools/objtool/check.c`): the nearest address of data before the jump is
    /// that of a table whose first entry leads into the function. On arm64 the distances in such a table have no relocations:
    /// there the place that they count from is in the function, and is computed shortly before the jump.
    fn is_table_jump(&self, function: usize, step: &Step) -> bool {
        const NEAR: usize = 16;
        let from = self.functions[self.function_at(step.place).unwrap_or(function)].start;
        let before = self.steps.range(from..=step.place).rev().take(NEAR).map(|(_, step)| step);
        let table = |address: Target| {
            let Target::Place(table) = address else { return false };
            if self.module.sections()[table.section].is_executable() {
                return self.module.machine() == Machine::Arm64 && self.belongs(function, table);
            }
            let entry = self.module.relocations_of(table.section).find(|entry| entry.offset == table.offset);
            let leads = entry.and_then(|entry| {
                // The addend of a relative first entry counts from the start of the table.
                place_of(self.module, entry.symbol, entry.addend)
            });
            leads.is_some_and(|leads| self.belongs(function, leads))
        };
        before.filter_map(|step| step.address).next().is_some_and(table)
    }

    /// Name of the symbol outside of the module that a target is the start of.
    pub(crate) fn symbol_name(&self, target: Option<Target>) -> Option<&'a str> {
        match target? {
            Target::Symbol(symbol, 0) => Some(self.module.symbols()[symbol].name),
            _ => None,
        }
    }

    /// Name of the kernel's function that a target is the start of.
    pub(crate) fn kernel_function(&self, target: Option<Target>) -> Option<String> {
        self.symbol_name(target).map(kernel_name)
    }

    /// True if compilers call this target at the start of a function for tracers.
    pub(crate) fn is_trace_entry(&self, target: Option<Target>) -> bool {
        self.symbol_name(target).is_some_and(|name| TRACE_ENTRIES.contains(&name))
    }

    /// True if a target is a function of the kernel that does not return.
    pub(crate) fn never_returns(&self, target: Option<Target>) -> bool {
        self.symbol_name(target).is_some_and(|name| NEVER_RETURN.contains(&name))
    }

    /// Text of a target, for messages.
    pub(crate) fn describe(&self, target: Option<Target>) -> String {
        match target {
            None => "an address that is computed".to_owned(),
            Some(Target::Symbol(symbol, _)) => self.module.symbols()[symbol].name.to_owned(),
            Some(Target::Place(place)) => match self.function_at(place) {
                Some(function) => self.functions[function].name.to_owned(),
                None => format!("{}+{:#x}", self.module.sections()[place.section].name, place.offset),
            },
        }
    }
}

/// Name in the kernel of a symbol outside of the module: a livepatch symbol has it in its own name.
pub(crate) fn kernel_name(name: &str) -> String {
    KlpSymbol::from_elf_name(name).map_or_else(|_| name.to_owned(), |symbol| symbol.symbol)
}

/// Functions with a size in ascending order; of several at one place the longest.
fn functions<'a>(module: &Module<'a>) -> Vec<Function<'a>> {
    let mut found: BTreeMap<Place, Function<'a>> = BTreeMap::new();
    for symbol in module.symbols() {
        let SymbolSection::Section(section) = symbol.section else { continue };
        let code = module.sections()[section].is_executable() && !symbol.name.starts_with(PREFIX);
        if symbol.kind != SymbolKind::Function || symbol.size == 0 || !code {
            continue;
        }
        let start = Place { section, offset: symbol.value };
        let function = Function { name: symbol.name, start, size: symbol.size, undecoded: None };
        let known = found.entry(start).or_insert_with(|| function.clone());
        if known.size < function.size {
            *known = function;
        }
    }
    found.into_values().collect()
}

/// Tests of processor features in [`FEATURE_TESTS`], each by its first instruction: test, conditional jump, jump.
fn feature_tests(module: &Module<'_>) -> BTreeMap<Place, [Place; 2]> {
    let Some(section) = module.section(FEATURE_TESTS) else { return BTreeMap::new() };
    let relocations: BTreeMap<u64, Relocation> =
        module.relocations_of(section.index).map(|relocation| (relocation.offset, relocation)).collect();
    let mut steps = Vec::new();
    let mut offset = 0;
    while let Some(found) = machine::decode(module.machine(), section.data, offset) {
        let place = Place { section: section.index, offset };
        offset += found.length;
        steps.push(step(module, place, found, &relocations));
    }
    let tests = steps.windows(3).filter_map(|steps| match steps {
        [first, branch, jump]
            if (first.flow, branch.flow, jump.flow) == (Flow::Next, Flow::Branch, Flow::Jump)
                && first.effects.is_empty() =>
        {
            let (Some(Target::Place(yes)), Some(Target::Place(no))) = (branch.target, jump.target) else {
                return None;
            };
            Some((first.place, [yes, no]))
        }
        _ => None,
    });
    tests.collect()
}

fn step(
    module: &Module<'_>,
    place: Place,
    found: machine::Instruction,
    relocations: &BTreeMap<u64, Relocation>,
) -> Step {
    let next = Place { offset: place.offset + found.length, ..place };
    let relocation = relocations.range(place.offset..next.offset).next().map(|(_, relocation)| relocation);
    let related = relocation.map(|relocation| target(module, relocation, next.offset));
    let own = found.target.map(|offset| Target::Place(Place { offset, ..place }));
    let by_thunk = match related {
        Some(Target::Symbol(symbol, 0)) => thunk_register(module.symbols()[symbol].name),
        _ => None,
    };
    let direct = matches!(found.flow, Flow::Call | Flow::Jump | Flow::Branch);
    let flow = match (found.flow, by_thunk) {
        (Flow::Call, Some(register)) => Flow::CallIndirect(Some(register)),
        (Flow::Jump, Some(register)) => Flow::JumpIndirect(Some(register)),
        (flow, _) => flow,
    };
    let thunk = by_thunk.is_some();
    Step {
        place,
        next,
        flow,
        by_thunk: thunk,
        writes: found.writes,
        vector: found.vector,
        target: if direct && !thunk { related.or(own) } else { None },
        address: if direct { None } else { related.or(own) },
        effects: found.effects,
    }
}

/// Target of a relocation in an instruction. x86 counts from the end of the instruction, which compilers put into the
/// addend of relative relocations.
fn target(module: &Module<'_>, relocation: &Relocation, next: u64) -> Target {
    const RELATIVE: [u32; 2] = [2, 4]; // R_X86_64_PC32, R_X86_64_PLT32
    let relative = module.machine() == Machine::X86_64 && RELATIVE.contains(&relocation.kind);
    let behind = if relative { next.wrapping_sub(relocation.offset).cast_signed() } else { 0 };
    let addend = relocation.addend.wrapping_add(behind);
    place_of(module, relocation.symbol, addend)
        .map_or(Target::Symbol(relocation.symbol, addend), Target::Place)
}
