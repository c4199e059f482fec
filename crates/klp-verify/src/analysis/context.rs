// SPDX-License-Identifier: GPL-2.0-or-later
//! Context of calls: locks and sections that code entered before, on the paths that lead to a call.
//!
//! A function is followed with the number of sections that it can be in. Calls of the module's own functions count by what they do
//! in sum. Pairs of functions that the headers inline leave no calls and are not seen. Functions of the kernel that are not exported,
//! and functions behind pointers, may release a lock: nothing is said behind them.

use std::collections::{BTreeMap, BTreeSet};

use klp_module::{Place, SymbolSection};

use super::graph::Graph;
use super::program::{Onward, Target};
use super::values::{Call, Passed};

/// Depths that are told apart.
const DEPTHS: u32 = 6;
/// End of the name of bindgen's wrapper of an inline function.
const WRAPPER: &str = "__extern";
/// `__GFP_DIRECT_RECLAIM` (`include/linux/gfp_types.h`): the allocation may sleep.
const DIRECT_RECLAIM: i64 = 0x400;

/// Kind of a section of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// A spinlock is held, or interrupts are off: a task must not sleep.
    Spin,
    /// An RCU read-side section: a task must not sleep.
    Rcu,
    /// A lock is held with which a task may sleep: a mutex or semaphore.
    Sleepable,
}

/// Sections that a path can be in: for each kind the set of possible depths, as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    depths: BTreeMap<Section, u32>,
    /// True behind a function that enters a section only if it can.
    unsure: bool,
}

/// Use of a section that is wrong on every path, or on some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Misuse {
    /// A call that may sleep, in a section where a task must not.
    Sleeps { place: Place, callee: String, section: Section },
    /// The function returns in a section that it entered. `always`: on each path.
    Leaked { function: usize, section: Section, always: bool },
}

/// Effect of a function, seen by its caller.
#[derive(Clone, Debug, Default)]
struct Summary {
    /// Possible depths of each kind at its return, as bits, counted from those at its call.
    depths: BTreeMap<Section, u32>,
    /// Name of a function that may sleep, which some path calls.
    sleeps: Option<String>,
    /// True if the depths are not known.
    unsure: bool,
}

impl State {
    fn outside() -> Self {
        let kinds = [Section::Spin, Section::Rcu, Section::Sleepable];
        Self { depths: kinds.map(|kind| (kind, 1)).into(), unsure: false }
    }

    fn enter(&mut self, section: Section) {
        self.add(section, 0b10);
    }

    fn leave(&mut self, section: Section) {
        let depths = self.depths.entry(section).or_insert(1);
        // A section that the caller entered, or paths that a condition of the source keeps apart.
        self.unsure |= *depths & 1 != 0;
        *depths = (*depths >> 1).max(1);
    }

    /// Adds one of several depths, given as bits.
    fn add(&mut self, section: Section, more: u32) {
        let depths = self.depths.entry(section).or_insert(1);
        let sums = (0..DEPTHS).filter(|by| more >> by & 1 != 0).map(|by| *depths << by);
        let sum = sums.fold(0, |all, sum| all | sum) & ((1 << DEPTHS) - 1);
        // A loop that enters a section again and again.
        self.unsure |= sum == 0;
        *depths = sum.max(1);
    }

    /// True if each path is in a section of the kind.
    fn is_in(&self, section: Section) -> bool {
        let depths = self.depths[&section];
        depths != 0 && depths & 1 == 0
    }

    fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        for (kind, depths) in &mut self.depths {
            *depths |= other.depths[kind];
        }
        self.unsure |= other.unsure;
        *self != before
    }
}

/// Wrong uses in the functions that a module has. `visible_unlocks`: the unlock of a spinlock is a call, and not inlined.
pub(crate) fn misuses(graph: &Graph<'_, '_>, visible_unlocks: bool) -> BTreeSet<Misuse> {
    let mut contexts =
        Contexts { graph, visible_unlocks, summaries: BTreeMap::new(), found: BTreeSet::new() };
    for function in 0..graph.program.functions.len() {
        contexts.summary(function, &mut Vec::new());
    }
    contexts.found
}

struct Contexts<'g, 'm, 'a> {
    graph: &'g Graph<'m, 'a>,
    visible_unlocks: bool,
    summaries: BTreeMap<usize, Summary>,
    found: BTreeSet<Misuse>,
}

