// SPDX-License-Identifier: GPL-2.0-or-later
//! OpenMetrics text of `export`, for monitors.

use std::fmt::Write;

use crate::judge::machine::{Status, Verdict};
use crate::model::livepatch::PatchState;

/// Verdicts with their label values.
const VERDICTS: [(Verdict, &str); 5] = [
    (Verdict::Current, "current"),
    (Verdict::Outdated, "outdated"),
    (Verdict::Stalled, "stalled"),
    (Verdict::AppliedWithBug, "applied_with_bug"),
    (Verdict::Unknown, "unknown"),
];

/// Document with one family per gauge or counter.
pub(crate) fn openmetrics(status: &Status) -> String {
    let mut text = String::new();
    let verdicts = VERDICTS
        .iter()
        .map(|(verdict, word)| (labels(&[("verdict", word)]), u64::from(*verdict == status.verdict)));
    family(&mut text, "kpatch_verdict", "State of this machine: 1 for the verdict that holds.", verdicts);
    let enabled = status.patches.iter().map(|patch| {
        let labels = labels(&[("module", &patch.module), ("kernel", &status.kernel)]);
        (labels, u64::from(patch.state == PatchState::Enabled))
    });
    let help = "1 for a live patch that is in effect for every task, 0 in transition.";
    family(&mut text, "kpatch_enabled", help, enabled);
    let bugs = status.patches.iter().map(|patch| {
        let labels = labels(&[("module", &patch.module), ("kernel", &status.kernel)]);
        (labels, u64::from(patch.bug.is_some()))
    });
    let help = "1 for a live patch in which the kernel has reported a bug since the load.";
    family(&mut text, "kpatch_applied_with_bug", help, bugs);
    let fixed = status.fixed.iter().map(|cve| (labels(&[("cve", cve)]), 1));
    family(&mut text, "kpatch_fixed", "1 for each CVE that a live patch in effect repairs.", fixed);
    let affected = status.affected.iter().map(|affected| (labels(&[("cve", &affected.cve)]), 1));
    let help = "1 for each CVE that the live patches in effect name as not repaired.";
    family(&mut text, "kpatch_affected", help, affected);
    let counts = [("fixed", status.fixed.len()), ("affected", status.affected.len())];
    let counts = counts.map(|(word, count)| (labels(&[("status", word)]), count as u64));
    let help = "Number of CVEs that the live patches in effect name, by status.";
    family(&mut text, "kpatch_cves", help, counts);
    let ends = status.support.iter().map(|support| {
        let labels = labels(&[("module", &support.module), ("stream", &support.stream)]);
        (labels, support.timestamp)
    });
    let help = "End of support of a live patch's stream, in seconds since 1970.";
    family(&mut text, "kpatch_support_end_timestamp_seconds", help, ends);
    let tries = status.tripwires.iter().map(|tripwire| {
        let labels = labels(&[("module", &tripwire.module), ("tripwire", &tripwire.name)]);
        (labels, tripwire.count)
    });
    counter(
        &mut text,
        "kpatch_tripwire_tries",
        "Tries of a path that a live patch guards, since its load.",
        tries,
    );
    text.push_str("# EOF\n");
    text
}

fn counter(text: &mut String, name: &str, help: &str, rows: impl IntoIterator<Item = (String, u64)>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# TYPE {name} counter\n# HELP {name} {help}");
    for (labels, value) in rows {
        let _ = writeln!(text, "{name}_total{labels} {value}");
    }
}

fn family(text: &mut String, name: &str, help: &str, rows: impl IntoIterator<Item = (String, u64)>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# TYPE {name} gauge\n# HELP {name} {help}");
    for (labels, value) in rows {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}
