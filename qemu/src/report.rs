// SPDX-License-Identifier: GPL-2.0-or-later
//! Results of a run: cases, machines, verdicts.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use klp_base::events::{CaseEnd, Verdict};

use crate::transcript::Phase;

/// Kind of start of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Boot.
    Boot,
    /// Restored from a snapshot.
    Snapshot,
    /// Boot because no snapshot was usable.
    BootInstead {
        /// Reason for the boot.
        reason: String,
    },
}

impl fmt::Display for Start {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => out.write_str("booted"),
            Self::Snapshot => out.write_str("from a snapshot"),
            Self::BootInstead { .. } => out.write_str("booted for want of a snapshot"),
        }
    }
}

/// Result and cost of one case on one kernel.
#[derive(Clone, Debug)]
pub struct CaseRun {
    /// Result; the same value as in the event.
    pub end: CaseEnd,
    /// Kind of start of the machine; `None` without a machine.
    pub start: Option<Start>,
    /// Number of the repetition, from 1.
    pub iteration: u32,
    /// CPU time of QEMU between the case's start and end.
    pub cpu: Duration,
    /// Phases in the script of the case.
    pub phases: Vec<Phase>,
    /// New bits in the kernel's taint mask.
    pub taint: u64,
}

/// Cost of one machine.
#[derive(Clone, Debug)]
pub struct BootRun {
    /// Id of the kernel.
    pub kernel: String,
    /// Names of the cases that ran in the machine; empty for the machine that was saved as a snapshot.
    pub cases: Vec<String>,
    /// Acceleration.
    pub accel: String,
    /// Kind of start of the machine.
    pub start: Start,
    /// From QEMU's start to the guest's Hello; `None` without a Hello.
    pub hello: Option<Duration>,
    /// From QEMU's start to its end.
    pub wall: Duration,
    /// CPU time of QEMU.
    pub cpu: Duration,
}

/// Results of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Cases in the order of their ends.
    pub cases: Vec<CaseRun>,
    /// Machines.
    pub boots: Vec<BootRun>,
}

impl Summary {
    /// Worst verdict of all cases. A run without cases is not able, and so is a run with only skipped cases: it proves
    /// nothing.
    pub fn verdict(&self) -> Verdict {
        Verdict::of_all(self.cases.iter().map(|run| run.end.verdict))
    }

    /// Number of machines restored from a snapshot.
    pub fn restored(&self) -> usize {
        self.boots.iter().filter(|boot| boot.start == Start::Snapshot).count()
    }

    /// CPU time of all machines.
    pub fn cpu(&self) -> Duration {
        self.boots.iter().map(|boot| boot.cpu).sum()
    }

    /// Number of cases with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|run| run.end.verdict == verdict).count()
    }
}

/// Locks a mutex. The value is valid even after a panic of another worker: no code that can panic runs under the lock.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use klp_base::events::Check;

    /// Case with `verdict`, for the tests of the renderers.
    pub(crate) fn run(case: &str, kernel: &str, verdict: Verdict) -> CaseRun {
        let ok = matches!(verdict, Verdict::Passed | Verdict::Skipped);
        CaseRun {
            end: CaseEnd {
                case: case.to_owned(),
                kernel: kernel.to_owned(),
                verdict,
                checks: vec![Check {
                    name: "claim".to_owned(),
                    ok,
                    detail: (!ok).then(|| "seen".to_owned()),
                }],
                reason: (verdict != Verdict::Passed).then(|| "why".to_owned()),
                console: if ok { String::new() } else { "last words".to_owned() },
                evidence: None,
                repeat: format!("again {case} {kernel}"),
                accel: "tcg".to_owned(),
                wall: Duration::from_secs(1),
            },
            start: Some(Start::Boot),
            iteration: 1,
            cpu: Duration::ZERO,
            phases: Vec::new(),
            taint: 0,
        }
    }

    #[test]
    fn the_gravest_verdict_counts() {
        let mut summary = Summary::default();
        assert_eq!(summary.verdict(), Verdict::NotAble);
        for (verdict, code) in
            [(Verdict::Passed, 0), (Verdict::Failed, 1), (Verdict::Hung, 6), (Verdict::Panicked, 5)]
        {
            summary.cases.push(run("a", "k", verdict));
            assert_eq!(summary.verdict().exit_code(), code);
        }
        assert_eq!(summary.count(Verdict::Hung), 1);
        summary.cases = vec![run("a", "k", Verdict::Skipped), run("b", "k", Verdict::Skipped)];
        assert_eq!(summary.verdict(), Verdict::NotAble, "nothing was shown");
        summary.cases.push(run("c", "k", Verdict::Passed));
        assert_eq!(summary.verdict().exit_code(), 0);
    }
}
