// SPDX-License-Identifier: GPL-2.0-or-later
//! `check`: what it prints and how it ends.

#[path = "../../loader/tests/support/schema.rs"]
mod schema;

use std::path::Path;

use klp_base::process::{Cmd, Output};
use serde_json::Value;

fn check(words: &[&str]) -> Output {
    Cmd::new(env!("CARGO_BIN_EXE_xtask")).arg("check").args(words).output().unwrap()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
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
    assert_eq!((&document["schema"], &document["refused"]), (&"ferrograft.check/2".into(), &false.into()));
    assert_eq!(outcome(&document, "patch-table"), "passed");
    schema::assert_conforms(&document);

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
    assert_eq!(output.status.code(), Some(3), "{}", output.stderr_text());
    let document: Value = serde_json::from_str(&output.stdout_text()).unwrap();
    assert_eq!(outcome(&document, "klp-symbol"), "broken");
    assert_eq!(outcome(&document, "debug-left"), "warned");
    schema::assert_conforms(&document);

    let output = check(&[&unconverted, "--format", "sarif"]);
    assert_eq!(output.status.code(), Some(3));
    let log: Value = serde_json::from_str(&output.stdout_text()).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let driver = &log["runs"][0]["tool"]["driver"];
    assert_eq!(driver["rules"].as_array().unwrap().len(), klp_verify::rules::rule_ids().count());
    let results = log["runs"][0]["results"].as_array().unwrap();
    let of = |rule: &str| results.iter().find(|result| result["ruleId"] == rule).unwrap();
    assert_eq!(
        (&of("klp-symbol")["level"], &of("debug-left")["level"]),
        (&"error".into(), &"warning".into())
    );
    assert_eq!(of("klp-symbol")["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], *unconverted);

    let output = check(&[&unconverted, "--format", "github"]);
    assert_eq!(output.status.code(), Some(3));
    let annotations = output.stdout_text();
    assert!(annotations.lines().all(|line| line.starts_with("::")), "{annotations}");
    assert!(annotations.contains("::error title=klp-symbol (debian-6.12)::__klp_sym_"), "{annotations}");
    let people = check(&[&unconverted]);
    assert_eq!(people.status.code(), Some(3));
    assert!(people.stderr_text().contains("error[klp-symbol]: __klp_sym_"), "{}", people.stderr_text());
}

/// The sections of the document and the texts of `--explain` are the same.
#[test]
fn explain_prints_the_rules_section_of_the_document() {
    let document = std::fs::read_to_string(root().join("docs/verify-rules.md")).unwrap();
    for rule in klp_verify::rules::rule_ids() {
        let output = check(&["--explain", rule]);
        let text = output.stdout_text();
        assert_eq!(output.status.code(), Some(0), "{}", output.stderr_text());
        assert!(text.starts_with(&format!("## `{rule}`\n")) && document.contains(&text), "{text}");
    }
}

#[test]
fn explain_rejects_an_unknown_rule_with_the_known_ones() {
    let output = check(&["--explain", "no-such-rule"]);
    assert_eq!((output.status.code(), output.stdout_text().as_str()), (Some(2), ""));
    let error = output.stderr_text();
    assert!(error.starts_with("error: ") && error.contains("no-such-rule"), "{error}");
    for rule in klp_verify::rules::rule_ids() {
        assert!(error.contains(rule), "{error}");
    }
    let error = check(&["--explain", "klp-relocations"]).stderr_text();
    assert!(error.contains("a similar value exists: 'klp-relocation'"), "{error}");
    assert_eq!(check(&[]).status.code(), Some(2), "neither target nor rule");
}

/// A file that is no module at all: each rule behind the first is listed as not checked.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn unchecked_rules_are_listed_and_refuse_the_module() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("text.ko");
    std::fs::write(&file, "text").unwrap();
    let output = check(&[file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", output.stderr_text());
    let text = output.stdout_text();
    for rule in klp_verify::rules::rule_ids().skip(1) {
        assert!(text.contains(&format!("  NOT CHECKED  {rule}: the file cannot be read\n")), "{text}");
    }
    let output = check(&[file.to_str().unwrap(), "--format", "json"]);
    let document: Value = serde_json::from_str(&output.stdout_text()).unwrap();
    assert_eq!((outcome(&document, "elf"), outcome(&document, "vermagic")), ("broken", "unchecked"));
}

/// A rule that could not be checked is no error, and the module is not clean either.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_module_that_could_not_be_checked_ends_with_code_4() {
    let output = check(&["objects", "--format", "json"]);
    let document: Value = serde_json::from_str(&output.stdout_text()).unwrap();
    let mut bytes = std::fs::read(document["module"].as_str().unwrap()).unwrap();
    // Another module of the same length, which the kernel does not have.
    for at in 0..bytes.len() - 11 {
        if &bytes[at..at + 11] == b"binfmt_misc" {
            bytes[at..at + 11].copy_from_slice(b"binfmt_mics");
        }
    }
    assert!(klp_module::seal(&mut bytes));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kpatch_objects.ko");
    std::fs::write(&file, bytes).unwrap();
    let strict = check(&[file.to_str().unwrap(), "--strict"]);
    assert_eq!(strict.status.code(), Some(4), "{}{}", strict.stdout_text(), strict.stderr_text());
    assert!(strict.stdout_text().contains("NOT CHECKED  replaced-function"), "{}", strict.stdout_text());
    assert_eq!(check(&[file.to_str().unwrap()]).status.code(), Some(0));
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn files_that_are_no_modules_are_refused() {
    for (words, says) in [
        (["no-such-file.ko"], "no-such-file.ko"),
        ([concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], "ends with .ko"),
    ] {
        let output = check(&words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(output.stderr_text().contains(says), "{}", output.stderr_text());
    }
}
