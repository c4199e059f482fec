// SPDX-License-Identifier: GPL-2.0-or-later
//! Machines for a group of cases: with a snapshot, one machine per case; without, one boot for all cases, and a fresh
//! boot after each case that leaves the kernel unclean, panicked or silent.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use klp_base::events::{CaseEnd, Check, Event, Sink, StageEnd, Verdict};

use crate::accel::Accel;
use crate::console;
use crate::error::Error;
use crate::exit::{End, GuestExit};
use crate::guest::Guest;
use crate::initramfs::Initramfs;
use crate::judge;
use crate::options::Options;
use crate::plan::{Group, Planned, initramfs};
use crate::report::{BootRun, CaseRun, Start, Summary, locked};
use crate::session::{self, CaseError, Finished, GuestLost};
use crate::start::{self, Origin};
use crate::transcript::Phase;
use crate::vm::{BootError, Vm};

/// Runner of case groups on one kernel.
pub(crate) struct BootRunner<'a> {
    pub(crate) options: &'a Options,
    pub(crate) guest: &'a Guest,
    pub(crate) accel: &'a Accel,
    pub(crate) origin: &'a Origin,
    pub(crate) sink: &'a dyn Sink,
    pub(crate) results: &'a Mutex<Summary>,
}

/// Observations of one case.
#[derive(Default)]
struct Facts {
    checks: Vec<Check>,
    phases: Vec<Phase>,
    taint: u64,
    wall: Duration,
    cpu: Duration,
}

/// One machine of a group, for the reports.
struct Run<'a> {
    runner: &'a BootRunner<'a>,
    group: &'a Group,
    /// Kind of start; `None` if no machine started.
    start: Option<Start>,
    /// Time from the start to the guest's Hello.
    hello: Option<Duration>,
}

