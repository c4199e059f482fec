// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel's livepatch selftests: each scenario has a case with its selftest's name. Scenarios that a
//! kernel does not support are listed.

use std::fmt::Write as _;
use std::path::Path;

/// The scenarios of `tools/testing/selftests/livepatch`, script by script.
const SCENARIOS: [(&str, &[&str]); 8] = [
    ("livepatch", &["basic", "multiple", "replace", "module-present", "module-late"]),
    (
        "callbacks",
        &[
            "target-before",
            "coming",
            "going",
            "coming-going",
            "target-absent",
            "veto",
            "coming-veto",
            "multiple-targets",
            "busy",
            "multiple",
            "replace",
        ],
    ),
    ("shadow-vars", &[""]),
    ("state", &["basic", "takeover", "compatible", "incompatible"]),
    ("ftrace", &["sysctl", "traced-then-patched", "patched-then-traced"]),
    ("sysfs", &[""]),
    ("syscall", &[""]),
    ("kprobe", &[""]),
];

#[test]
fn every_scenario_has_its_case_and_skips_are_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut wanted: Vec<String> = SCENARIOS
        .iter()
        .flat_map(|(script, scenarios)| {
            scenarios.iter().map(move |scenario| format!("selftests-{script}-{scenario}"))
        })
        .map(|name| name.trim_end_matches('-').to_owned())
        .collect();
    wanted.sort();
    let cases = klp_vm::case::load_all(&root.join("tests/cases")).unwrap();
    let cases: Vec<_> = cases.iter().filter(|case| case.name.starts_with("selftests-")).collect();
    let there: Vec<_> = cases.iter().map(|case| case.name.clone()).collect();
    assert_eq!(wanted, there, "the scenarios, and the cases that are there");

    let mut skips = String::new();
    for case in cases {
        assert_eq!(case.kernels, None, "{}: a kernel that cannot have it is a skip with a reason", case.name);
        for (kernel, reason) in &case.skip {
            writeln!(skips, "{kernel} {}: {reason}", case.name).unwrap();
        }
    }
    let golden = std::fs::read_to_string(root.join("tests/selftests.skips")).unwrap();
    assert_eq!(golden, skips, "tests/selftests.skips, and what case.toml of the cases says");
}
