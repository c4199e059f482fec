// SPDX-License-Identifier: GPL-2.0-or-later
//! Runs cases on kernels: the entry of this crate.

use std::collections::VecDeque;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use klp_base::events::{CaseEnd, Sink, Verdict};
use klp_guest::SHELL_WORD;

use crate::accel::{self, Accel, AccelChoice};
use crate::boot::Booter;
use crate::case::Case;
use crate::deadline::Deadlines;
use crate::error::Error;
use crate::machine::{GDB_PORT, Machine, run_terminal};
use crate::plan::{self, Group, NotRun, Plan, Provider};
use crate::target::Target;
use crate::transcript::Phase;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What runs the guests.
    pub accel: AccelChoice,
    /// Boots at a time. Cases that share a boot run one after the other in it.
    pub jobs: NonZeroU32,
    /// How often everything is run, each time in fresh boots.
    pub repeat: NonZeroU32,
    /// Every boot waits for a debugger, and no deadline holds.
    pub gdb: bool,
    /// Memory of each guest.
    pub memory_mib: u32,
    /// Directory for evidence: `<kernel>/<case>/` is made anew for each case.
    pub evidence: PathBuf,
    /// Directory that remembers whether KVM works on this boot of the host.
    pub state: PathBuf,
    /// The command that repeats a case; `{case}` and `{kernel}` are filled in.
    pub repeat_command: String,
    /// How long each phase may take.
    pub deadlines: Deadlines,
}

impl Options {
    /// The usual options, with deadlines stretched by the environment.
    ///
    /// # Errors
    /// The variable for the deadlines is wrong.
    pub fn new(evidence: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self {
            accel: AccelChoice::Auto,
            jobs: NonZeroU32::MIN,
            repeat: NonZeroU32::MIN,
            gdb: false,
            memory_mib: 512,
            evidence: evidence.into(),
            state: state.into(),
            repeat_command: "cargo xtask qemu-test {case} --kernel {kernel}".to_owned(),
            deadlines: Deadlines::from_env()?,
        })
    }

    pub(crate) fn repeat_line(&self, case: &str, kernel: &str) -> String {
        self.repeat_command.replace("{case}", case).replace("{kernel}", kernel)
    }

    /// The deadlines that hold: none to speak of while a debugger is attached.
    pub(crate) fn deadlines(&self) -> Deadlines {
        if self.gdb { self.deadlines.debugging() } else { self.deadlines }
    }
}

/// Cases × kernels.
pub struct Suite<'a> {
    /// The kernels.
    pub targets: Vec<Target>,
    /// The cases, as [`crate::case::select`] gives them.
    pub cases: Vec<Case>,
    /// What resolves artifacts.
    pub provider: &'a dyn Provider,
    /// How to run.
    pub options: Options,
}

/// One case on one kernel, with what it cost.
#[derive(Clone, Debug)]
pub struct CaseRun {
    /// What came of it; the same as in the event.
    pub end: CaseEnd,
    /// Which repetition: from 1.
    pub iteration: u32,
    /// CPU time of QEMU between the case's start and end.
    pub cpu: Duration,
    /// The phases that its script named.
    pub phases: Vec<Phase>,
    /// Bits that the kernel's taint mask gained.
    pub taint: u64,
}

/// One boot, with what it cost.
#[derive(Clone, Debug)]
pub struct BootRun {
    /// Id of the kernel.
    pub kernel: String,
    /// The cases that ran in it.
    pub cases: Vec<String>,
    /// What the guest was emulated or accelerated by.
    pub accel: String,
    /// From QEMU's start to the guest's greeting; `None` when it never came.
    pub hello: Option<Duration>,
    /// From QEMU's start to its end.
    pub wall: Duration,
    /// CPU time of QEMU.
    pub cpu: Duration,
}

/// What came of everything.
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

    /// How many cases came to this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|run| run.end.verdict == verdict).count()
    }
}

