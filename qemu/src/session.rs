// SPDX-License-Identifier: GPL-2.0-or-later
//! One case in a running machine: requests, evidence, verdict.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use klp_base::events::{Check, Verdict};
use klp_guest::{Exit, Reply, Request, Run, State};

use crate::deadline::Deadlines;
use crate::error::Error;
use crate::judge;
use crate::klog;
use crate::link::LinkError;
use crate::plan::{Planned, guest_evidence};
use crate::transcript::{Phase, Transcript};
use crate::vm::Vm;

/// A case that ended while its machine continued to run.
pub(crate) struct Finished {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Option<String>,
    pub(crate) checks: Vec<Check>,
    pub(crate) phases: Vec<Phase>,
    /// True if the next case may use the same machine.
    pub(crate) clean: bool,
    /// Kernel state after the case.
    pub(crate) after: State,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// A case whose machine ended, or whose guest program stopped answering, before the case ended.
pub(crate) struct GuestLost {
    pub(crate) error: LinkError,
    pub(crate) checks: Vec<Check>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) wall: Duration,
}

/// Reasons for a case without its own verdict.
pub(crate) enum CaseError {
    GuestLost(GuestLost),
    Host(Error),
}

impl From<Error> for CaseError {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

/// Kernel state, and the kernel log since the last request.
pub(crate) fn state(vm: &mut Vm) -> Result<(State, String), LinkError> {
    vm.send(&Request::State)?;
    match vm.answer()? {
        (Reply::State(state), log) => Ok((state, String::from_utf8_lossy(&log).into_owned())),
        (other, _) => Err(LinkError::Unexpected(format!("{other:?} when asked for the state"))),
    }
}

/// Runs one case. `before` is the kernel state before it.
pub(crate) fn run_case(
    vm: &mut Vm,
    planned: &Planned,
    before: &State,
    deadlines: &Deadlines,
    evidence: &Path,
) -> Result<Finished, CaseError> {
    let case = &planned.case;
    let within = deadlines.case(case.timeout);
    let (started, cpu) = (Instant::now(), vm.cpu());
    let mut transcript = Transcript::default();
    let output = run_planned(vm, &mut transcript, planned, within, deadlines.grace);
    let (wall, cpu) = (started.elapsed(), vm.cpu().saturating_sub(cpu));
    write(evidence, "output.log", &transcript.bytes)?;
    let RunOutput { exit, after, log, files } = match output {
        Ok(output) => output,
        Err(error) => {
            let Transcript { checks, phases, .. } = transcript;
            return Err(CaseError::GuestLost(GuestLost { error, checks, phases, wall }));
        }
    };
    for (path, content) in &files {
        if let Some(path) = inside(&guest_evidence(&case.name), path) {
            write(evidence, &path, content)?;
        }
    }
    write(evidence, "kernel.log", klog::log_for_people(&log).as_bytes())?;
    if !case.dmesg.is_empty() {
        let seen: String = klog::filtered(&log, &case.dmesg).iter().map(|line| format!("{line}\n")).collect();
        write(evidence, "dmesg.seen", seen.as_bytes())?;
    }
    transcript.checks.extend(judge::dmesg_check(case, &log));
    transcript.checks.extend(judge::oops_check(case, &log));
    transcript.checks.extend(judge::warning_check(case, &log));
    let unclean = match case.oops {
        None => judge::uncleanness(case, before, &after, &log),
        // The boot has no other case, and the killed task may leave the kernel in any state.
        Some(_) => Vec::new(),
    };
    let oops = klog::oops_in(&log);
    let (verdict, reason) = judge::judge(case, within, &exit, &transcript, &unclean, oops.as_deref());
    Ok(Finished {
        verdict,
        reason,
        checks: transcript.checks,
        phases: transcript.phases,
        clean: unclean.is_empty() && !exit.stopped,
        after,
        wall,
        cpu,
    })
}

/// Results of one run from the guest program.
struct RunOutput {
    exit: Exit,
    after: State,
    log: String,
    files: BTreeMap<String, Vec<u8>>,
}

fn run_planned(
    vm: &mut Vm,
    transcript: &mut Transcript,
    planned: &Planned,
    within: Duration,
    grace: Duration,
) -> Result<RunOutput, LinkError> {
    let argv = ["/bin/sh", "/lib/run-case", &planned.case.name];
    let exit = run_script(vm, &argv, transcript, within, grace)?;
    let (after, log) = state(vm)?;
    let files = fetch(vm, &format!("{}/**", guest_evidence(&planned.case.name)))?;
    Ok(RunOutput { exit, after, log, files })
}

/// Runs a script for at most `within` of the time that the host gives the guest. After that, the script is stopped,
/// which may take the time `grace`.
pub(crate) fn run_script(
    vm: &mut Vm,
    argv: &[&str],
    transcript: &mut Transcript,
    within: Duration,
    grace: Duration,
) -> Result<Exit, LinkError> {
    let (started, cpu) = (Instant::now(), vm.cpu());
    vm.send(&Request::Run(Run {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        env: Vec::new(),
        cwd: "/".to_owned(),
    }))?;
    let mut countdown = vm.countdown(within);
    let mut stopped = false;
    loop {
        match vm.receive(&countdown) {
            Ok((Reply::Output { .. }, bytes)) => {
                transcript.push(&bytes, || (started.elapsed(), vm.cpu().saturating_sub(cpu)));
            }
            Ok((Reply::Exited(exit), _)) => {
                transcript.end(|| (started.elapsed(), vm.cpu().saturating_sub(cpu)));
                return Ok(exit);
            }
            Ok((other, _)) => {
                return Err(LinkError::Unexpected(format!("{other:?} when asked to run a script")));
            }
            Err(LinkError::Deadline(_)) if !stopped => {
                stopped = true;
                vm.send(&Request::Stop)?;
                countdown = vm.countdown(grace);
            }
            Err(LinkError::Deadline(_)) => return Err(LinkError::Deadline(within + grace)),
            Err(error) => return Err(error),
        }
    }
}

fn fetch(vm: &mut Vm, pattern: &str) -> Result<BTreeMap<String, Vec<u8>>, LinkError> {
    vm.send(&Request::Get { patterns: vec![pattern.to_owned()] })?;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    loop {
        match vm.answer()? {
            (Reply::File { path, .. }, piece) => files.entry(path).or_default().extend(piece),
            (Reply::NoFile { path, error }, _) => {
                files.insert(path, format!("(could not be read: {error})\n").into_bytes());
            }
            (Reply::Done, _) => return Ok(files),
            (other, _) => return Err(LinkError::Unexpected(format!("{other:?} when asked for files"))),
        }
    }
}

/// Path of a guest file relative to `root`; `None` if it leads outside.
fn inside(root: &str, path: &str) -> Option<String> {
    let relative = path.strip_prefix(root)?.trim_start_matches('/');
    let plain = Path::new(relative).components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !relative.is_empty()).then(|| relative.to_owned())
}

/// Writes one evidence file.
pub(crate) fn write(evidence: &Path, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
    let path = evidence.join(name);
    let parent = path.parent().unwrap_or(evidence);
    fs::create_dir_all(parent).map_err(Error::io("make the directory", parent))?;
    fs::write(&path, content).map_err(Error::io("write", &path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn evidence_stays_in_its_directory() {
        assert_eq!(
            inside("/run/evidence/a", "/run/evidence/a/p/proc/version").as_deref(),
            Some("p/proc/version")
        );
        for path in ["/etc/passwd", "/run/evidence/a/../../../etc/x", "/run/evidence/a"] {
            assert_eq!(inside("/run/evidence/a", path), None, "{path}");
        }
    }
}