impl Contexts<'_, '_, '_> {
    fn summary(&mut self, function: usize, callers: &mut Vec<usize>) -> Summary {
        if let Some(known) = self.summaries.get(&function) {
            return known.clone();
        }
        if callers.contains(&function) {
            return Summary { unsure: true, ..Summary::default() };
        }
        callers.push(function);
        let summary = self.follow(function, callers);
        callers.pop();
        self.summaries.insert(function, summary.clone());
        summary
    }

    fn follow(&mut self, function: usize, callers: &mut Vec<usize>) -> Summary {
        let program = &self.graph.program;
        let calls: BTreeMap<Place, &Call> =
            self.graph.followed[function].calls.iter().map(|call| (call.place, call)).collect();
        let start = program.functions[function].start;
        let mut states = BTreeMap::from([(start, State::outside())]);
        let mut waiting = vec![start];
        let mut end: Option<State> = None;
        let mut sleeps = None;
        while let Some(place) = waiting.pop() {
            let (Some(step), Some(mut state)) = (program.step(place), states.get(&place).cloned()) else {
                continue;
            };
            let call = calls.get(&place);
            if let Some(call) = call {
                self.pass(call, &mut state, &mut sleeps, callers);
            }
            let mut returned = |state: &State| match &mut end {
                None => end = Some(state.clone()),
                Some(known) => {
                    known.merge(state);
                }
            };
            match program.onward(function, step) {
                Onward::Inside(places) => {
                    for place in places {
                        let changed = match states.get_mut(&place) {
                            Some(known) => known.merge(&state),
                            None => {
                                states.insert(place, state.clone());
                                true
                            }
                        };
                        if changed {
                            waiting.push(place);
                        }
                    }
                }
                Onward::Return | Onward::Leave(_) => returned(&state),
                Onward::Table => state.unsure = true,
                Onward::End => {}
            }
        }
        self.end(function, end, sleeps)
    }

    fn end(&mut self, function: usize, end: Option<State>, sleeps: Option<String>) -> Summary {
        let Some(end) = end else { return Summary { sleeps, ..Summary::default() } };
        let mut summary = Summary { sleeps, unsure: end.unsure, ..Summary::default() };
        for (&section, &depths) in &end.depths {
            summary.depths.insert(section, depths);
            if depths > 1 && !end.unsure {
                self.found.insert(Misuse::Leaked { function, section, always: depths & 1 == 0 });
            }
        }
        summary
    }

    fn pass(
        &mut self,
        call: &Call,
        state: &mut State,
        sleeps: &mut Option<String>,
        callers: &mut Vec<usize>,
    ) {
        let own = self.graph.callee(call);
        let Some(name) = self.name(call) else {
            // A function behind a pointer may be one of a lock.
            state.unsure |= call.target.is_none();
            return;
        };
        // The wrapper of an inline function stands for it.
        let function = name.strip_suffix(WRAPPER).unwrap_or(&name);
        let sleeper = match (self.effect(function), own) {
            (None, Some(callee)) => {
                let summary = self.summary(callee, callers);
                state.unsure |= summary.unsure;
                for (section, depths) in &summary.depths {
                    state.add(*section, *depths);
                }
                summary.sleeps
            }
            (known, _) => {
                // A function that is not exported may release what its caller took.
                let is_in_any = state.depths.values().any(|depths| *depths > 1);
                state.unsure |= known.is_none() && is_in_any && self.is_livepatch(call);
                match known {
                    Some(Effect::Enter(section)) => state.enter(section),
                    Some(Effect::Leave(section)) => state.leave(section),
                    Some(Effect::Try) => state.unsure = true,
                    Some(Effect::Sleep) | None => {}
                }
                let may = matches!(known, Some(Effect::Sleep))
                    || is_sleeping_lock(function)
                    || allocates(function, call);
                may.then(|| function.to_owned())
            }
        };
        let Some(sleeper) = sleeper else { return };
        sleeps.get_or_insert_with(|| sleeper.clone());
        let section = [Section::Spin, Section::Rcu].into_iter().find(|section| state.is_in(*section));
        if let Some(section) = section.filter(|_| !state.unsure) {
            let callee =
                if function == sleeper { sleeper } else { format!("{function}, which calls {sleeper}") };
            self.found.insert(Misuse::Sleeps { place: call.place, callee, section });
        }
    }

    /// Effect of a function of the kernel. Where its unlock is inlined, it is not known how long a spinlock is held.
    fn effect(&self, name: &str) -> Option<Effect> {
        const INLINED: [&str; 6] = [
            "_raw_spin_lock",
            "_raw_spin_lock_irq",
            "_raw_read_lock",
            "_raw_read_lock_irq",
            "_raw_write_lock",
            "_raw_write_lock_irq",
        ];
        if !self.visible_unlocks && INLINED.contains(&name) {
            return Some(Effect::Try);
        }
        effect(name)
    }

    fn is_livepatch(&self, call: &Call) -> bool {
        let Some(Target::Symbol(symbol, _)) = call.target else { return false };
        self.graph.program.module.symbols().get(symbol).is_some_and(|s| s.section == SymbolSection::Livepatch)
    }

    /// Name of the function that a call leads to.
    fn name(&self, call: &Call) -> Option<String> {
        if let Some(own) = self.graph.callee(call) {
            return Some(self.graph.program.functions[own].name.to_owned());
        }
        self.graph.program.kernel_function(call.target)
    }
}

