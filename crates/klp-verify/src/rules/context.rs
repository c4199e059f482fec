// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on locks: calls that sleep where a task must not, and locks that stay held.

use klp_base::events::Severity;
use klp_module::Place;

use super::{Check, Rule, without_tables};
use crate::analysis::{Misuse, Section, Subject};
use crate::report::{Findings, Scope};

/// Calls that sleep.
pub static ATOMIC_SLEEP: Rule = Rule {
    id: "atomic-sleep",
    severity: Severity::Error,
    source: "`Documentation/locking/locktypes.rst`; `__might_resched()` in `kernel/sched/core.c`.",
    summary: "No function that may sleep is called with a spinlock held, with interrupts off by a lock, or in an RCU read-side section.",
    explain: &[
        "The module's own calls are followed, through its functions, by the names of the kernel's functions: spinlocks and RCU on one side; \
         mutexes, semaphores, sleeps, waits and allocations with `GFP_KERNEL` on the other. A finding says that each path to the call is in \
         the section. What the caller of the replacement holds is not known, nor are sections that the headers inline; behind a lock that \
         is taken under a condition, and behind calls by pointer, nothing is said.",
        "Another task on the same CPU may want the lock that the sleeping one holds, and waits for ever.",
        "**Symptom:** `BUG: scheduling while atomic`, `BUG: sleeping function called from invalid context` on kernels that check; on others a \
         CPU that stops: `watchdog: BUG: soft lockup`, `rcu: INFO: rcu_preempt self-detected stall`.",
        "**Remedy:** the call before or behind the section; `GFP_ATOMIC`; a lock of the other kind.",
    ],
    check: Check::Module(atomic_sleep),
};

/// Locks that a replacement leaves held.
pub static LOCK_HELD: Rule = Rule {
    id: "lock-held",
    severity: Severity::Warning,
    source: "`Documentation/locking/mutex-design.rst`.",
    summary: "A replacement and a callback release every lock that they take, on each path.",
    explain: &[
        "Locks are recognised as in rule atomic-sleep. A forgotten `Guard` (`mem::forget`) and a return without an unlock are found. A \
         function that takes a lock for its caller, as the first part of a pair, is reported too: there the finding is to be read and left.",
        "**Symptom:** the next task that wants the lock waits for ever: `INFO: task ... blocked for more than 120 seconds`.",
        "**Remedy:** a `Guard`, which releases on each path; never `mem::forget` of one.",
    ],
    check: Check::Module(lock_held),
};

fn name(section: Section) -> &'static str {
    match section {
        Section::Spin => "a spinlock is held",
        Section::Rcu => "it is inside of an RCU read-side section",
        Section::Sleepable => "a mutex or semaphore is held",
    }
}

fn atomic_sleep(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    for misuse in subject.misuses() {
        if let Misuse::Sleeps { place, callee, section } = misuse {
            findings.error(
                subject.place(*place),
                format!(
                    "it calls {callee}, which may sleep, and {} on each path to it: a CPU that wants to go on waits for ever; call it before \
                     or behind the section, or allocate with GFP_ATOMIC",
                    name(*section)
                ),
            );
        }
    }
    Scope::All
}

fn lock_held(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    let replacements =
        table.objects.iter().flat_map(|object| &object.functions).map(|function| function.new_function);
    let entries: Vec<Place> = replacements
        .chain(table.objects.iter().flat_map(|object| object.callback_places.iter().copied()))
        .collect();
    let program = &subject.graph.program;
    for misuse in subject.misuses() {
        if let &Misuse::Leaked { function, section, always } = misuse
            && entries.contains(&program.functions[function].start)
        {
            let when = if always { "on each path" } else { "on some path" };
            findings.warning(
                program.functions[function].name,
                format!(
                    "it returns {when} while {} that it took or entered: the next task that wants it may wait for ever; release it, with a \
                     `Guard`",
                    name(section)
                ),
            );
        }
    }
    Scope::All
}
