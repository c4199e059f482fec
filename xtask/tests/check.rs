// SPDX-License-Identifier: GPL-2.0-or-later
//! `check`: what it prints and how it ends.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

use klp_base::process::{Cmd, Output};
use serde_json::Value;

fn check(words: &[&str]) -> Output {
    Cmd::new(env!("CARGO_BIN_EXE_xtask")).arg("check").args(words).output().unwrap()
}

/// Outcome of a rule in the document that `--format json` prints.
fn outcome<'d>(document: &'d Value, rule: &str) -> &'d str {
    let rules = document["rules"].as_array().unwrap();
    rules.iter().find(|other| other["rule"] == rule).unwrap()["outcome"].as_str().unwrap()
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_fix_is_built_and_judged_and_a_bad_file_is_refused() {
    let output = check(&["peek", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr_text());
    let document: Value = serde_json::from_str(&output.stdout_text()).unwrap();
    assert_eq!((&document["schema"], &document["refused"]), (&"ferrograft.check/1".into(), &false.into()));
    assert_eq!(outcome(&document, "patch-table"), "passed");

    let module = document["module"].as_str().unwrap();
    let people = check(&[module]);
    assert_eq!(people.status.code(), Some(0), "{}", people.stderr_text());
    assert!(
        people.stdout_text().contains("passed       patch-table, but not whether"),
        "{}",
        people.stdout_text()
    );

    // kbuild's result, before its symbols were converted.
    let unconverted = module.replace("5-postlink", "4-kbuild");
    let output = check(&[&unconverted, "--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr_text());
    let document: Value = serde_json::from_str(&output.stdout_text()).unwrap();
    assert_eq!(outcome(&document, "klp-symbol"), "broken");
    assert_eq!(outcome(&document, "debug-left"), "warned");
    let people = check(&[&unconverted]);
    assert_eq!(people.status.code(), Some(1));
    assert!(people.stderr_text().contains("error[klp-symbol]: __klp_sym_"), "{}", people.stderr_text());
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn what_is_no_module_is_told_so() {
    for (words, says) in [
        (["no-such-file.ko"], "no-such-file.ko"),
        ([concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], "ends with .ko"),
    ] {
        let output = check(&words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(output.stderr_text().contains(says), "{}", output.stderr_text());
    }
}
