// SPDX-License-Identifier: GPL-2.0-or-later
//! Results as JUnit XML: one suite per kernel, one test case per case.

use std::path::Path;

use klp_base::cache::write_durable;
use klp_base::events::Verdict;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::error::Error;
use crate::report::{CaseRun, Start, Summary};

/// Writes the report atomically: a reader finds the old or the new report, complete.
///
/// # Errors
/// The report cannot be made or written.
pub fn write(path: &Path, summary: &Summary) -> Result<(), Error> {
    Ok(write_durable(path, render(summary)?.as_bytes())?)
}

/// Text of the report.
///
/// # Errors
/// The XML writer failed.
pub fn render(summary: &Summary) -> Result<String, Error> {
    let mut report = Report::new("ferrograft");
    for run in &summary.cases {
        let suite = match report.test_suites.iter_mut().find(|suite| suite.name.as_str() == run.end.kernel) {
            Some(suite) => suite,
            None => {
                report.add_test_suite(TestSuite::new(run.end.kernel.clone()));
                let Some(suite) = report.test_suites.last_mut() else { continue };
                suite
            }
        };
        suite.add_test_case(test_case(run));
    }
    // A suite counts its cases when they are added, but the report's counters need its suites added again.
    let suites = std::mem::take(&mut report.test_suites);
    let mut report = Report::new("ferrograft");
    report.add_test_suites(suites);
    Ok(report.to_string()?)
}

fn test_case(run: &CaseRun) -> TestCase {
    let end = &run.end;
    let reason = end.reason.clone().unwrap_or_default();
    let status = match end.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason);
            status
        }
        Verdict::NotAble => non_success(NonSuccessKind::Error, run),
        Verdict::Failed | Verdict::Hung | Verdict::Panicked => non_success(NonSuccessKind::Failure, run),
    };
    let name = if run.iteration == 1 { end.case.clone() } else { format!("{}.{}", end.case, run.iteration) };
    let mut case = TestCase::new(name, status);
    case.set_classname(end.kernel.clone());
    case.set_assertions(end.checks.len());
    case.set_time(end.wall);
    case.set_system_out(output(run));
    case
}

fn non_success(kind: NonSuccessKind, run: &CaseRun) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(run.end.verdict.word());
    status.set_message(run.end.reason.clone().unwrap_or_default());
    status.set_description(format!("repeat: {}", run.end.repeat));
    status
}

fn output(run: &CaseRun) -> String {
    let end = &run.end;
    let mut lines = vec![format!("run by {}", end.accel)];
    if let Some(Start::BootInstead { reason }) = &run.start {
        lines.push(format!("no snapshot: {reason}"));
    }
    for check in &end.checks {
        lines.push(format!("{} - {}", if check.ok { "ok" } else { "not ok" }, check.name));
        lines.extend(check.detail.iter().flat_map(|detail| detail.lines()).map(|line| format!("# {line}")));
    }
    if !end.console.is_empty() {
        lines.push("end of the guest's console:".to_owned());
        lines.push(end.console.clone());
    }
    lines.extend(end.evidence.iter().map(|dir| format!("evidence: {}", dir.display())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::run;

    #[test]
    fn counts_and_texts() {
        let summary = Summary {
            cases: vec![
                run("a", "k", Verdict::Passed),
                run("b", "k", Verdict::Panicked),
                run("c", "k", Verdict::NotAble),
                run("a", "l", Verdict::Skipped),
            ],
            boots: Vec::new(),
        };
        let text = render(&summary).unwrap();
        assert!(
            text.contains(r#"<testsuites name="ferrograft" tests="4" skipped="1" failures="1" errors="1""#),
            "{text}"
        );
        assert!(
            text.contains(r#"<testsuite name="k" tests="3" skipped="0" errors="1" failures="1""#),
            "{text}"
        );
        assert!(text.contains(r#"type="PANICKED""#) && text.contains("repeat: again b k"), "{text}");
        assert!(text.contains("not ok - claim") && text.contains("last words"), "{text}");
        assert!(text.contains(r#"<skipped message="why""#), "{text}");
    }
}
