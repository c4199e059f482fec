// SPDX-License-Identifier: GPL-2.0-or-later
//! Results of a run: cases, machines, verdicts.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use klp_base::events::{CaseEnd, Verdict};

use crate::transcript::Phase;

/// How a machine came to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It booted.
    Boot,
    /// It continued from a snapshot.
    Snapshot,
    /// It booted, since there was no usable snapshot.
    BootInstead {
        /// Why there was none.
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
    /// How its machine came to run; `None` where there was none.
    pub start: Option<Start>,
    /// Which repetition: from 1.
    pub iteration: u32,
    /// CPU time of QEMU between the case's start and end.
    pub cpu: Duration,
    /// The phases that its script named.
    pub phases: Vec<Phase>,
    /// Bits that the kernel's taint mask gained.
    pub taint: u64,
}

/// Cost of one machine.
#[derive(Clone, Debug)]
pub struct BootRun {
    /// Id of the kernel.
    pub kernel: String,
    /// The cases that ran in it; none where a snapshot was made of it.
    pub cases: Vec<String>,
    /// Acceleration.
    pub accel: String,
    /// How the machine came to run.
    pub start: Start,
    /// From QEMU's start to the guest's greeting; `None` when it never came.
    pub hello: Option<Duration>,
    /// From QEMU's start to its end.
    pub wall: Duration,
    /// CPU time of QEMU.
    pub cpu: Duration,
}

/// Results of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Every case, in the order in which they ended.
    pub cases: Vec<CaseRun>,
    /// Every boot.
    pub boots: Vec<BootRun>,
}

impl Summary {
    /// The gravest verdict of all cases. A run without any is not able, and so is one whose cases are all skipped: nothing
    /// was shown.
    pub fn verdict(&self) -> Verdict {
        Verdict::of_all(self.cases.iter().map(|run| run.end.verdict))
    }

    /// How many machines came to run from a snapshot.
    pub fn restored(&self) -> usize {
        self.boots.iter().filter(|boot| boot.start == Start::Snapshot).count()
    }

    /// CPU time of all machines.
    pub fn cpu(&self) -> Duration {
        self.boots.iter().map(|boot| boot.cpu).sum()
    }

    /// How many cases came to this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|run| run.end.verdict == verdict).count()
    }
}

/// The value behind a mutex; a worker that panicked has not left it half-changed, for nothing that can panic is done
/// while it is held.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use klp_base::events::Check;

    /// A case that came to `verdict`, for the tests of the renderers.
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
