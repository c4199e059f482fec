// SPDX-License-Identifier: GPL-2.0-or-later
//! Results in the kernel's test format (`Documentation/dev-tools/ktap.rst`): one subtest per kernel, with one per case
//! in it.

use std::fmt::Write;

use klp_base::events::Verdict;

use crate::report::{CaseRun, Summary};

/// Summary as KTAP version 1.
pub fn render(summary: &Summary) -> String {
    let mut kernels: Vec<&str> = Vec::new();
    for run in &summary.cases {
        if !kernels.contains(&run.end.kernel.as_str()) {
            kernels.push(&run.end.kernel);
        }
    }
    let mut text = format!("KTAP version 1\n1..{}\n", kernels.len());
    for (number, kernel) in (1..).zip(kernels) {
        let runs: Vec<&CaseRun> = summary.cases.iter().filter(|run| run.end.kernel == kernel).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, "  KTAP version 1\n  # Subtest: {}\n  1..{}\n", plain(kernel), runs.len());
        for (number, run) in (1..).zip(&runs) {
            case(&mut text, number, run);
        }
        let ok = word(runs.iter().all(|run| passed(run)));
        let _ = writeln!(text, "{ok} {number} {}", plain(kernel));
    }
    text
}

fn case(text: &mut String, number: usize, run: &CaseRun) {
    let end = &run.end;
    let name = plain(&end.case);
    if !end.checks.is_empty() {
        let _ = write!(text, "    KTAP version 1\n    # Subtest: {name}\n    1..{}\n", end.checks.len());
        for (number, check) in (1..).zip(&end.checks) {
            let _ = writeln!(text, "    {} {number} - {}", word(check.ok), plain(&check.name));
            for line in check.detail.iter().flat_map(|detail| detail.lines()) {
                let _ = writeln!(text, "    # {line}");
            }
        }
    }
    if !passed(run) {
        for line in end.console.lines() {
            let _ = writeln!(text, "  # console: {line}");
        }
        let _ = writeln!(text, "  # repeat: {}", end.repeat);
    }
    let reason = end.reason.as_deref().map(plain).unwrap_or_default();
    let directive = match end.verdict {
        Verdict::Passed => String::new(),
        Verdict::Skipped => format!(" # SKIP {reason}"),
        Verdict::Hung => format!(" # TIMEOUT {reason}"),
        Verdict::NotAble | Verdict::Failed | Verdict::Panicked => {
            format!(" # {}: {reason}", end.verdict.word())
        }
    };
    let _ = writeln!(text, "  {} {number} {name}{directive}", word(passed(run)));
}

fn passed(run: &CaseRun) -> bool {
    matches!(run.end.verdict, Verdict::Passed | Verdict::Skipped)
}

fn word(ok: bool) -> &'static str {
    if ok { "ok" } else { "not ok" }
}

/// Text as one line without `#`, which begins a directive.
fn plain(text: &str) -> String {
    text.replace('#', "").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::run;

    #[test]
    fn nested_by_kernel_and_case() {
        let summary = Summary {
            cases: vec![
                run("a", "k", Verdict::Passed),
                run("b", "k", Verdict::Hung),
                run("a", "l", Verdict::Skipped),
            ],
            boots: Vec::new(),
        };
        let expected = "\
KTAP version 1
1..2
  KTAP version 1
  # Subtest: k
  1..2
    KTAP version 1
    # Subtest: a
    1..1
    ok 1 - claim
  ok 1 a
    KTAP version 1
    # Subtest: b
    1..1
    not ok 1 - claim
    # seen
  # console: last words
  # repeat: again b k
  not ok 2 b # TIMEOUT why
not ok 1 k
  KTAP version 1
  # Subtest: l
  1..1
    KTAP version 1
    # Subtest: a
    1..1
    ok 1 - claim
  ok 1 a # SKIP why
ok 2 l
";
        assert_eq!(render(&summary), expected);
    }
}
