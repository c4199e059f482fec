// SPDX-License-Identifier: GPL-2.0-or-later
//! Outcome of each rule, and the report of all of them.

use std::path::{Path, PathBuf};

use klp_base::events::{Event, Finding, Severity, Sink};
use serde::Serialize;

/// Outcome of one rule, in ascending order of severity: from [`Outcome::Unchecked`] on the module is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The module complies with the rule.
    Passed,
    /// The kernel or the module has nothing that the rule is about.
    NotApplied,
    /// The module violates the rule, and may be loaded.
    Warned,
    /// The rule applies, and its subject could not be read or is unknown.
    Unchecked,
    /// The module violates the rule, and must not be loaded.
    Broken,
}

/// One rule and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleOutcome {
    /// Id of the rule.
    pub rule: &'static str,
    /// Its outcome.
    pub outcome: Outcome,
    /// Unchecked part and the reason for it. With [`Outcome::NotApplied`] and [`Outcome::Unchecked`]: reason for that outcome.
    pub left_out: Option<String>,
}

/// Result of `verify`: the outcome of every rule, and all findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All rules, in order of application.
    pub rules: Vec<RuleOutcome>,
    /// All violations, in the same order.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn empty() -> Self {
        Self { rules: Vec::new(), findings: Vec::new() }
    }

    /// Number of rules that refuse the module: those that are broken or unchecked.
    pub fn refusals(&self) -> usize {
        self.rules.iter().filter(|rule| rule.outcome >= Outcome::Unchecked).count()
    }

    pub(crate) fn add(&mut self, scope: Scope, findings: Findings) {
        let Findings { rule, list } = findings;
        let (without_findings, left_out) = match scope {
            Scope::All => (Outcome::Passed, None),
            Scope::But(reason) => (Outcome::Passed, Some(reason)),
            Scope::Nothing(reason) => (Outcome::NotApplied, Some(reason)),
            Scope::Unchecked(reason) => (Outcome::Unchecked, Some(reason)),
        };
        let outcome = match list.iter().map(|finding| finding.severity).max() {
            Some(Severity::Error) => Outcome::Broken,
            Some(Severity::Unchecked) => Outcome::Unchecked,
            Some(Severity::Warning) => Outcome::Warned.max(without_findings),
            None => without_findings,
        };
        self.rules.push(RuleOutcome { rule, outcome, left_out });
        self.findings.extend(list);
    }
}

/// Part of a module that a rule was applied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of the rule's subject.
    All,
    /// All except a comparison for which the caller gave no facts; the text names it.
    But(String),
    /// The rule's subject does not exist here; the text gives the reason.
    Nothing(String),
    /// The rule's subject exists and a part of it was not checked; the text gives part and reason.
    Unchecked(String),
}

impl Scope {
    /// [`Scope::Unchecked`] if any part is listed, else [`Scope::All`].
    pub(crate) fn all_but_unchecked(parts: impl IntoIterator<Item = String>) -> Self {
        let mut parts: Vec<String> = parts.into_iter().collect();
        parts.sort();
        parts.dedup();
        if parts.is_empty() { Self::All } else { Self::Unchecked(parts.join("; ")) }
    }
}

/// Collector for the findings of one rule.
pub(crate) struct Findings {
    rule: &'static str,
    list: Vec<Finding>,
}

impl Findings {
    pub(crate) fn of(rule: &'static str) -> Self {
        Self { rule, list: Vec::new() }
    }

    /// True if a finding refuses the module as violating the rule.
    pub(crate) fn has_error(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    fn add(&mut self, severity: Severity, subject: impl Into<String>, message: impl Into<String>) {
        let (subject, message) = (readable(&subject.into()), readable(&message.into()));
        self.list.push(Finding { rule: self.rule, severity, subject, message });
    }

    pub(crate) fn error(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Error, subject, message);
    }

    pub(crate) fn unchecked(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Unchecked, subject, message);
    }

    pub(crate) fn warning(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Warning, subject, message);
    }
}

/// Text with the names of Rust functions as in their source.
fn readable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    let mut rest = text;
    while let Some(start) = rest.find("_R") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = from.find(|c| !is_word(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        let is_start = !before.ends_with(is_word);
        match rustc_demangle::try_demangle(word).ok().filter(|_| is_start) {
            Some(name) => out.push_str(&format!("{name:#}")),
            None => out.push_str(word),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Error for a module that must not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} must not be loaded: {rules} of the rules are broken or could not be checked (see above)", module.display())]
pub struct Refused {
    /// The module's file.
    pub module: PathBuf,
    /// Number of rules that refuse it.
    pub rules: usize,
}

/// Reports every finding as an event.
///
/// # Errors
/// A rule is broken with severity error, or could not be checked.
pub fn refuse_errors(ko: &Path, report: &Report, sink: &dyn Sink) -> Result<(), Refused> {
    for finding in &report.findings {
        sink.event(&Event::Finding(finding.clone()));
    }
    match report.refusals() {
        0 => Ok(()),
        rules => Err(Refused { module: ko.to_owned(), rules }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_functions_are_those_of_the_source() {
        let text =
            "its replacement _RNvNtCs1234_4fixx4work3run (at .text+0x5) calls MY_RULE and x_RNvCs1_1a1b";
        assert_eq!(
            readable(text),
            "its replacement fixx::work::run (at .text+0x5) calls MY_RULE and x_RNvCs1_1a1b"
        );
        assert_eq!(readable("_R"), "_R");
    }
}
