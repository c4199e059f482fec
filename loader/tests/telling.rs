// SPDX-License-Identifier: GPL-2.0-or-later
//! Statements of a module about itself, in `status`, `info`, `export` and `uname`: CVEs that are not repaired, end of support,
//! effective release.

use serde_json::Value;

use crate::support::{self, Machine, RELEASE, manifest, module_named};

/// Entry of a manifest for a CVE that is not repaired.
const AFFECTED: &str = r#""affected":[{"cve":"CVE-2026-3","reason":"the function is inlined","action":"Install kernel 6.12.120."},{"cve":"CVE-2026-1","reason":"r","action":"a"}]"#;

/// Machine with `kpatch_k_1_1` loaded. Its manifest has these CVEs as repaired, [`AFFECTED`], and `more` at its end.
fn loaded(cves: &str, more: &str) -> Machine {
    let machine = Machine::quiet();
    let text = manifest("demo", (1, 1), cves, more)
        .replace("}],\"functions\"", &format!(",{AFFECTED}}}],\"functions\""));
    let bytes = module_named("kpatch_k_1_1", &[&text]);
    let path = machine.file("kpatch-k-1-1.ko", &bytes);
    machine.on_insert(|files| {
        files.patch("kpatch_k_1_1", true, false);
        Ok(())
    });
    assert_eq!(machine.run(&["install", &path]).code, 0);
    assert_eq!(machine.run(&["load", "--no-check", &path]).code, 0);
    machine
}

fn json(machine: &Machine, arguments: &[&str]) -> Value {
    let ran = machine.run(arguments);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    if document.get("schema").is_some() {
        support::assert_conforms(&document);
    }
    document
}

