// SPDX-License-Identifier: GPL-2.0-or-later
//! Abstract interpretation of a function: stack depth, calls, and arguments that are passed on.
//!
//! Registers and stack slots hold one of a few [`Value`]s; if two paths to an instruction differ, the value is unknown.

use std::collections::BTreeMap;

use klp_module::Place;

use super::machine::{Effect, Flow, Register};
use super::program::{Onward, Program, Step, Target};

/// Number of stack depths at one instruction that are followed before it is taken for a loop that compilers do not make.
const DEPTHS_PER_PLACE: u32 = 4;

/// Value of a register or of a slot of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Unknown,
    /// Remainder of a call: no compiler uses it.
    Clobbered,
    /// Argument of this number, unchanged.
    Argument(usize),
    /// Stack pointer at the function's entry plus bytes.
    Stack(i64),
    Constant(i64),
    Address(Target),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    registers: Vec<Value>,
    /// By distance from the stack pointer at the entry.
    slots: BTreeMap<i64, Value>,
    /// True after a comparison of the stack pointer with another register: a loop that touches each page of a frame.
    probing: bool,
    /// True if no path to the place was found: the stack's depth is assumed, and registers are unknown.
    assumed: bool,
}

/// Call, or jump that leaves the function.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) place: Place,
    /// Target of the call. None: not known.
    pub(crate) target: Option<Target>,
    /// Bytes of stack in use.
    pub(crate) depth: u64,
    /// True if the call is a jump, so that the function itself has ended.
    pub(crate) tail: bool,
    /// Content of each register that passes arguments.
    pub(crate) arguments: Vec<Passed>,
}

/// Argument that a call passes in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// Argument of the function itself in this register.
    Same,
    Constant(i64),
    Address(Target),
    /// No value that the function put there.
    Nothing,
    Other,
}

impl Call {
    /// True if the callee gets the arguments of the function itself. Where the number of arguments is not known,
    /// the first one and all that the function put into registers must be those.
    pub(crate) fn passes_on(&self, arguments: Option<usize>) -> bool {
        match arguments {
            Some(count) => self.arguments.iter().take(count).all(|passed| *passed == Passed::Same),
            None => {
                let is_own = |passed: &Passed| matches!(passed, Passed::Same | Passed::Nothing);
                self.arguments.first() == Some(&Passed::Same) && self.arguments.iter().all(is_own)
            }
        }
    }
}

/// Result of following a function.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// Largest stack use in bytes, with the return address and without callees; `Err` is the place where the size of the frame
    /// is decided at run time.
    pub(crate) depth: Result<u64, Place>,
    pub(crate) calls: Vec<Call>,
    /// Arguments that are used as addresses of memory, each with one place.
    pub(crate) touched: BTreeMap<usize, Place>,
    /// Value that every return gives back, if it is one number.
    pub(crate) result: Option<i64>,
}

/// Number that all returns of a function give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Results {
    /// No return was seen.
    None,
    One(i64),
    Many,
}

/// Follows a function through all its instructions.
pub(crate) fn follow(program: &Program<'_, '_>, function: usize, never_returns: &[bool]) -> Followed {
    let mut walk = Walk {
        program,
        function,
        never_returns,
        states: BTreeMap::new(),
        depths: BTreeMap::new(),
        waiting: Vec::new(),
        lowest: 0,
        lost: None,
        calls: BTreeMap::new(),
        results: BTreeMap::new(),
        touched: BTreeMap::new(),
    };
    walk.enter(program.functions[function].start, walk.entry());
    walk.run();
    // Places that only tables of the kernel lead to: exception tables, static branches, tables of a `switch`.
    for part in program.parts(function) {
        for step in program.steps_of(part).filter(|step| step.flow != Flow::Stop && !is_filler(step)) {
            if !walk.states.contains_key(&step.place) {
                let state = walk.nowhere();
                walk.enter(step.place, state);
                walk.run();
            }
        }
    }
    let pushed = program.convention.pushed_by_call;
    Followed {
        depth: walk.lost.map_or(Ok(walk.lowest.unsigned_abs() + pushed), Err),
        result: match walk.results.into_values().fold(Results::None, Results::with) {
            Results::One(result) => Some(result),
            Results::None | Results::Many => None,
        },
        calls: walk.calls.into_values().collect(),
        touched: walk.touched,
    }
}

impl Results {
    fn with(self, value: Value) -> Self {
        match (self, value) {
            (Self::None, Value::Constant(value)) => Self::One(value),
            (Self::One(known), Value::Constant(value)) if known == value => self,
            _ => Self::Many,
        }
    }
}

/// Padding between blocks.
fn is_filler(step: &Step) -> bool {
    step.flow == Flow::Next && step.effects.is_empty() && step.address.is_none()
}