impl Suite<'_> {
    /// Runs everything and says what came of each case in an [`klp_base::events::Event::Case`].
    ///
    /// # Errors
    /// Nothing was selected, or `--accel kvm` cannot be had. What happens to a case is a verdict, not an error.
    pub fn run(&self, sink: &dyn Sink) -> Result<Summary, Error> {
        let plan = Plan::new(&self.targets, &self.cases, self.provider, self.options.repeat.get())?;
        let accels = self.decide_accels(&plan, sink)?;
        let results = Mutex::new(Summary::default());
        for not_run in &plan.not_run {
            let run = self.not_run(not_run);
            sink.event(&klp_base::events::Event::Case(Box::new(run.end.clone())));
            locked(&results).cases.push(run);
        }
        if self.options.gdb {
            sink.note(format!(
                "each boot waits for a debugger: gdb <vmlinux> -ex 'target remote 127.0.0.1:{GDB_PORT}' -ex continue"
            ));
        }
        let workers = if self.options.gdb { 1 } else { self.options.jobs.get() };
        let groups = plan.groups.into_iter().flat_map(|group| group.split(workers));
        let queue = Mutex::new(groups.collect::<VecDeque<_>>());
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(group) = next(&queue) {
                        if let (Some(target), Some(Some(accel))) =
                            (self.targets.get(group.target), accels.get(group.target))
                        {
                            let booter =
                                Booter { options: &self.options, target, accel, sink, results: &results };
                            booter.run(&group);
                        }
                    }
                });
            }
        });
        Ok(results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// What runs each target; `None` for those that nothing is run on.
    fn decide_accels(&self, plan: &Plan, sink: &dyn Sink) -> Result<Vec<Option<Accel>>, Error> {
        let options = &self.options;
        let decide = |(index, target)| {
            let needed = plan.groups.iter().any(|group| group.target == index);
            needed
                .then(|| accel::decide(options.accel, target, options.deadlines, &options.state, sink))
                .transpose()
        };
        self.targets.iter().enumerate().map(decide).collect()
    }

    fn not_run(&self, not_run: &NotRun) -> CaseRun {
        CaseRun {
            end: CaseEnd {
                case: not_run.case.clone(),
                kernel: not_run.kernel.clone(),
                verdict: not_run.verdict,
                checks: Vec::new(),
                reason: Some(not_run.reason.clone()),
                console: String::new(),
                evidence: None,
                repeat: self.options.repeat_line(&not_run.case, &not_run.kernel),
                accel: "not booted".to_owned(),
                wall: Duration::ZERO,
            },
            iteration: 1,
            cpu: Duration::ZERO,
            phases: Vec::new(),
            taint: 0,
        }
    }

    /// Boots the first kernel with the files of all cases that would share its first boot, and gives the terminal a
    /// shell in it until that ends. `sh /lib/run-case <name>` runs a case there.
    ///
    /// # Errors
    /// Nothing was selected, or QEMU failed.
    pub fn shell(&self, sink: &dyn Sink) -> Result<(), Error> {
        let plan = Plan::new(&self.targets, &self.cases, self.provider, 1)?;
        for not_run in &plan.not_run {
            sink.warn(format!("{} is not there: {}", not_run.case, not_run.reason));
        }
        let nothing = || Error::NothingSelected { cases: Vec::new(), kernels: Vec::new() };
        let group = plan.groups.first().ok_or_else(nothing)?;
        let target = self.targets.get(group.target).ok_or_else(nothing)?;
        let accel =
            accel::decide(self.options.accel, target, self.options.deadlines, &self.options.state, sink)?;
        let names: Vec<&str> = group.cases.iter().map(|planned| planned.case.name.as_str()).collect();
        sink.note(format!(
            "{} on {}; in the guest: `sh /lib/run-case <name>` for {}; `exit` ends it",
            target.kernel.id,
            accel.text,
            names.join(", ")
        ));
        let append = format!("{} {SHELL_WORD}", group.append);
        let machine = Machine {
            kernel: &target.kernel,
            backend: accel.backend,
            cpus: group.cpus,
            memory_mib: self.options.memory_mib,
            append: append.trim(),
            cpu_model: group.cpu_model.as_deref(),
            gdb: self.options.gdb,
            disk: None,
        };
        let ended = run_terminal(&machine, &plan::initramfs(target, &group.cases)?);
        // QEMU's stdio leaves the cursor where the guest left it.
        let _ = writeln!(std::io::stderr());
        ended
    }
}

fn next(queue: &Mutex<VecDeque<Group>>) -> Option<Group> {
    locked(queue).pop_front()
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
