// SPDX-License-Identifier: GPL-2.0-or-later
//! Forms of a report: a screen for people, JSON for programs, SARIF for code hosts, annotations for CI.

use std::path::Path;

use klp_base::events::{Finding, Severity};
use klp_verify::{Outcome, Report, rules};
use serde_json::{Value, json};

/// Report of one module.
pub(super) struct Checked<'r> {
    pub(super) module: &'r Path,
    /// Id of the kernel.
    pub(super) kernel: &'r str,
    pub(super) report: &'r Report,
}

impl Checked<'_> {
    /// The outcome of each rule, one line each.
    pub(super) fn print_rules(&self) {
        println!("{} for {}:", self.module.display(), self.kernel);
        for rule in &self.report.rules {
            let word = match rule.outcome {
                Outcome::Passed => "passed",
                Outcome::NotApplied => "not applied",
                Outcome::Warned => "warning",
                Outcome::Unchecked => "NOT CHECKED",
                Outcome::Broken => "BROKEN",
            };
            let left_out = match (&rule.left_out, rule.outcome) {
                (Some(reason), Outcome::NotApplied | Outcome::Unchecked) => format!(": {reason}"),
                (Some(part), _) => format!(", but not {part}"),
                (None, _) => String::new(),
            };
            println!("  {word:<12} {}{left_out}", rule.rule);
        }
    }

    /// Document of schema `docs/schemas/check.2.json`.
    pub(super) fn json(&self) -> Value {
        let rules = self.report.rules.iter().filter_map(|outcome| {
            let rule = rules::find(outcome.rule)?;
            Some(json!({
                "rule": rule.id,
                "outcome": outcome.outcome,
                "left_out": outcome.left_out,
                "severity": rule.severity,
                "requirement": rule.summary,
                "source": rule.source,
                "symptom": rule.symptom(),
                "remedy": rule.remedy(),
            }))
        });
        json!({
            "schema": "ferrograft.check/2",
            "module": self.module,
            "kernel": self.kernel,
            "refused": self.report.refusals() > 0,
            "rules": rules.collect::<Vec<_>>(),
            "findings": self.report.findings,
        })
    }

    /// Log of SARIF 2.1.0 (OASIS). A rule that could not be checked is a result of kind `open`.
    pub(super) fn sarif(&self) -> Value {
        let descriptors = rules::ALL.iter().map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.summary },
                "fullDescription": { "text": rule.explain.join("\n\n") },
                "help": { "text": rule.remedy() },
                "defaultConfiguration": { "level": level(rule.severity) },
            })
        });
        let result = |rule: &str, level: &str, kind: &str, text: String| {
            json!({
                "ruleId": rule,
                "level": level,
                "kind": kind,
                "message": { "text": text },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": self.module.to_string_lossy() },
                }}],
            })
        };
        let findings = self.report.findings.iter().map(|finding| {
            let Finding { rule, severity, subject, message } = finding;
            let (level, kind) = match severity {
                Severity::Unchecked => ("none", "open"),
                severity => (level(*severity), "fail"),
            };
            result(rule, level, kind, format!("{subject}: {message}"))
        });
        let unchecked =
            self.unchecked().map(|(rule, reason)| result(rule, "none", "open", reason.to_owned()));
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "ferrograft check",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": descriptors.collect::<Vec<_>>(),
                }},
                "properties": { "kernel": self.kernel },
                "results": findings.chain(unchecked).collect::<Vec<_>>(),
            }],
        })
    }

    /// Annotations in the form of workflow commands, which code hosts show beside a change.
    pub(super) fn print_annotations(&self) {
        let escaped = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        let line = |word: &str, rule: &str, text: &str| {
            println!("::{word} title={rule} ({})::{}", self.kernel, escaped(text));
        };
        for Finding { rule, severity, subject, message } in &self.report.findings {
            let word = if *severity == Severity::Error { "error" } else { "warning" };
            let not_checked = if *severity == Severity::Unchecked { "not checked: " } else { "" };
            line(word, rule, &format!("{not_checked}{subject}: {message}"));
        }
        for (rule, reason) in self.unchecked() {
            line("warning", rule, &format!("not checked: {reason}"));
        }
    }

    /// Rules that could not be checked and have no finding, with the reasons.
    fn unchecked(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let unchecked = self.report.rules.iter().filter(|rule| rule.outcome == Outcome::Unchecked);
        unchecked.filter_map(|rule| Some((rule.rule, rule.left_out.as_deref()?)))
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Unchecked => "none",
    }
}