impl BootRunner<'_> {
    /// Runs every case of the group.
    pub(crate) fn run(&self, group: &Group) {
        let none = Run { runner: self, group, start: None, hello: None };
        let ready = |planned: &&Planned| match fresh(&self.evidence(group, planned)) {
            Ok(()) => true,
            Err(error) => {
                none.not_able(planned, &error);
                false
            }
        };
        let cases: Vec<Planned> = group.cases.iter().filter(ready).cloned().collect();
        let mut rest = cases.as_slice();
        while !rest.is_empty() {
            let done = self.run_machine(group, rest).max(1);
            rest = rest.get(done..).unwrap_or_default();
        }
    }

    /// Starts a machine and runs cases until one leaves it unusable. Returns the number of cases with a verdict.
    fn run_machine(&self, group: &Group, cases: &[Planned]) -> usize {
        if let Some((vm, planned)) =
            cases.first().and_then(|first| Some((self.restore(group, first)?, first)))
        {
            let run = Run { runner: self, group, start: Some(Start::Snapshot), hello: Some(vm.boot) };
            self.run_restored(&run, vm, planned);
            return 1;
        }
        let mut run = Run { runner: self, group, start: Some(self.origin.boot()), hello: None };
        match self.boot(group, cases) {
            Ok(vm) => {
                run.hello = Some(vm.boot);
                self.run_cases(&run, vm, cases)
            }
            Err(BootError::Host(error)) => {
                run.start = None;
                cases.iter().for_each(|planned| run.not_able(planned, &error));
                cases.len()
            }
            Err(BootError::Exited(exit)) => {
                run.lost_before(cases, &exit);
                cases.len()
            }
        }
    }

    /// Machine for one case, restored from the snapshot; `None` if the case must boot instead.
    fn restore(&self, group: &Group, planned: &Planned) -> Option<Vm> {
        let snapshot = self.origin.snapshot()?;
        let machine = start::machine(self.options, self.guest, self.accel, group, &group.append);
        match start::restore(&machine, snapshot, self.options) {
            Ok(vm) => Some(vm),
            Err(reason) => {
                let case = &planned.case.name;
                if self.origin.give_up(&reason) {
                    let kernel = &self.guest.kernel.id;
                    self.sink.warn(format!("{kernel}: {case}, and the cases after it, boot: {reason}"));
                }
                None
            }
        }
    }

    /// Writes the case's files into the guest and runs the case.
    fn run_restored(&self, run: &Run<'_>, mut vm: Vm, planned: &Planned) {
        let mut files = Initramfs::default();
        if let Err(error) = planned.add_to(&mut files, &self.guest.kernel) {
            run.record(&[], &vm.kill());
            return run.not_able(planned, &error);
        }
        let given = files.files().try_for_each(|(path, mode, content)| vm.put(&path, mode, content));
        let cases = std::slice::from_ref(planned);
        match given {
            Ok(()) => drop(self.run_cases(run, vm, cases)),
            Err(error) => run.lost_before(cases, &vm.diagnose(&error)),
        }
    }

    /// Runs cases in a machine until one leaves it unusable. Returns the number of cases with a verdict.
    fn run_cases(&self, run: &Run<'_>, mut vm: Vm, cases: &[Planned]) -> usize {
        let mut before = match session::state(&mut vm) {
            Ok((state, _)) => state,
            Err(error) => {
                run.lost_before(cases, &vm.diagnose(&error));
                return cases.len();
            }
        };
        for (index, planned) in cases.iter().enumerate() {
            let through = cases.get(..=index).unwrap_or_default();
            let evidence = self.evidence(run.group, planned);
            match session::run_case(&mut vm, planned, &before, &self.options.deadlines(), &evidence) {
                Ok(finished) => {
                    let (clean, after) = (finished.clean, finished.after.clone());
                    run.finished(planned, finished, before.taint, &vm.console());
                    before = after;
                    if !clean {
                        run.record(through, &vm.kill());
                        return index + 1;
                    }
                }
                Err(CaseError::GuestLost(GuestLost { error, checks, phases, wall })) => {
                    let exit = vm.diagnose(&error);
                    run.record(through, &exit.end);
                    run.lost(planned, Facts { checks, phases, wall, ..Facts::default() }, &exit);
                    return index + 1;
                }
                Err(CaseError::Host(error)) => {
                    run.record(through, &vm.kill());
                    run.not_able(planned, &error);
                    return index + 1;
                }
            }
        }
        run.power_off(cases, vm);
        cases.len()
    }

    fn boot(&self, group: &Group, cases: &[Planned]) -> Result<Vm, BootError> {
        let (stage, subject) = ("boot".to_owned(), format!("{}: {}", self.guest.kernel.id, names(cases)));
        self.sink.event(&Event::StageStarted { stage: stage.clone(), subject: subject.clone() });
        let started = Instant::now();
        let append = self.append(group);
        let machine = start::machine(self.options, self.guest, self.accel, group, &append);
        let deadlines = self.options.deadlines();
        let booted = initramfs(self.guest, cases)
            .map_err(BootError::Host)
            .and_then(|root| Vm::boot(&machine, &root, deadlines, deadlines.boot));
        let end = if booted.is_ok() { StageEnd::Done } else { StageEnd::Failed };
        self.sink.event(&Event::StageEnded { stage, subject, end, wall: started.elapsed() });
        booted
    }

    /// Kernel parameters of the group; without KASLR for a debugger, which needs the addresses of the image's symbols.
    fn append(&self, group: &Group) -> String {
        if self.options.gdb { format!("{} nokaslr", group.append) } else { group.append.clone() }
    }

    fn evidence(&self, group: &Group, planned: &Planned) -> PathBuf {
        let name = &planned.case.name;
        let name = if group.iteration == 1 { name.clone() } else { format!("{name}.{}", group.iteration) };
        self.options.evidence.join(&self.guest.kernel.id).join(name)
    }
}

fn names(cases: &[Planned]) -> String {
    let names: Vec<&str> = cases.iter().map(|planned| planned.case.name.as_str()).collect();
    names.join(", ")
}

