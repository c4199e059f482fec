// SPDX-License-Identifier: GPL-2.0-or-later
//! Verdict of a case from its observations. No I/O.

use std::time::Duration;

use klp_base::events::{Check, Verdict};
use klp_guest::{Exit, State};

use crate::case::Case;
use crate::exit::GuestExit;
use crate::klog::{filtered, log_texts, oops};
use crate::transcript::Transcript;

/// Parts of kernel messages that a passing case does not leave in the log.
const COMPLAINTS: [&str; 7] = [
    WARNING,
    "BUG:",
    "Oops",
    "general protection",
    "INFO: task ",
    "detected stall",
    "Unable to handle kernel",
];
/// Part of the first line of a warning: `__warn()` in `kernel/panic.c`.
const WARNING: &str = "WARNING:";
/// Maximum number of complaints in a report.
const SHOWN: usize = 6;

/// Compares the kernel log line by line with the expected lines; `*` matches any characters.
pub(crate) fn dmesg_check(case: &Case, log: &str) -> Option<Check> {
    let expected = case.dmesg_expected.as_ref()?;
    let seen = filtered(log, &case.dmesg);
    let differs = |at: &usize| match (expected.get(*at), seen.get(*at)) {
        (Some(pattern), Some(line)) => !wildcard(pattern, line),
        _ => true,
    };
    let first = (0..expected.len().max(seen.len())).find(differs);
    let detail = first.map(|at| {
        let shown = |line: Option<&str>| line.map_or_else(|| "(nothing more)".to_owned(), |line| format!("`{line}`"));
        format!(
            "line {}: expected {}, the kernel said {}\nif the kernel is right: copy dmesg.seen from the evidence to {}",
            at + 1,
            shown(expected.get(at).map(String::as_str)),
            shown(seen.get(at).copied()),
            case.dir.join("dmesg.expected").display()
        )
    });
    Some(Check {
        name: "the kernel's log is as dmesg.expected says".to_owned(),
        ok: detail.is_none(),
        detail,
    })
}

/// Checks for the expected message in the kernel log of a killed task.
pub(crate) fn oops_check(case: &Case, log: &str) -> Option<Check> {
    let expected = case.oops.as_ref()?;
    let texts = log_texts(log);
    let ok = texts.iter().any(|text| text.contains(expected.as_str())) && oops(&texts).is_some();
    let detail = (!ok).then(|| format!("no `{expected}`, or no oops, is in the kernel's log"));
    Some(Check { name: format!("the kernel kills a task: {expected}"), ok, detail })
}

/// Checks for the expected warning in the kernel log.
pub(crate) fn warning_check(case: &Case, log: &str) -> Option<Check> {
    let expected = case.warns.as_ref()?;
    let ok = !expected_warnings(case, &log_texts(log)).is_empty();
    let detail = (!ok).then(|| format!("no warning with `{expected}` is in the kernel's log"));
    Some(Check { name: format!("the kernel warns: {expected}"), ok, detail })
}

/// Positions of the `WARNING:` lines with the case's text. The message of WARN() stands on the lines before, behind the line
/// that begins the report.
fn expected_warnings(case: &Case, texts: &[&str]) -> Vec<usize> {
    const BEGIN: &str = "[ cut here ]";
    let Some(expected) = &case.warns else { return Vec::new() };
    let has_text = |at: &usize| {
        let before = texts.get(..*at).unwrap_or_default();
        let begin = before.iter().rposition(|text| text.contains(BEGIN));
        let message = begin.and_then(|begin| before.get(begin..)).unwrap_or_default();
        // A line that only mentions a warning has no message of its own.
        let message = if message.iter().any(|text| text.contains(WARNING)) { &[] } else { message };
        message.iter().chain(texts.get(*at)).any(|text| text.contains(expected.as_str()))
    };
    let warnings = texts.iter().enumerate().filter(|(_, text)| text.contains(WARNING));
    warnings.map(|(at, _)| at).filter(has_text).collect()
}

fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| wildcard(rest, &tail[at..]))
        }),
    }
}

