// SPDX-License-Identifier: GPL-2.0-or-later
//! Guests of a fleet: full systems that run at the same time, each reachable by ssh at a port of the host's loopback interface.
//! The caller runs the scripts of the case, and its own programs between them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use klp_base::events::{CaseEnd, Check, Event, Sink, Verdict};

use crate::accel;
use crate::deadline::Deadlines;
use crate::disk;
use crate::error::Error;
use crate::options::Options;
use crate::session;
use crate::system::{Supplies, System};
use crate::system_case::SystemCase;
use crate::transcript::Transcript;
use crate::vm::{BootError, Vm};

/// Running guest of a fleet. It ends with the value.
pub struct FleetGuest {
    /// Host name.
    pub name: String,
    /// Port of 127.0.0.1 that leads to the guest's port 22.
    pub port: u16,
    /// `None` after the guest was lost.
    vm: Option<Vm>,
    deadlines: Deadlines,
    timeout: Duration,
    evidence: PathBuf,
    accel: &'static str,
    _disk: tempfile::TempDir,
}

impl System {
    /// Boots one guest of the fleet of `case`, with the host name `name`.
    ///
    /// # Errors
    /// The host could not start the guest, or the guest did not come up.
    pub fn start_guest(
        &self,
        case: &SystemCase,
        supplies: &Supplies,
        name: &str,
        sink: &dyn Sink,
    ) -> Result<FleetGuest, Error> {
        let Options { accel, deadlines, state, evidence, .. } = self.options();
        let accel = accel::decide(*accel, self.guest(), *deadlines, state, sink)?;
        let temp = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let disk = temp.path().join("disk.qcow2");
        disk::overlay(self.image(), &disk)?;
        let mut files = self.files(case, supplies)?;
        files.add("/etc/hostname", 0o644, format!("{name}\n").into_bytes());
        let port = free_port()?;
        let kernel = &self.guest().kernel.id;
        sink.note(format!("  boot         guest {name} of {} on {kernel}", case.name));
        let evidence = evidence.join(kernel).join(&case.name).join(name);
        let vm = self.boot_fleet_guest(&accel, &disk, &files, port).map_err(|error| match error {
            BootError::Host(error) => error,
            BootError::Exited(exit) => self.did_not_boot(&exit.reason, &exit.end.console.text),
        })?;
        Ok(FleetGuest {
            name: name.to_owned(),
            port,
            vm: Some(vm),
            deadlines: self.deadlines(),
            timeout: case.timeout,
            evidence,
            accel: accel.text,
            _disk: temp,
        })
    }

    /// Reports the claims of a fleet to the sink and returns the verdict.
    pub fn report_fleet(
        &self,
        case: &SystemCase,
        guests: &[FleetGuest],
        checks: Vec<Check>,
        started: Instant,
        sink: &dyn Sink,
    ) -> Verdict {
        let failed = checks.iter().filter(|check| !check.ok).count();
        let passed = failed == 0 && !checks.is_empty();
        let kernel = &self.guest().kernel.id;
        let verdict = if passed { Verdict::Passed } else { Verdict::Failed };
        sink.event(&Event::Case(Box::new(CaseEnd {
            case: case.name.clone(),
            kernel: kernel.clone(),
            verdict,
            reason: (!passed).then(|| format!("{failed} of {} checks failed", checks.len())),
            checks,
            console: String::new(),
            evidence: Some(self.options().evidence.join(kernel).join(&case.name)),
            repeat: self.options().repeat_line(&case.name, kernel),
            accel: guests.first().map(|guest| guest.accel.to_owned()).unwrap_or_default(),
            wall: started.elapsed(),
        })));
        verdict
    }

    fn did_not_boot(&self, reason: &str, console: &str) -> Error {
        let kernel = self.guest().kernel.id.clone();
        Error::Guest { kernel, reason: reason.to_owned(), console: crate::console::tail(console) }
    }
}

/// Port of 127.0.0.1 that no program listens on.
fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind("127.0.0.1:0");
    let port = listener.and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(Error::io("find a free port of", Path::new("127.0.0.1")))
}

impl FleetGuest {
    /// Runs a script of the case, `<script>.sh`, and returns its claims, with the guest's name in front. A script that fails, ends
    /// late or claims nothing is a claim that does not hold.
    ///
    /// # Errors
    /// The host could not write the evidence.
    pub fn run(&mut self, script: &str) -> Result<Vec<Check>, Error> {
        let named = |check: Check| Check { name: format!("{}: {}", self.name, check.name), ..check };
        let Some(mut vm) = self.vm.take() else {
            return Ok(vec![named(failed(format!("{script}.sh runs"), "the guest was lost before"))]);
        };
        let argv = ["/bin/sh", "/case/start", script];
        let mut transcript = Transcript::default();
        let within = self.deadlines.case(self.timeout);
        let ran = session::run_script(&mut vm, &argv, &mut transcript, within, self.deadlines.grace);
        session::write(&self.evidence, &format!("{script}.output.log"), &transcript.bytes)?;
        let mut checks = transcript.checks;
        match ran {
            Ok(exit) => {
                if exit.code != Some(0) || exit.stopped || checks.is_empty() {
                    let detail = format!("it ended with {:?} after {} claims", exit.code, checks.len());
                    checks.push(failed(format!("{script}.sh succeeds"), &detail));
                }
                self.vm = Some(vm);
            }
            Err(error) => {
                let exit = vm.diagnose(&error);
                session::write(&self.evidence, "console.log", exit.end.console.text.as_bytes())?;
                checks.push(failed(format!("{script}.sh ends"), &exit.reason));
            }
        }
        Ok(checks.into_iter().map(named).collect())
    }

    /// Shuts the guest down.
    ///
    /// # Errors
    /// The host could not write the evidence.
    pub fn stop(mut self) -> Result<(), Error> {
        let Some(vm) = self.vm.take() else { return Ok(()) };
        let console = vm.kill().console.text;
        session::write(&self.evidence, "console.log", console.as_bytes())?;
        Ok(())
    }
}

fn failed(name: String, detail: &str) -> Check {
    Check { name, ok: false, detail: Some(detail.to_owned()) }
}
