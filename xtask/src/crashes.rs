// SPDX-License-Identifier: GPL-2.0-or-later
//! `crashes`: machines without a rule of verify, beside the finding of the rule.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use klp_base::events::{Finding, Severity, Verdict};
use klp_testkit::artifact::{Artifact, Maker};
use klp_vm::case::{self, Case};
use klp_vm::ktap;

use crate::context::Context;
use crate::qemu_test;
use crate::setup::Need;

/// Document with what was seen.
const DOCUMENT: &str = "docs/crashes.md";
/// Directory of the cases. Each has the name of the rule.
const CASES: &str = "tests/crashes";
/// Most lines of a kernel's log that the document shows.
const MOST_LINES: usize = 14;

/// Load modules that rules of verify refuse into guests, and see the kernel crash.
///
/// Example: cargo xtask crashes
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Names of cases; without them all
    filter: Vec<String>,
    /// Write what each rule said and the kernel's last words to docs/crashes.md
    #[arg(long, conflicts_with = "filter")]
    record: bool,
}

/// All cases, as the full tier runs them.
pub(crate) fn run_all() -> Result<ExitCode> {
    run(&Args { filter: Vec::new(), record: false })
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Build, Need::Guest, Need::Sign])?;
    let root = context.project.root();
    let cases = case::load_all(&root.join(CASES)).map_err(klp_vm::Error::from)?;
    let cases = case::select(&cases, &args.filter).map_err(klp_vm::Error::from)?;
    let (mut sections, mut worst) = (String::new(), ExitCode::SUCCESS);
    for id in context.project.kernel_ids() {
        let here: Vec<Case> = cases.iter().filter(|case| case.is_for(&id)).cloned().collect();
        if here.is_empty() {
            continue;
        }
        let mut findings = Vec::new();
        for case in &here {
            findings.push(finding(&context, &id, case)?);
        }
        let guests = qemu_test::Args::of(&[], &id);
        let summary = qemu_test::run_cases(&context, &guests, here.clone())?.context("no case was run")?;
        print!("{}", ktap::render(&summary));
        if summary.verdict() != Verdict::Passed {
            worst = ExitCode::from(summary.verdict().exit_code());
            continue;
        }
        for (case, finding) in here.iter().zip(&findings) {
            sections.push_str(&section(root, &id, case, finding)?);
        }
    }
    if args.record && worst == ExitCode::SUCCESS {
        let file = root.join(DOCUMENT);
        let text = fs::read_to_string(&file).with_context(|| format!("could not read {DOCUMENT}"))?;
        let head = text.split("\n## ").next().unwrap_or_default().trim_end();
        fs::write(&file, format!("{head}\n{sections}"))
            .with_context(|| format!("could not write {DOCUMENT}"))?;
    }
    Ok(worst)
}

/// Finding of the rule with the case's name in its module.
fn finding(context: &Context, kernel: &str, case: &Case) -> Result<Finding> {
    let tree = context.kernel(kernel)?;
    let maker = Maker { project: &context.project, cache: &context.cache, sink: &context.terminal };
    let artifact: Artifact = case.artifacts.first().context("the case has no artifact")?.parse()?;
    let (_, report) = maker.judged(&tree, &artifact)?;
    match report.findings.into_iter().find(|finding| finding.rule == case.name) {
        Some(finding) => Ok(finding),
        None => bail!("{CASES}/{}: rule {} says nothing of {artifact}", case.name, case.name),
    }
}

/// Section of the document: the finding, and the words of the kernel.
fn section(root: &Path, kernel: &str, case: &Case, finding: &Finding) -> Result<String> {
    let evidence = qemu_test::evidence_dir(root, kernel, &case.name);
    let file = evidence.join("console.log");
    let log = fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
    let wanted = case.panics.as_deref().or(case.oops.as_deref()).unwrap_or_default();
    let severity = match finding.severity {
        Severity::Error => "an error",
        Severity::Warning => "a warning",
        Severity::Unchecked => "not checked",
    };
    let mut text = format!(
        "\n## {}\n\n{}: `{}` on {kernel}.\n\n`check` says, {}:\n\n```text\n{}: {}\n```\n\nThe kernel without it:\n\n```text\n",
        finding.rule,
        case.description,
        case.artifacts.join("`, `"),
        severity,
        finding.subject,
        finding.message
    );
    for line in last_words(&log, wanted) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text.push_str("```\n");
    Ok(text)
}

/// Lines of the kernel's complaint, without times, registers and what the document does not need.
fn last_words<'a>(log: &'a str, wanted: &str) -> Vec<&'a str> {
    /// Starts of the lines of an oops that say what went wrong and where.
    const TELLING: [&str; 9] =
        ["BUG: ", "#PF: ", "Oops", "RIP: 0010:", "Kernel panic", "klp: ", "pc : ", "Internal error", "Call "];
    let lines: Vec<&str> = log.lines().map(without_time).collect();
    let is_telling =
        |line: &str| TELLING.iter().any(|start| line.starts_with(start)) || line.contains(wanted);
    let from = lines.iter().position(|line| is_telling(line)).unwrap_or(lines.len());
    let mut found: Vec<&str> = Vec::new();
    let mut in_trace = false;
    for line in lines.get(from..).unwrap_or_default() {
        // Frames that the unwinder only guesses begin with a question mark.
        let is_frame = in_trace && line.starts_with(' ') && !line.contains('?') && !line.contains("TASK>");
        in_trace = line.starts_with("Call Trace")
            || line.starts_with("Call trace")
            || (in_trace && line.starts_with(' '));
        if (is_telling(line) || is_frame) && !found.contains(line) {
            found.push(line);
        }
    }
    if found.len() > MOST_LINES {
        // The line that the case waits for is not left out.
        let last = found.iter().rposition(|line| line.contains(wanted)).filter(|at| *at >= MOST_LINES);
        let last = last.and_then(|at| found.get(at).copied());
        found.truncate(MOST_LINES);
        found.extend(last);
    }
    found
}

/// A line of the kernel's log without its time.
fn without_time(line: &str) -> &str {
    let line = line.trim_end();
    match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_oops_are_found() {
        let log = "boots\n[    1.0] BUG: unable to handle page fault for address: ffff\r\n[    1.1] RAX: 0000\n[    1.1] RIP: 0010:f+0x1/0x2\n\
                   [    1.2] Call Trace:\n[    1.2]  <TASK>\n[    1.3]  ? guessed+0x1/0x2\n[    1.3]  caller+0x1/0x2\n[    1.4] Modules linked in: m\n\
                   [    1.5] Kernel panic - not syncing: end\n";
        assert_eq!(
            last_words(log, "panic - not"),
            [
                "BUG: unable to handle page fault for address: ffff",
                "RIP: 0010:f+0x1/0x2",
                "Call Trace:",
                " caller+0x1/0x2",
                "Kernel panic - not syncing: end"
            ]
        );
        let long: String =
            (0..40).map(|number| format!("BUG: {number}\n")).chain(["the end".to_owned()]).collect();
        let found = last_words(&long, "the end");
        assert_eq!((found.len(), found.last()), (MOST_LINES + 1, Some(&"the end")));
        assert!(last_words("nothing", "x").is_empty());
    }
}
