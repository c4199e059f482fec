// SPDX-License-Identifier: GPL-2.0-or-later
//! Runs of cases on kernels: the entry point of this crate.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use klp_base::events::{CaseEnd, Event, Sink};
use klp_guest::SHELL_WORD;

use crate::accel::{self, Accel};
use crate::boot::BootRunner;
use crate::case::Case;
use crate::error::Error;
use crate::guest::Guest;
use crate::machine::GDB_PORT;
use crate::options::Options;
use crate::plan::{self, Group, NotRun, Plan, Provider};
use crate::report::{CaseRun, Summary, locked};
use crate::start::{self, Origin};
use crate::vm::run_terminal;

/// Cases × kernels.
pub struct Suite<'a> {
    /// Kernels with their guest files.
    pub guests: Vec<Guest>,
    /// Cases from [`crate::case::select`].
    pub cases: Vec<Case>,
    /// Resolver of artifacts.
    pub provider: &'a dyn Provider,
    /// Parameters of the run.
    pub options: Options,
}

impl Suite<'_> {
    /// Runs all cases and reports each one in an [`klp_base::events::Event::Case`].
    ///
    /// # Errors
    /// Nothing was selected, or `--accel kvm` is not possible. The result of a case is a verdict, not an error.
    pub fn run(&self, sink: &dyn Sink) -> Result<Summary, Error> {
        let plan = Plan::new(&self.guests, &self.cases, self.provider, self.options.repeat.get())?;
        let accels = self.decide_accels(&plan, sink)?;
        let results = Mutex::new(Summary::default());
        for not_run in &plan.not_run {
            let run = self.not_run(not_run);
            sink.event(&Event::Case(Box::new(run.end.clone())));
            locked(&results).cases.push(run);
        }
        if self.options.gdb {
            sink.note(format!(
                "each boot waits for a debugger: gdb <vmlinux> -ex 'target remote 127.0.0.1:{GDB_PORT}' -ex continue"
            ));
        }
        let workers = if self.options.gdb { 1 } else { self.options.jobs.get() };
        let origins = self.origins(&plan, &accels, &results, sink);
        let mut units = Vec::new();
        for group in plan.groups {
            let origin = origins.iter().find(|(known, _)| known.same_machine(&group));
            let Some((_, origin)) = origin else { continue };
            let parts = match origin {
                Origin::Boot(_) => group.split(workers),
                Origin::Snapshot(..) => group.alone(),
            };
            units.extend(parts.into_iter().map(|part| (part, origin)));
        }
        for_each(workers, units, |(group, origin)| {
            if let (Some(guest), Some(Some(accel))) = (self.guests.get(group.guest), accels.get(group.guest))
            {
                let options = &self.options;
                BootRunner { options, guest, accel, origin, sink, results: &results }.run(&group);
            }
        });
        Ok(results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Origin of the machines of each configuration, with a group of that configuration.
    fn origins<'a>(
        &self,
        plan: &'a Plan,
        accels: &[Option<Accel>],
        results: &Mutex<Summary>,
        sink: &dyn Sink,
    ) -> Vec<(Group, Origin)> {
        let mut configurations: Vec<(&'a Group, usize)> = Vec::new();
        for group in &plan.groups {
            match configurations.iter_mut().find(|(known, _)| known.same_machine(group)) {
                Some((_, cases)) => *cases += group.cases.len(),
                None => configurations.push((group, group.cases.len())),
            }
        }
        let found = Mutex::new(Vec::new());
        for_each(self.options.jobs.get(), configurations, |(group, cases)| {
            if let (Some(guest), Some(Some(accel))) = (self.guests.get(group.guest), accels.get(group.guest))
            {
                let origin = start::origin(&self.options, guest, accel, group, cases, results, sink);
                locked(&found).push((group.clone(), origin));
            }
        });
        found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Acceleration of each guest; `None` for guests without cases.
    fn decide_accels(&self, plan: &Plan, sink: &dyn Sink) -> Result<Vec<Option<Accel>>, Error> {
        let options = &self.options;
        let decide = |(index, guest)| {
            let needed = plan.groups.iter().any(|group| group.guest == index);
            needed
                .then(|| accel::decide(options.accel, guest, options.deadlines, &options.state, sink))
                .transpose()
        };
        self.guests.iter().enumerate().map(decide).collect()
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
            start: None,
            iteration: 1,
            cpu: Duration::ZERO,
            phases: Vec::new(),
            taint: 0,
        }
    }

    /// Boots the first kernel with the files of all cases in its first boot, and opens a shell on the terminal until
    /// the shell ends. `sh /lib/run-case <name>` runs a case in it.
    ///
    /// # Errors
    /// Nothing was selected, or QEMU failed.
    pub fn shell(&self, sink: &dyn Sink) -> Result<(), Error> {
        let plan = Plan::new(&self.guests, &self.cases, self.provider, 1)?;
        for not_run in &plan.not_run {
            sink.warn(format!("{} is not there: {}", not_run.case, not_run.reason));
        }
        let nothing = || Error::NothingSelected { cases: Vec::new(), kernels: Vec::new() };
        let group = plan.groups.first().ok_or_else(nothing)?;
        let guest = self.guests.get(group.guest).ok_or_else(nothing)?;
        let accel =
            accel::decide(self.options.accel, guest, self.options.deadlines, &self.options.state, sink)?;
        let names: Vec<&str> = group.cases.iter().map(|planned| planned.case.name.as_str()).collect();
        sink.note(format!(
            "{} on {}; in the guest: `sh /lib/run-case <name>` for {}; `exit` ends it",
            guest.kernel.id,
            accel.text,
            names.join(", ")
        ));
        let append = format!("{} {SHELL_WORD}", group.append);
        let machine = start::machine(&self.options, guest, &accel, group, append.trim());
        let ended = run_terminal(&machine, &plan::initramfs(guest, &group.cases)?);
        // The cursor may be in the middle of a line after the guest's output.
        let _ = writeln!(std::io::stderr());
        ended
    }
}

/// Calls `work` on each item, on this number of threads.
fn for_each<T: Send>(workers: u32, items: Vec<T>, work: impl Fn(T) + Sync) {
    let queue = Mutex::new(VecDeque::from(items));
    let next = || locked(&queue).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}