/// Effects of a case on the kernel, as text, except for the warnings that it must cause; empty if there are none.
pub(crate) fn uncleanness(case: &Case, before: &State, after: &State, log: &str) -> Vec<String> {
    let mut found = Vec::new();
    let list = |title: &str, names: Vec<&String>| {
        (!names.is_empty()).then(|| {
            let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
            format!("{title} {}", names.join(", "))
        })
    };
    found.extend(list(
        "still loaded:",
        after.modules.iter().filter(|name| !before.modules.contains(name)).collect(),
    ));
    found.extend(list(
        "no longer loaded:",
        before.modules.iter().filter(|name| !after.modules.contains(name)).collect(),
    ));
    if after.lost {
        found.push("its log wrapped, so that not all of it could be checked".to_owned());
    }
    let texts = log_texts(log);
    let expected = expected_warnings(case, &texts);
    let complains = |(at, text): &(usize, &&str)| {
        !expected.contains(at) && COMPLAINTS.iter().any(|words| text.contains(words))
    };
    found.extend(texts.iter().enumerate().filter(complains).take(SHOWN).map(|(_, text)| format!("`{text}`")));
    found
}

/// Verdict and reasons of a case whose machine continued to run.
pub(crate) fn judge(
    case: &Case,
    within: Duration,
    exit: &Exit,
    seen: &Transcript,
    unclean: &[String],
    oops: Option<&str>,
) -> (Verdict, Option<String>) {
    let mut reasons = Vec::new();
    let oops = oops.filter(|_| case.oops.is_none());
    reasons.extend(oops.map(|oops| format!("the kernel killed a task: `{oops}`")));
    if exit.stopped {
        reasons.push(format!("run.sh did not end within {:.0} s", within.as_secs_f64()));
    } else {
        match (exit.code, exit.signal) {
            (Some(0), _) => {}
            (Some(code), _) => reasons.push(format!("run.sh ended with exit status {code}")),
            (None, signal) => {
                reasons.push(format!("run.sh was ended by signal {}", signal.unwrap_or_default()));
            }
        }
        if seen.checks.is_empty() {
            reasons.push("run.sh made no check".to_owned());
        }
    }
    if case.panics.is_some() {
        reasons.push("the kernel was to panic, and did not".to_owned());
    }
    if seen.overflow {
        reasons.push("it printed more than is kept".to_owned());
    }
    let not_ok = seen.checks.iter().filter(|check| !check.ok).count();
    if not_ok > 0 {
        reasons.push(format!("{not_ok} of {} checks not ok", seen.checks.len()));
    }
    if !unclean.is_empty() {
        reasons.push(format!("left the kernel unclean: {}", unclean.join("; ")));
    }
    let verdict = match (exit.stopped, reasons.is_empty()) {
        // A script that waits for a lock of a killed task is not a hang.
        (true, _) if oops.is_none() => Verdict::Hung,
        (false, true) => Verdict::Passed,
        _ => Verdict::Failed,
    };
    let reason = (!reasons.is_empty()).then(|| format!("{}: {}", case.name, reasons.join("; ")));
    (verdict, reason)
}

