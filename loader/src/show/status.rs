// SPDX-License-Identifier: GPL-2.0-or-later
//! `status`: one screen on the state of this machine, or one line for monitors.

use klp_module::Affected;
use serde::Serialize;

use crate::act::transition;
use crate::console::Console;
use crate::judge::machine::{self, NextBoot, Status, Verdict};
use crate::judge::support;
use crate::judge::tripwires::Tries;
use crate::model::bugs::Bug;
use crate::model::error::Error;
use crate::model::service::{UNIT, UnitState};
use crate::model::system::System;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    status: &'a Status,
}

/// Verb `status`. `check` prints one line and returns the verdict as exit code.
pub(crate) fn run(system: &System, console: &mut Console<'_>, json: bool, check: bool) -> Result<(), Error> {
    if check {
        return run_check(system, console);
    }
    let status = machine::status(system)?;
    if json {
        console.json(&Document { schema: "ferrograft.kpatch.status/1", status: &status });
    } else {
        show(console, &status);
    }
    Ok(())
}

fn run_check(system: &System, console: &mut Console<'_>) -> Result<(), Error> {
    let (verdict, reason) = match machine::status(system) {
        Ok(status) => (status.verdict, status.reason),
        Err(error) => (Verdict::Unknown, error.to_string().replace('\n', " ")),
    };
    console.say(format_args!("KPATCH {} - {reason}", word(verdict)));
    match exit_code(verdict) {
        0 => Ok(()),
        code => Err(Error::Reported { code }),
    }
}

/// Status word of monitoring plug-ins.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Current => "OK",
        Verdict::Outdated => "WARNING",
        Verdict::Stalled | Verdict::AppliedWithBug => "CRITICAL",
        Verdict::Unknown => "UNKNOWN",
    }
}

/// Exit code of monitoring plug-ins.
fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Current => 0,
        Verdict::Outdated => 1,
        Verdict::Stalled | Verdict::AppliedWithBug => 2,
        Verdict::Unknown => 3,
    }
}

fn show(console: &mut Console<'_>, status: &Status) {
    let support = if status.livepatch { "" } else { " (without live patching)" };
    console.say(format_args!("Kernel:      {}{support}", status.kernel));
    show_patches(console, status);
    for bug in status.patches.iter().filter_map(|patch| patch.bug.as_ref()) {
        show_bug(console, bug);
    }
    show_transition(console, status);
    let fixed = if status.fixed.is_empty() {
        "no CVE that a patch names".to_owned()
    } else {
        status.fixed.join(", ")
    };
    console.say(format_args!("Fixed:       {fixed}"));
    for Affected { cve, reason, action } in &status.affected {
        console.say(format_args!("Not fixed:   {cve}: {reason}; {action}"));
    }
    for support in &status.support {
        if support.ended {
            console.say(format_args!("Support:     {}", support::sentence(support)));
        } else {
            console.say(format_args!("Support:     stream {} until {}", support.stream, support.end));
        }
    }
    for Tries { name, description, count, module } in &status.tripwires {
        console.say(format_args!("Tripwire:    {name} of {module}: {count} tries: {description}"));
    }
    for sentence in &status.bypassed {
        console.say(format_args!("Bypassed:    {sentence}"));
    }
    for sentence in &status.not_checked {
        console.say(format_args!("Not checked: {sentence}"));
    }
    show_next_boot(console, &status.next_boot);
    console.say(format_args!("Verdict:     {} - {}", word(status.verdict), status.reason));
}

fn show_patches(console: &mut Console<'_>, status: &Status) {
    let mut head = "Patches:    ";
    for patch in &status.patches {
        let stream = patch.manifest.as_ref().map_or_else(String::new, |manifest| {
            let version = manifest.version.map(|(v, r)| format!(" {v}-{r}")).unwrap_or_default();
            format!(", stream {}{version}", manifest.stream)
        });
        let unconfirmed = if patch.unconfirmed { ", not confirmed yet" } else { "" };
        let bug = if patch.bug.is_some() { ", applied-with-bug" } else { "" };
        console.say(format_args!("{head} {} [{}]{stream}{unconfirmed}{bug}", patch.module, patch.state));
        head = "            ";
    }
    if status.patches.is_empty() {
        console.say("Patches:     none");
    }
}

/// Prints the head of a report; the record has the whole.
fn show_bug(console: &mut Console<'_>, bug: &Bug) {
    /// Number of lines of the trace.
    const LINES: usize = 12;
    let taint = if bug.taint.is_empty() { String::new() } else { format!(", taint flags {}", bug.taint) };
    console.say(format_args!("Bug:         {}: {} in {}{taint}", bug.time, bug.module, bug.function));
    for line in bug.trace.iter().take(LINES) {
        console.say(format_args!("             {line}"));
    }
    let more = bug.trace.len().saturating_sub(LINES) + bug.left_out;
    if more != 0 {
        console.say(format_args!("             ({more} more lines: kpatch status --json, journalctl -k)"));
    }
}

fn show_transition(console: &mut Console<'_>, status: &Status) {
    let Some(transition) = &status.transition else {
        console.say("Transition:  none");
        return;
    };
    console.say(format_args!("Transition:  {}, {} tasks to go", transition.module, transition.pending()));
    for blocker in &transition.blockers {
        console.say(format_args!("             {}", blocker.task.place()));
        console.say(format_args!("               {}", blocker.advice));
    }
    transition::report_hidden(console, transition.hidden_tasks);
}

fn show_next_boot(console: &mut Console<'_>, NextBoot { service, loads, skips, reasons }: &NextBoot) {
    let loads = if loads.is_empty() { "nothing".to_owned() } else { loads.join(", ") };
    console.say(match service {
        UnitState::Enabled => format!("Next boot:   {UNIT} loads {loads}"),
        UnitState::Disabled => {
            format!("Next boot:   nothing: {UNIT} is disabled (it would load {loads})")
        }
        UnitState::Masked => {
            format!("Next boot:   nothing: {UNIT} is masked (it would load {loads})")
        }
        UnitState::Unknown => {
            format!("Next boot:   there is no systemd here; kpatch load --all would load {loads}")
        }
    });
    for (skip, reason) in skips.iter().zip(reasons) {
        console
            .say(format_args!("             leaves {skip} out: {reason}; kpatch load {skip} tries it again"));
    }
}
