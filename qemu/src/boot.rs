// SPDX-License-Identifier: GPL-2.0-or-later
//! The boots that a group of cases takes: one where all goes well, a fresh one after each case that leaves the kernel
//! unclean, panicked or silent.

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
use crate::judge;
use crate::machine::Machine;
use crate::options::Options;
use crate::plan::{Group, Planned, initramfs};
use crate::report::{BootRun, CaseRun, Summary, locked};
use crate::session::{self, CaseError, Finished, GuestLost};
use crate::transcript::Phase;
use crate::vm::{BootError, Vm};

/// Boots one kernel for groups of cases.
pub(crate) struct BootRunner<'a> {
    pub(crate) options: &'a Options,
    pub(crate) guest: &'a Guest,
    pub(crate) accel: &'a Accel,
    pub(crate) sink: &'a dyn Sink,
    pub(crate) results: &'a Mutex<Summary>,
}

/// What is known of a case when it ended.
#[derive(Default)]
struct Facts {
    checks: Vec<Check>,
    phases: Vec<Phase>,
    taint: u64,
    wall: Duration,
    cpu: Duration,
}

impl BootRunner<'_> {
    /// Runs every case of the group.
    pub(crate) fn run(&self, group: &Group) {
        let ready = |planned: &&Planned| match fresh(&self.evidence(group, planned)) {
            Ok(()) => true,
            Err(error) => {
                self.not_able(group, planned, &error);
                false
            }
        };
        let cases: Vec<Planned> = group.cases.iter().filter(ready).cloned().collect();
        let mut rest = cases.as_slice();
        while !rest.is_empty() {
            let done = self.run_boot(group, rest).max(1);
            rest = rest.get(done..).unwrap_or_default();
        }
    }

    /// Boots once and runs cases until one leaves the machine unusable; how many have their verdict now.
    fn run_boot(&self, group: &Group, cases: &[Planned]) -> usize {
        let mut vm = match self.boot(group, cases) {
            Ok(vm) => vm,
            Err(BootError::Host(error)) => {
                for planned in cases {
                    self.not_able(group, planned, &error);
                }
                return cases.len();
            }
            Err(BootError::Exited(exit)) => {
                self.record_boot(None, &[], &exit.end);
                for planned in cases {
                    self.died(group, planned, Facts::default(), &exit);
                }
                return cases.len();
            }
        };
        let hello = Some(vm.boot);
        let mut before = match session::state(&mut vm) {
            Ok((state, _)) => state,
            Err(error) => {
                let exit = vm.diagnose(&error);
                self.record_boot(hello, &[], &exit.end);
                for planned in cases {
                    self.died(group, planned, Facts::default(), &exit);
                }
                return cases.len();
            }
        };
        for (index, planned) in cases.iter().enumerate() {
            let through = cases.get(..=index).unwrap_or_default();
            let evidence = self.evidence(group, planned);
            match session::run_case(&mut vm, planned, &before, &self.options.deadlines(), &evidence) {
                Ok(ended) => {
                    let (clean, after) = (ended.clean, ended.after.clone());
                    self.ended(group, planned, ended, before.taint, &vm.console());
                    before = after;
                    if !clean {
                        self.record_boot(hello, through, &vm.kill());
                        return index + 1;
                    }
                }
                Err(CaseError::GuestLost(GuestLost { error, checks, phases, wall })) => {
                    let exit = vm.diagnose(&error);
                    self.record_boot(hello, through, &exit.end);
                    self.died(group, planned, Facts { checks, phases, wall, ..Facts::default() }, &exit);
                    return index + 1;
                }
                Err(CaseError::Host(error)) => {
                    self.record_boot(hello, through, &vm.kill());
                    self.not_able(group, planned, &error);
                    return index + 1;
                }
            }
        }
        self.power_off(group, cases, vm);
        cases.len()
    }

    fn boot(&self, group: &Group, cases: &[Planned]) -> Result<Vm, BootError> {
        let names: Vec<&str> = cases.iter().map(|planned| planned.case.name.as_str()).collect();
        let (stage, subject) = ("boot".to_owned(), format!("{}: {}", self.guest.kernel.id, names.join(", ")));
        self.sink.event(&Event::StageStarted { stage: stage.clone(), subject: subject.clone() });
        let started = Instant::now();
        let machine = Machine {
            kernel: &self.guest.kernel,
            backend: self.accel.backend,
            cpus: group.cpus,
            memory_mib: self.options.memory_mib,
            append: &self.append(group),
            cpu_model: group.cpu_model.as_deref(),
            gdb: self.options.gdb,
            disk: None,
        };
        let deadlines = self.options.deadlines();
        let booted = initramfs(self.guest, cases)
            .map_err(BootError::Host)
            .and_then(|root| Vm::boot(&machine, &root, deadlines, deadlines.boot));
        let end = if booted.is_ok() { StageEnd::Done } else { StageEnd::Failed };
        self.sink.event(&Event::StageEnded { stage, subject, end, wall: started.elapsed() });
        booted
    }

    /// A debugger needs the addresses that the image's symbols have.
    fn append(&self, group: &Group) -> String {
        if self.options.gdb { format!("{} nokaslr", group.append) } else { group.append.clone() }
    }

    fn power_off(&self, group: &Group, cases: &[Planned], vm: Vm) {
        let hello = Some(vm.boot);
        match vm.power_off() {
            Ok(end) => self.record_boot(hello, cases, &end),
            Err(exit) => {
                self.record_boot(hello, cases, &exit.end);
                // Every case passed judgement, yet the machine did not end well: that belongs to the last of them.
                if let Some(last) = cases.last() {
                    let names: Vec<&str> = cases.iter().map(|planned| planned.case.name.as_str()).collect();
                    let reason =
                        format!("{}, when it was switched off after {}", exit.reason, names.join(", "));
                    self.died(group, last, Facts::default(), &GuestExit { reason, ..*exit });
                }
            }
        }
    }

    fn evidence(&self, group: &Group, planned: &Planned) -> PathBuf {
        let name = &planned.case.name;
        let name = if group.iteration == 1 { name.clone() } else { format!("{name}.{}", group.iteration) };
        self.options.evidence.join(&self.guest.kernel.id).join(name)
    }

    fn ended(&self, group: &Group, planned: &Planned, ended: Finished, taint: u64, console: &str) {
        let evidence = self.evidence(group, planned);
        if let Err(error) = session::write(&evidence, "console.log", console.as_bytes()) {
            self.sink.warn(error.to_string());
        }
        let Finished { verdict, reason, checks, phases, after, wall, cpu, .. } = ended;
        let facts = Facts { checks, phases, taint: after.taint & !taint, wall, cpu };
        let tail = if verdict == Verdict::Passed { String::new() } else { console::tail(console) };
        self.finish(group, planned, verdict, reason, facts, tail);
    }

    fn died(&self, group: &Group, planned: &Planned, facts: Facts, exit: &GuestExit) {
        let evidence = self.evidence(group, planned);
        let mut kept = session::write(&evidence, "console.log", exit.end.console.text.as_bytes());
        if !exit.end.stderr.is_empty() {
            kept = kept.and(session::write(&evidence, "qemu.log", exit.end.stderr.as_bytes()));
        }
        if let Err(error) = kept {
            self.sink.warn(error.to_string());
        }
        if let Some(text) = &planned.case.panics {
            let (verdict, reason, check) = judge::panicked(text, exit, &facts.checks);
            let mut facts = facts;
            facts.checks.push(check);
            let passed = verdict == Verdict::Passed;
            let tail = if passed { String::new() } else { console::tail(&exit.end.console.text) };
            return self.finish(group, planned, verdict, reason, facts, tail);
        }
        let tail = console::tail(&exit.end.console.text);
        self.finish(group, planned, exit.verdict, Some(exit.reason.clone()), facts, tail);
    }

    fn not_able(&self, group: &Group, planned: &Planned, error: &Error) {
        let reason = Some(klp_base::chain(error));
        self.finish(group, planned, Verdict::NotAble, reason, Facts::default(), String::new());
    }

    fn finish(
        &self,
        group: &Group,
        planned: &Planned,
        verdict: Verdict,
        reason: Option<String>,
        facts: Facts,
        console: String,
    ) {
        let (case, kernel) = (planned.case.name.clone(), self.guest.kernel.id.clone());
        let end = CaseEnd {
            repeat: self.options.repeat_line(&case, &kernel),
            evidence: Some(self.evidence(group, planned)).filter(|dir| dir.is_dir()),
            case,
            kernel,
            verdict,
            checks: facts.checks,
            reason,
            console,
            accel: self.accel.text.to_owned(),
            wall: facts.wall,
        };
        self.sink.event(&Event::Case(Box::new(end.clone())));
        locked(self.results).cases.push(CaseRun {
            end,
            iteration: group.iteration,
            cpu: facts.cpu,
            phases: facts.phases,
            taint: facts.taint,
        });
    }

    fn record_boot(&self, hello: Option<Duration>, cases: &[Planned], end: &End) {
        locked(self.results).boots.push(BootRun {
            kernel: self.guest.kernel.id.clone(),
            cases: cases.iter().map(|planned| planned.case.name.clone()).collect(),
            accel: self.accel.text.to_owned(),
            hello,
            wall: end.wall,
            cpu: end.cpu,
        });
    }
}

/// Makes an empty directory for a case's evidence: nothing of an earlier run may be taken for this one's.
fn fresh(evidence: &PathBuf) -> Result<(), Error> {
    if evidence.exists() {
        fs::remove_dir_all(evidence).map_err(Error::io("empty", evidence))?;
    }
    fs::create_dir_all(evidence).map_err(Error::io("make the directory", evidence))
}
