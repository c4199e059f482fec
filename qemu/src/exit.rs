// SPDX-License-Identifier: GPL-2.0-or-later
//! The end of a machine and its diagnosis.

use std::process::ExitStatus;
use std::time::Duration;

use klp_base::events::Verdict;

use crate::console::Console;
use crate::klog;
use crate::link::LinkError;

/// State of a machine at its end.
#[derive(Debug)]
pub(crate) struct End {
    /// Exit status of QEMU; `None` if the harness killed it.
    pub(crate) status: Option<ExitStatus>,
    /// CPU time of QEMU.
    pub(crate) cpu: Duration,
    /// Wall time from QEMU's start to its end.
    pub(crate) wall: Duration,
    /// Console of the machine.
    pub(crate) console: Console,
    /// Standard output and error of QEMU.
    pub(crate) stderr: String,
}

/// Unrequested end of a machine, with its diagnosis.
#[derive(Debug)]
pub(crate) struct GuestExit {
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
    /// True if the host gave the guest too little CPU time for a result.
    pub(crate) starved: bool,
    pub(crate) end: End,
}

/// Diagnoses the end of a machine. Before Hello, a reset without a panic is a refusal of the guest program or a fault
/// of the host; after Hello, a fault of the case or of the kernel.
pub(crate) fn diagnose(end: End, error: &LinkError, greeted: bool) -> GuestExit {
    let when = if greeted { "" } else { " while booting" };
    let (verdict, reason) = if let Some(line) = end.console.panic() {
        (Verdict::Panicked, format!("{line}{when}"))
    } else {
        let words = end.console.last_words();
        match (error, end.status) {
            (LinkError::Deadline(_), _) => match klog::oops(&words) {
                // A killed task does not release its locks; the silence is a consequence.
                Some(oops) => {
                    (Verdict::Failed, format!("the kernel killed a task: `{oops}`; then {error}{when}"))
                }
                None => (Verdict::Hung, format!("{error}{when}")),
            },
            (LinkError::Closed, Some(status)) if status.success() && greeted => {
                if end.console.was_reset() {
                    (Verdict::Failed, "the machine was reset from inside".to_owned())
                } else {
                    (Verdict::Panicked, "the machine reset without a word (a triple fault?)".to_owned())
                }
            }
            (LinkError::Closed, Some(status)) => {
                let said = if end.stderr.trim().is_empty() {
                    said_by_guest(&end.console.text)
                } else {
                    end.stderr.trim()
                };
                (Verdict::NotAble, format!("QEMU ended{when} ({status}): {said}"))
            }
            _ => (Verdict::NotAble, format!("{error}{when}")),
        }
    };
    GuestExit { verdict, reason, starved: matches!(error, LinkError::Starved { .. }), end }
}

fn said_by_guest(console: &str) -> &str {
    let ours = console.lines().rev().find_map(|line| line.find("klp-guest: ").map(|at| &line[at..]));
    ours.unwrap_or("it said nothing; the console's end may tell")
}