/// Verdict of a case that must end in a panic with this text: verdict, reason, and the check of the panic.
pub(crate) fn panicked(text: &str, exit: &GuestExit, checks: &[Check]) -> (Verdict, Option<String>, Check) {
    let seen = exit.verdict == Verdict::Panicked
        && exit.end.console.last_words().iter().any(|line| line.contains(text));
    let check = Check {
        name: format!("the kernel panics: {text}"),
        ok: seen,
        detail: (!seen).then(|| exit.reason.clone()),
    };
    match (seen, checks.iter().filter(|check| !check.ok).count()) {
        (true, 0) => (Verdict::Passed, None, check),
        (true, failed) => (Verdict::Failed, Some(format!("{failed} checks not ok before the panic")), check),
        (false, _) => {
            let verdict = if exit.verdict == Verdict::Panicked { Verdict::Failed } else { exit.verdict };
            (verdict, Some(format!("the kernel was to panic with `{text}`: {}", exit.reason)), check)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::klog::{log_for_people, oops_in};

    const LOG: &str = "6 1500000 livepatch: enabling patch 'a_1'\n4 1 other\n6 2 livepatch: 'a_1': done\n";

    fn case(expected: &str) -> Case {
        case_of(expected, "")
    }

    fn case_of(expected: &str, more: &str) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("case.toml"), format!("description = 'x'\ndmesg = ['livepatch: ']\n{more}"))
            .unwrap();
        std::fs::write(path.join("run.sh"), "").unwrap();
        std::fs::write(path.join("dmesg.expected"), expected).unwrap();
        crate::case::load(&path).unwrap()
    }

    fn state(modules: &[&str]) -> State {
        State { modules: modules.iter().map(|&name| name.to_owned()).collect(), ..State::default() }
    }

    #[test]
    fn expected_words_with_wildcards() {
        let good = "livepatch: enabling patch '*'\nlivepatch: '*': done\n";
        assert!(dmesg_check(&case(good), LOG).unwrap().ok);
        for (wrong, line) in
            [("livepatch: other\n", "line 1"), ("livepatch: enabling*\n", "line 2"), ("", "line 1")]
        {
            let check = dmesg_check(&case(wrong), LOG).unwrap();
            assert!(!check.ok && check.detail.as_ref().unwrap().contains(line), "{check:?}");
        }
        let more = format!("{good}livepatch: more\n");
        assert!(dmesg_check(&case(&more), LOG).unwrap().detail.unwrap().contains("(nothing more)"));
    }

    #[test]
    fn an_oops_that_was_to_come() {
        assert!(oops_check(&case(""), LOG).is_none());
        let case = case_of("", "oops = 'panicked at a.rs'");
        assert!(case.own_boot);
        for (log, ok) in [
            ("0 1 klp: panicked at a.rs:1\n4 1 Oops: invalid opcode: 0000 [#1]\n", true),
            ("0 1 klp: panicked at a.rs:1\n", false),
            ("4 1 Oops: invalid opcode: 0000 [#1]\n", false),
        ] {
            assert_eq!(oops_check(&case, log).unwrap().ok, ok, "{log}");
        }
    }

    #[test]
    fn each_kind_of_uncleanness_is_named() {
        let case = case("");
        assert!(uncleanness(&case, &state(&["a"]), &state(&["a"]), LOG).is_empty());
        let found = uncleanness(&case, &state(&["a"]), &state(&["b"]), "4 1 WARNING: CPU: 0 PID: 1 at x\n");
        assert_eq!(found, ["still loaded: b", "no longer loaded: a", "`WARNING: CPU: 0 PID: 1 at x`"]);
        let lost = State { lost: true, ..State::default() };
        assert_eq!(uncleanness(&case, &State::default(), &lost, "").len(), 1);
    }

    #[test]
    fn a_warning_that_was_to_come() {
        let report = |message: &str, place: &str| {
            format!(
                "4 1 ------------[ cut here ]------------\n{message}4 1 WARNING: CPU: 0 PID: 71 at {place}\n4 1 Modules linked in: a\n\
                 4 1 ---[ end trace 0000000000000000 ]---\n"
            )
        };
        let case = case_of("", "warns = 'count is 3'");
        assert!(case.own_boot);
        let expected = report("4 1 klp: the count is 3\n", "src/lib.rs:7 fault+0x1/0x2 [a]");
        let other = report("", "mm/slub.c:9 kfree+0x1/0x2");
        let judged = |log: &str| {
            let unclean = uncleanness(&case, &State::default(), &State::default(), log);
            (warning_check(&case, log).unwrap().ok, unclean)
        };
        let slub = "`WARNING: CPU: 0 PID: 71 at mm/slub.c:9 kfree+0x1/0x2`".to_owned();
        assert_eq!(judged(&expected), (true, vec![]));
        assert_eq!(judged(LOG), (false, vec![]));
        assert_eq!(judged(&other), (false, vec![slub.clone()]));
        assert_eq!(judged(&format!("{expected}{other}")), (true, vec![slub.clone()]));
        assert_eq!(judged(&format!("{other}{expected}")), (true, vec![slub.clone()]));
        // A warning without a report of its own, behind the expected one.
        let bare = "4 2 WARNING: something else\n";
        let bare_text = "`WARNING: something else`".to_owned();
        assert_eq!(judged(&format!("{expected}{bare}")), (true, vec![bare_text]));
        // A message of a program is no warning, and the text alone is none.
        assert_eq!(judged("12 1 WARNING: count is 3\n"), (false, vec![]));
        assert_eq!(judged("4 1 klp: the count is 3\n"), (false, vec![]));
        let place = case_of("", "warns = 'src/lib.rs:7'");
        assert!(warning_check(&place, &expected).unwrap().ok);
        assert!(warning_check(&case_of("", ""), LOG).is_none());
    }

    #[test]
    fn verdicts() {
        let case = case("");
        let passed = Exit { code: Some(0), signal: None, stopped: false };
        let check = |ok| Check { name: "a".to_owned(), ok, detail: None };
        let seen = |checks: Vec<Check>| {
            let mut transcript = Transcript::default();
            transcript.checks = checks;
            transcript
        };
        let minute = Duration::from_secs(60);
        let judged = |exit: &Exit, seen: &Transcript, unclean: &[String]| {
            judge(&case, minute, exit, seen, unclean, None)
        };
        assert_eq!(judged(&passed, &seen(vec![check(true)]), &[]), (Verdict::Passed, None));
        for (exit, checks, unclean, verdict, words) in [
            (passed, vec![], vec![], Verdict::Failed, "no check"),
            (passed, vec![check(true), check(false)], vec![], Verdict::Failed, "1 of 2 checks not ok"),
            (Exit { code: Some(3), ..passed }, vec![check(true)], vec![], Verdict::Failed, "exit status 3"),
            (
                Exit { code: None, signal: Some(9), ..passed },
                vec![check(true)],
                vec![],
                Verdict::Failed,
                "signal 9",
            ),
            (Exit { stopped: true, ..passed }, vec![], vec![], Verdict::Hung, "did not end within 60 s"),
            (passed, vec![check(true)], vec!["x".to_owned()], Verdict::Failed, "left the kernel unclean: x"),
        ] {
            let (found, reason) = judged(&exit, &seen(checks), &unclean);
            assert_eq!(found, verdict);
            assert!(reason.unwrap().contains(words), "{words}");
        }
        // A script that does not end because the kernel killed a task that it waits for.
        let stopped = Exit { stopped: true, ..passed };
        let (found, reason) =
            judge(&case, minute, &stopped, &seen(vec![check(true)]), &[], Some("Oops: 0002 [#1]"));
        assert_eq!(found, Verdict::Failed);
        assert!(reason.unwrap().contains("the kernel killed a task: `Oops: 0002 [#1]`; run.sh did not end"));
    }

    #[test]
    fn the_kernels_own_lines_alone_count() {
        let log = "12 1 WARNING: CPU: 0\n12 2 Oops: 0002 [#1]\n14 3 livepatch: done\n";
        assert!(uncleanness(&case(""), &State::default(), &State::default(), log).is_empty());
        assert_eq!(oops_in(log), None);
        assert!(!oops_check(&case_of("", "oops = 'WARNING'"), log).unwrap().ok);
        assert!(filtered(log, &["livepatch: ".to_owned()]).is_empty());
        assert_eq!(log_for_people(log).lines().count(), 3);
        for line in [
            "Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
            "general protection fault, probably for non-canonical address 0x5: 0000 [#12] SMP",
            "Internal error: Oops: 0000000096000004 [#1] SMP",
        ] {
            assert_eq!(oops_in(&format!("4 1 x\n1 2 {line}\n")).as_deref(), Some(line));
        }
        assert_eq!(oops_in("4 1 a list [#] of [#x] things\n"), None);
    }

    #[test]
    fn log_for_people_looks_like_dmesg() {
        assert!(log_for_people(LOG).starts_with("[    1.500000] livepatch: enabling patch 'a_1'\n"));
    }
}