impl Run<'_> {
    fn power_off(&self, cases: &[Planned], vm: Vm) {
        match vm.power_off() {
            Ok(end) => self.record(cases, &end),
            Err(exit) => {
                self.record(cases, &exit.end);
                // All cases passed, but the machine did not power off: the failure is reported with the last case.
                if let Some(last) = cases.last() {
                    let reason = format!("{}, when it was switched off after {}", exit.reason, names(cases));
                    self.lost(last, Facts::default(), &GuestExit { reason, ..*exit });
                }
            }
        }
    }

    fn finished(&self, planned: &Planned, finished: Finished, taint: u64, console: &str) {
        let evidence = self.runner.evidence(self.group, planned);
        if let Err(error) = session::write(&evidence, "console.log", console.as_bytes()) {
            self.runner.sink.warn(error.to_string());
        }
        let Finished { verdict, reason, checks, phases, after, wall, cpu, .. } = finished;
        let facts = Facts { checks, phases, taint: after.taint & !taint, wall, cpu };
        let tail = if verdict == Verdict::Passed { String::new() } else { console::tail(console) };
        self.finish(planned, verdict, reason, facts, tail);
    }

    /// Records a machine that ended before any of these cases ran.
    fn lost_before(&self, cases: &[Planned], exit: &GuestExit) {
        self.record(&[], &exit.end);
        for planned in cases {
            self.lost(planned, Facts::default(), exit);
        }
    }

    /// Records a machine that ended during a case.
    fn lost(&self, planned: &Planned, facts: Facts, exit: &GuestExit) {
        let evidence = self.runner.evidence(self.group, planned);
        let mut kept = session::write(&evidence, "console.log", exit.end.console.text.as_bytes());
        if !exit.end.stderr.is_empty() {
            kept = kept.and(session::write(&evidence, "qemu.log", exit.end.stderr.as_bytes()));
        }
        if let Err(error) = kept {
            self.runner.sink.warn(error.to_string());
        }
        if let Some(text) = &planned.case.panics {
            let (verdict, reason, check) = judge::panicked(text, exit, &facts.checks);
            let mut facts = facts;
            facts.checks.push(check);
            let passed = verdict == Verdict::Passed;
            let tail = if passed { String::new() } else { console::tail(&exit.end.console.text) };
            return self.finish(planned, verdict, reason, facts, tail);
        }
        let tail = console::tail(&exit.end.console.text);
        self.finish(planned, exit.verdict, Some(exit.reason.clone()), facts, tail);
    }

    fn not_able(&self, planned: &Planned, error: &Error) {
        let reason = Some(klp_base::chain(error));
        self.finish(planned, Verdict::NotAble, reason, Facts::default(), String::new());
    }

    fn finish(
        &self,
        planned: &Planned,
        verdict: Verdict,
        reason: Option<String>,
        facts: Facts,
        console: String,
    ) {
        let runner = self.runner;
        let (case, kernel) = (planned.case.name.clone(), runner.guest.kernel.id.clone());
        let accel = runner.accel.text;
        let end = CaseEnd {
            repeat: runner.options.repeat_line(&case, &kernel),
            evidence: Some(runner.evidence(self.group, planned)).filter(|dir| dir.is_dir()),
            case,
            kernel,
            verdict,
            checks: facts.checks,
            reason,
            console,
            accel: self.start.as_ref().map_or_else(|| accel.to_owned(), |start| format!("{accel}, {start}")),
            wall: facts.wall,
        };
        runner.sink.event(&Event::Case(Box::new(end.clone())));
        locked(runner.results).cases.push(CaseRun {
            end,
            start: self.start.clone(),
            iteration: self.group.iteration,
            cpu: facts.cpu,
            phases: facts.phases,
            taint: facts.taint,
        });
    }

    fn record(&self, cases: &[Planned], end: &End) {
        locked(self.runner.results).boots.push(BootRun {
            kernel: self.runner.guest.kernel.id.clone(),
            cases: cases.iter().map(|planned| planned.case.name.clone()).collect(),
            accel: self.runner.accel.text.to_owned(),
            start: self.start.clone().unwrap_or(Start::Boot),
            hello: self.hello,
            wall: end.wall,
            cpu: end.cpu,
        });
    }
}

/// Creates an empty evidence directory for a case, so that files of an earlier run are not taken for new ones.
fn fresh(evidence: &PathBuf) -> Result<(), Error> {
    if evidence.exists() {
        fs::remove_dir_all(evidence).map_err(Error::io("empty", evidence))?;
    }
    fs::create_dir_all(evidence).map_err(Error::io("make the directory", evidence))
}