struct Walk<'p, 'm, 'a> {
    program: &'p Program<'m, 'a>,
    function: usize,
    never_returns: &'p [bool],
    states: BTreeMap<Place, State>,
    /// Number of stack depths that were seen at a place.
    depths: BTreeMap<Place, u32>,
    waiting: Vec<Place>,
    /// Lowest stack pointer, relative to the entry.
    lowest: i64,
    lost: Option<Place>,
    calls: BTreeMap<Place, Call>,
    /// Content of the register with the result, at each return.
    results: BTreeMap<Place, Value>,
    touched: BTreeMap<usize, Place>,
}

impl Walk<'_, '_, '_> {
    fn entry(&self) -> State {
        let convention = self.program.convention;
        let mut registers = vec![Value::Unknown; convention.registers];
        for (number, &register) in convention.arguments.iter().enumerate() {
            registers[usize::from(register)] = Value::Argument(number);
        }
        registers[usize::from(convention.stack)] = Value::Stack(0);
        State { registers, slots: BTreeMap::new(), probing: false, assumed: false }
    }

    /// State at a place that no path leads to: the deepest stack.
    fn nowhere(&self) -> State {
        let convention = self.program.convention;
        let mut registers = vec![Value::Unknown; convention.registers];
        registers[usize::from(convention.stack)] = Value::Stack(self.lowest);
        State { registers, slots: BTreeMap::new(), probing: false, assumed: true }
    }

    fn run(&mut self) {
        while let Some(place) = self.waiting.pop() {
            let Some(step) = self.program.step(place) else { continue };
            let Some(state) = self.states.get(&place).cloned() else { continue };
            self.pass(step, state);
        }
    }

    /// Merges a state into that of a place, and schedules the place again if it changed.
    fn enter(&mut self, place: Place, state: State) {
        let stack = usize::from(self.program.convention.stack);
        let Some(known) = self.states.get_mut(&place) else {
            self.states.insert(place, state);
            self.waiting.push(place);
            return;
        };
        if state.assumed && !known.assumed {
            return;
        }
        let mut merged = known.clone();
        for (at, value) in merged.registers.iter_mut().enumerate().filter(|(at, _)| *at != stack) {
            *value = merge(*value, state.registers[at]);
        }
        if let (Value::Stack(old), Value::Stack(new)) = (known.registers[stack], state.registers[stack])
            && new < old
        {
            let seen = self.depths.entry(place).or_default();
            *seen += 1;
            if *seen < DEPTHS_PER_PLACE {
                merged.registers[stack] = Value::Stack(new);
            }
        }
        merged.slots.retain(|slot, value| state.slots.get(slot) == Some(value));
        if merged != *known {
            *known = merged;
            self.waiting.push(place);
        }
    }

    fn pass(&mut self, step: &Step, mut state: State) {
        self.apply(step, &mut state);
        let left = self.program.leaves(self.function, step);
        match (step.flow, left) {
            (Flow::Call | Flow::CallIndirect(_), _) => {
                let target = self.called(step, &state);
                if self.program.is_trace_entry(target) {
                    self.enter(step.next, state);
                    return;
                }
                self.call(step, target, &state);
                let ends = self.program.never_returns(target)
                    || matches!(target, Some(Target::Place(place))
                        if self.program.function_from(place).is_some_and(|callee| self.never_returns[callee]));
                if ends {
                    return;
                }
                clobber(self.program, &mut state);
            }
            (Flow::JumpIndirect(_), Some(_)) => {
                let target = self.called(step, &state);
                self.call(step, target, &state);
            }
            (_, Some(target)) => self.call(step, target, &state),
            _ => {}
        }
        let onward = self.program.onward(self.function, step);
        if let Onward::Return | Onward::Leave(_) = onward {
            let own = matches!(onward, Onward::Return);
            let value = state.registers[usize::from(self.program.convention.result)];
            self.results.insert(step.place, if own { value } else { Value::Unknown });
        }
        if let Onward::Inside(places) = onward {
            // A loop that touches the pages of a frame ends at the compared value.
            let probing = std::mem::take(&mut state.probing) && step.flow == Flow::Branch;
            for place in places.into_iter().filter(|place| !(probing && *place <= step.place)) {
                self.enter(place, state.clone());
            }
        }
    }

    /// Target of a call or of an indirect jump.
    fn called(&self, step: &Step, state: &State) -> Option<Target> {
        let (Flow::CallIndirect(register) | Flow::JumpIndirect(register)) = step.flow else {
            return step.target;
        };
        match state.registers[usize::from(register?)] {
            Value::Address(target) => Some(target),
            _ => None,
        }
    }

    fn call(&mut self, step: &Step, target: Option<Target>, state: &State) {
        let passed = |(number, register): (usize, &Register)| match state.registers[usize::from(*register)] {
            Value::Argument(found) if found == number => Passed::Same,
            Value::Clobbered => Passed::Nothing,
            Value::Constant(value) => Passed::Constant(value),
            Value::Address(target) => Passed::Address(target),
            _ => Passed::Other,
        };
        let arguments = self.program.convention.arguments.iter().enumerate().map(passed).collect();
        let depth = match state.registers[usize::from(self.program.convention.stack)] {
            Value::Stack(by) => by.unsigned_abs() + self.program.convention.pushed_by_call,
            _ => 0,
        };
        let tail = !matches!(step.flow, Flow::Call | Flow::CallIndirect(_));
        self.calls.insert(step.place, Call { place: step.place, target, depth, tail, arguments });
    }

    fn apply(&mut self, step: &Step, state: &mut State) {
        let stack = self.program.convention.stack;
        if !step.effects.is_empty() {
            state.probing = false;
        }
        for effect in &step.effects {
            let of = |register: Register| state.registers[usize::from(register)];
            if let Effect::Load { base, .. } | Effect::Store { base, .. } | Effect::Touch { base } = *effect
                && let Value::Argument(number) = of(base)
            {
                self.touched.entry(number).or_insert(step.place);
            }
            let (to, value) = match *effect {
                Effect::Offset { to, from, by } => (to, plus(of(from), by)),
                Effect::Constant { to, value } => {
                    (to, step.address.map_or(Value::Constant(value), Value::Address))
                }
                Effect::Minus { to, by } => match of(by) {
                    Value::Constant(by) => (to, plus(of(to), by.wrapping_neg())),
                    _ => (to, Value::Unknown),
                },
                Effect::Align { to, unit } => match of(to) {
                    // The stack at the entry is known to be aligned to 16 bytes only.
                    Value::Stack(_) if unit > 1 << 20 => (to, Value::Unknown),
                    value => (to, plus(value, -(unit.saturating_sub(1) & !15).cast_signed())),
                },
                Effect::Load { to, base, offset } => match plus(of(base), offset) {
                    Value::Stack(slot) => (to, state.slots.get(&slot).copied().unwrap_or(Value::Unknown)),
                    _ => (to, Value::Unknown),
                },
                Effect::Store { base, offset, from } => {
                    if let Value::Stack(slot) = plus(of(base), offset) {
                        let constant = step.address.map_or(Value::Unknown, Value::Address);
                        state.slots.insert(slot, from.map_or(constant, of));
                    }
                    continue;
                }
                Effect::Compare { a, b } => {
                    let limit = if a == stack {
                        of(b)
                    } else if b == stack {
                        of(a)
                    } else {
                        Value::Unknown
                    };
                    if let Value::Stack(_) = limit {
                        state.registers[usize::from(stack)] = limit;
                        state.probing = true;
                    }
                    continue;
                }
                Effect::Entry { to, from, by } => match plus(of(from), by) {
                    Value::Unknown => (to, Value::Stack(0)),
                    value => (to, value),
                },
                Effect::Unknown { to } => (to, Value::Unknown),
                Effect::Touch { .. } => continue,
            };
            state.registers[usize::from(to)] = value;
        }
        self.note_stack(step, state);
    }

    /// Records the stack depth after an instruction.
    fn note_stack(&mut self, step: &Step, state: &mut State) {
        let stack = self.program.convention.stack;
        match state.registers[usize::from(stack)] {
            Value::Stack(by) => self.lowest = self.lowest.min(by),
            _ => {
                if !state.assumed {
                    self.lost.get_or_insert(step.place);
                }
                // The lowest known depth, to follow the calls behind.
                state.registers[usize::from(stack)] = Value::Stack(self.lowest);
            }
        }
    }
}

fn plus(value: Value, by: i64) -> Value {
    match value {
        Value::Stack(at) => Value::Stack(at.wrapping_add(by)),
        Value::Constant(at) => Value::Constant(at.wrapping_add(by)),
        other if by == 0 => other,
        _ => Value::Unknown,
    }
}

fn merge(a: Value, b: Value) -> Value {
    match (a, b) {
        (a, b) if a == b => a,
        (Value::Clobbered, _) | (_, Value::Clobbered) => Value::Clobbered,
        _ => Value::Unknown,
    }
}

/// Registers and stack after a call.
fn clobber(program: &Program<'_, '_>, state: &mut State) {
    let convention = program.convention;
    for (register, value) in state.registers.iter_mut().enumerate() {
        let kept = |preserved: &Register| usize::from(*preserved) == register;
        if register != usize::from(convention.stack) && !convention.preserved.iter().any(kept) {
            *value = Value::Clobbered;
        }
    }
}