#[test]
fn status_and_info_name_cves_that_are_not_repaired() {
    let machine = loaded(r#""CVE-2026-1""#, "");
    let out = machine.run(&["status"]).out;
    let lines: Vec<&str> = out.lines().filter(|line| line.contains("ixed:")).collect();
    assert_eq!(
        lines,
        [
            "Fixed:       CVE-2026-1",
            "Not fixed:   CVE-2026-3: the function is inlined; Install kernel 6.12.120.",
        ]
    );
    let status = json(&machine, &["status", "--json"]);
    assert_eq!(status["affected"].as_array().unwrap().len(), 1, "what a fix repairs is not open");
    assert_eq!(status["affected"][0]["cve"], "CVE-2026-3");
    assert_eq!(
        json(&machine, &["info", "kpatch_k_1_1", "--json"])["manifest"]["fixes"][0]["affected"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let info = machine.run(&["info", "kpatch_k_1_1"]).out;
    assert!(
        info.contains("\naffected:       CVE-2026-3: the function is inlined; Install kernel 6.12.120.\n"),
        "{info}"
    );

    assert!(!info.contains("affected:       CVE-2026-1"), "{info}");

    // Another patch repairs it.
    machine.files.patch("other", true, false);
    let entry = manifest("other", (1, 1), r#""CVE-2026-3""#, "");
    machine.files.write("/run/kpatch/loaded/other", format!("\n{}\n", &entry["ferrograft=".len()..]));
    assert!(!machine.run(&["status"]).out.contains("Not fixed:"));
    machine.files.remove("/sys/kernel/livepatch/other");

    // A patch in transition is not in effect.
    machine.files.patch("kpatch_k_1_1", true, true);
    assert!(!machine.run(&["status"]).out.contains("Not fixed:"));
}

#[test]
fn openvex_states_affected_with_an_action() {
    let machine = loaded(r#""CVE-2026-1""#, "");
    let document = json(&machine, &["export", "--format", "openvex"]);
    let statements = document["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 2);
    let affected = &statements[1];
    assert_eq!(affected["vulnerability"]["name"], "CVE-2026-3");
    assert_eq!(affected["status"], "affected");
    assert_eq!(affected["status_notes"], "the function is inlined");
    assert_eq!(affected["action_statement"], "Install kernel 6.12.120.");
    assert_eq!(affected["products"], statements[0]["products"]);
    // A patch without repaired CVEs still has something to state.
    let document = json(&loaded("", ""), &["export", "--format", "openvex"]);
    assert_eq!(document["statements"].as_array().unwrap().len(), 2);
}

#[test]
fn openmetrics_counts_cves_and_shows_the_end_of_support() {
    let machine = loaded(r#""CVE-2026-1""#, r#","support_end":"2027-06-30""#);
    let out = machine.run(&["export", "--format", "openmetrics"]).out;
    for line in [
        "kpatch_affected{cve=\"CVE-2026-3\"} 1",
        "kpatch_cves{status=\"fixed\"} 1",
        "kpatch_cves{status=\"affected\"} 1",
        // `date -u -d 2027-07-01 +%s`
        "kpatch_support_end_timestamp_seconds{module=\"kpatch_k_1_1\",stream=\"demo\"} 1814400000",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
}

/// The fake clock starts at 2026-11-24T12:00:00Z.
#[test]
fn status_warns_after_the_end_of_support() {
    for (end, ended) in [("2026-11-23", true), ("2026-11-24", false), ("2027-06-30", false)] {
        let machine = loaded("", &format!(r#","support_end":"{end}""#));
        let out = machine.run(&["status"]).out;
        let check = machine.run(&["status", "--check"]);
        let metrics = machine.run(&["export", "--format", "openmetrics"]).out;
        let status = json(&machine, &["status", "--json"]);
        assert_eq!(status["support"][0]["ended"], ended, "{end}");
        assert_eq!(status["support"][0]["end"], end);
        if ended {
            let sentence = "support of stream demo ended on 2026-11-23: this kernel gets no further fixes; change to a supported kernel";
            assert!(out.contains(&format!("Support:     {sentence}\n")), "{out}");
            assert_eq!((check.code, check.out), (1, format!("KPATCH WARNING - {sentence}\n")));
            assert!(metrics.contains("kpatch_verdict{verdict=\"outdated\"} 1\n"));
        } else {
            assert!(out.contains(&format!("Support:     stream demo until {end}\n")), "{out}");
            assert_eq!((check.code, check.out.as_str()), (0, "KPATCH OK - in effect: kpatch_k_1_1\n"));
        }
    }
}

#[test]
fn status_does_not_check_a_wrong_date() {
    let machine = loaded("", r#","support_end":"soon""#);
    let out = machine.run(&["status"]).out;
    assert!(
        out.contains(
            "Not checked: the end of support of kpatch_k_1_1: \"soon\" in its manifest is no date\n"
        ),
        "{out}"
    );
    assert!(!out.contains("Support:"));
}

#[test]
fn uname_prints_the_release_that_the_kernel_amounts_to() {
    let version = |machine: &Machine| {
        let ran = machine.run(&["uname"]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        ran.out.trim_end().to_owned()
    };
    assert_eq!(version(&Machine::new()), RELEASE, "an unpatched kernel");
    let machine = loaded("", "");
    assert_eq!(version(&machine), format!("{RELEASE}+kpatch.1.1"));
    machine.files.patch("kpatch_a_fix", true, false);
    assert_eq!(version(&machine), format!("{RELEASE}+kpatch.a.fix.1.1"), "a patch without a version");
    machine.files.patch("kpatch_k_1_1", true, true);
    machine.files.patch("kpatch_a_fix", false, true);
    assert_eq!(version(&machine), RELEASE, "patches in transition do not count");

    let machine = loaded("", r#","effective_release":"6.12.120+deb12-amd64""#);
    assert_eq!(version(&machine), "6.12.120+deb12-amd64");
    let document = json(&machine, &["uname", "--json"]);
    assert_eq!(document["kernel"], RELEASE);
    assert_eq!(document["effective_release"], "6.12.120+deb12-amd64");
    assert_eq!(document["patches"][0]["version"], serde_json::json!([1, 1]));
    assert!(machine.run(&["info", "kpatch_k_1_1"]).out.contains("\namounts to:     6.12.120+deb12-amd64\n"));
}

/// Keys of a manifest with a parameter and two tripwires.
const PARAMS: &str = r#","originals":["vmlinux:f"],"params":[{"name":"limit","type":"uint","mode":"0644","default":"3","description":"Number of lines"},{"name":"label","type":"charp","mode":"0444"}],"tripwires":[{"name":"odd","description":"an odd open"},{"name":"never","description":"nothing"}]"#;

#[test]
fn info_names_parameters_and_tripwires() {
    let machine = loaded("", PARAMS);
    let info = machine.run(&["info", "kpatch_k_1_1"]).out;
    for line in [
        "parameter:      limit (uint, mode 0644, default 3): Number of lines",
        "parameter:      label (charp, mode 0444)",
        "tripwire:       odd: an odd open",
    ] {
        assert!(info.lines().any(|found| found == line), "{line}: {info}");
    }
    let document = json(&machine, &["info", "kpatch_k_1_1", "--json"]);
    assert_eq!(document["manifest"]["params"][0]["default"], "3");
}

#[test]
fn status_and_metrics_show_the_counters_of_tripwires() {
    let machine = loaded("", PARAMS);
    machine.files.write("/sys/module/kpatch_k_1_1/parameters/odd", "2\n");
    machine.files.write("/sys/module/kpatch_k_1_1/parameters/never", "0\n");
    let out = machine.run(&["status"]).out;
    for line in [
        "Tripwire:    odd of kpatch_k_1_1: 2 tries: an odd open",
        "Tripwire:    never of kpatch_k_1_1: 0 tries: nothing",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
    let status = json(&machine, &["status", "--json"]);
    assert_eq!(status["tripwires"][0]["count"], 2);
    let metrics = machine.run(&["export", "--format", "openmetrics"]).out;
    assert!(metrics.contains("# TYPE kpatch_tripwire_tries counter\n"), "{metrics}");
    let line = "kpatch_tripwire_tries_total{module=\"kpatch_k_1_1\",tripwire=\"odd\"} 2\n";
    assert!(metrics.contains(line), "{metrics}");

    // A counter that cannot be read is no 0.
    machine.files.remove("/sys/module/kpatch_k_1_1/parameters");
    machine.files.write("/sys/module/kpatch_k_1_1/parameters/odd", "many\n");
    let out = machine.run(&["status"]).out;
    for name in ["odd", "never"] {
        let file = format!("/sys/module/kpatch_k_1_1/parameters/{name}");
        let line = format!("Not checked: tripwire {name} of kpatch_k_1_1: {file} is missing or no number");
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
    assert!(!out.contains("Tripwire:"), "{out}");
}