enum Effect {
    Enter(Section),
    Leave(Section),
    /// Enters a section if it can.
    Try,
    Sleep,
}

/// Prefixes of the functions of spinlocks.
const SPIN: [&str; 3] = ["_raw_spin_", "_raw_read_", "_raw_write_"];
const ENTER_RCU: [&str; 2] = ["__rcu_read_lock", "rcu_read_lock"];
const LEAVE_RCU: [&str; 2] = ["__rcu_read_unlock", "rcu_read_unlock"];
/// Functions that sleep until they have a lock.
const TAKE: [&str; 7] =
    ["mutex_lock", "mutex_lock_nested", "mutex_lock_io", "down_read", "down_write", "down", "rt_mutex_lock"];
const RELEASE: [&str; 5] = ["mutex_unlock", "up_read", "up_write", "up", "rt_mutex_unlock"];
/// Functions that sleep until they have a lock, or give up.
const TAKE_OR_GIVE_UP: [&str; 8] = [
    "mutex_lock_interruptible",
    "mutex_lock_killable",
    "down_interruptible",
    "down_killable",
    "down_timeout",
    "down_read_killable",
    "down_read_interruptible",
    "down_write_killable",
];
/// Functions that take a lock if they can, or change its kind.
const TRY: [&str; 10] = [
    "mutex_trylock",
    "down_read_trylock",
    "down_write_trylock",
    "down_trylock",
    "refcount_dec_and_mutex_lock",
    "refcount_dec_and_lock",
    "_atomic_dec_and_lock",
    "_atomic_dec_and_lock_irqsave",
    "atomic_dec_and_mutex_lock",
    "downgrade_write",
];
/// Functions that sleep.
const SLEEP: [&str; 29] = [
    "msleep",
    "msleep_interruptible",
    "usleep_range_state",
    "schedule",
    "schedule_timeout",
    "schedule_timeout_interruptible",
    "schedule_timeout_killable",
    "schedule_timeout_uninterruptible",
    "schedule_hrtimeout",
    "io_schedule",
    "wait_for_completion",
    "wait_for_completion_timeout",
    "wait_for_completion_interruptible",
    "wait_for_completion_killable",
    "synchronize_rcu",
    "synchronize_net",
    "synchronize_srcu",
    "rcu_barrier",
    "flush_work",
    "__flush_workqueue",
    "cancel_work_sync",
    "cancel_delayed_work_sync",
    "flush_delayed_work",
    "kthread_stop",
    "vmalloc",
    "vmalloc_noprof",
    "vzalloc",
    "vzalloc_noprof",
    "__request_module",
];

/// Effect of a function of the kernel, by its name.
fn effect(name: &str) -> Option<Effect> {
    if let Some(rest) = SPIN.iter().find_map(|start| name.strip_prefix(start)) {
        return Some(match rest {
            _ if rest.starts_with("trylock") => Effect::Try,
            _ if rest.starts_with("unlock") => Effect::Leave(Section::Spin),
            _ => Effect::Enter(Section::Spin),
        });
    }
    let is_of = |list: &[&str]| list.contains(&name);
    Some(match () {
        () if is_of(&ENTER_RCU) => Effect::Enter(Section::Rcu),
        () if is_of(&LEAVE_RCU) => Effect::Leave(Section::Rcu),
        () if is_of(&TAKE) => Effect::Enter(Section::Sleepable),
        () if is_of(&RELEASE) => Effect::Leave(Section::Sleepable),
        () if is_of(&TAKE_OR_GIVE_UP) || is_of(&TRY) => Effect::Try,
        () if is_of(&SLEEP) => Effect::Sleep,
        () => return None,
    })
}

/// True for a function of the kernel in which tasks sleep, by its name. Allocations are left out: their flags decide.
pub fn sleeps(name: &str) -> bool {
    SLEEP.contains(&name) || is_sleeping_lock(name)
}

/// True for functions that sleep until they have a lock.
fn is_sleeping_lock(name: &str) -> bool {
    TAKE.contains(&name) || TAKE_OR_GIVE_UP.contains(&name)
}

/// True for an allocation whose flags are known and let it sleep.
fn allocates(name: &str, call: &Call) -> bool {
    let flags = match name {
        "__kmalloc"
        | "__kmalloc_noprof"
        | "kmem_cache_alloc"
        | "kmem_cache_alloc_noprof"
        | "kmalloc_large"
        | "kmalloc_large_noprof"
        | "kmalloc_trace"
        | "__kmalloc_cache_noprof"
        | "__kmalloc_node"
        | "kstrdup"
        | "kstrdup_noprof" => 1,
        "krealloc" | "krealloc_noprof" | "kmemdup" | "kmemdup_noprof" | "kstrndup" => 2,
        _ => return false,
    };
    match call.arguments.get(flags) {
        Some(Passed::Constant(flags)) => flags & DIRECT_RECLAIM != 0,
        _ => false,
    }
}
