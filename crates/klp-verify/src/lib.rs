// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules that judge a finished livepatch module against its kernel (stage 6).
//!
//! Bytes in, [`Report`] out. What is expected of a module is gathered once, as an [`Expected`]; each rule of [`rules`] is a
//! function over the module as `klp-module` reads it. Nothing here shares code with the stage that wrote the module.

mod arch;
mod code;
mod expected;
mod frame;
mod ftrace;
mod graph;
mod info;
mod machine;
mod panics;
mod program;
mod reach;
mod relocations;
pub mod rules;
mod self_call;
mod symbols;
mod tables;
mod values;

use std::path::{Path, PathBuf};

use klp_base::events::{Event, Finding, Severity, Sink};
pub use klp_module::PATCH_SYMBOL;
use klp_module::{Module, PatchTable, Place, TableError};
use serde::Serialize;

use self::arch::ArchTable;
pub use self::expected::{Expected, ExpectedPatch};
use self::graph::Graph;
pub use self::info::GPL_COMPATIBLE;
pub use self::symbols::VERSION_ENTRY_SIZE;

/// Outcome of one rule. The order is the order of gravity: from [`Outcome::Unchecked`] on the module is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The module keeps it.
    Passed,
    /// There is nothing here that it applies to.
    NotApplied,
    /// The module breaks it, and may be loaded.
    Warned,
    /// It should have been applied and could not be.
    Unchecked,
    /// The module breaks it.
    Broken,
}

/// One rule and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleOutcome {
    /// Id of the rule.
    pub rule: &'static str,
    /// Outcome of the rule.
    pub outcome: Outcome,
    /// Part that was not checked, and the reason: all of it if the outcome is [`Outcome::NotApplied`], else a part or, where the
    /// outcome is [`Outcome::Unchecked`], why it could not be looked at.
    pub left_out: Option<String>,
}

/// Result of `verify` for a module: every rule, and every finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All rules, in the order in which they were applied.
    pub rules: Vec<RuleOutcome>,
    /// Faults that break the rules.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Number of rules that refuse the module: broken ones, and those that could not be checked.
    pub fn refusals(&self) -> usize {
        self.rules.iter().filter(|rule| rule.outcome >= Outcome::Unchecked).count()
    }

    fn add(&mut self, rule: &'static str, scope: Scope, findings: Vec<Finding>) {
        let (without_findings, left_out) = match scope {
            Scope::All => (Outcome::Passed, None),
            Scope::But(reason) => (Outcome::Passed, Some(reason)),
            Scope::Nothing(reason) => (Outcome::NotApplied, Some(reason)),
            Scope::Unchecked(reason) => (Outcome::Unchecked, Some(reason)),
        };
        let outcome = match findings.iter().map(|finding| finding.severity).max() {
            Some(Severity::Error) => Outcome::Broken,
            Some(Severity::Unchecked) => Outcome::Unchecked,
            Some(Severity::Warning) => Outcome::Warned.max(without_findings),
            None => without_findings,
        };
        self.rules.push(RuleOutcome { rule, outcome, left_out });
        self.findings.extend(findings);
    }
}

/// Part of a module that a rule was applied to.
enum Scope {
    /// All that it is about.
    All,
    /// All but what the text says.
    But(String),
    /// It has nothing to say here; the text says why.
    Nothing(String),
    /// Not to all that it is about, and what is left out matters; the text says why. Another rule has the finding.
    Unchecked(String),
}

/// Takes what one rule finds.
struct Findings {
    rule: &'static str,
    list: Vec<Finding>,
}

impl Findings {
    fn of(rule: &'static str) -> Self {
        Self { rule, list: Vec::new() }
    }

    fn add(&mut self, severity: Severity, subject: impl Into<String>, message: impl Into<String>) {
        let (subject, message) = (subject.into(), message.into());
        self.list.push(Finding { rule: self.rule, severity, subject, message });
    }

    fn error(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Error, subject, message);
    }

    fn unchecked(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Unchecked, subject, message);
    }

    fn warning(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Warning, subject, message);
    }
}

/// Subject of the rules: a module, and the facts that it is compared with.
struct Subject<'a> {
    module: &'a Module<'a>,
    expected: &'a Expected,
    arch: &'static ArchTable,
    /// The live patch's tables, or why they cannot be read.
    table: Result<PatchTable, TableError>,
    /// Its functions and their calls.
    graph: Graph<'a, 'a>,
}

impl Subject<'_> {
    /// Scope of a rule if the live patch's tables cannot be read; rule patch-table has the finding.
    fn without_table(what: &str) -> Scope {
        Scope::Unchecked(format!("{what}: the live patch's tables cannot be read"))
    }

    /// A place, for messages: section, offset and function.
    fn place(&self, place: Place) -> String {
        relocations::place(self.module, place.section, place.offset)
    }
}

/// Judges a finished module.
pub fn verify(bytes: &[u8], expected: &Expected) -> Report {
    let mut report = Report { rules: Vec::new(), findings: Vec::new() };
    let mut findings = Findings::of(rules::ELF);
    let module = match Module::parse(bytes) {
        Ok(module) => module,
        Err(error) => {
            findings.error("the file", error.to_string());
            report.add(rules::ELF, Scope::All, findings.list);
            let reason = "the file cannot be read";
            report.add(rules::ARCHITECTURE, Scope::Nothing(reason.to_owned()), Vec::new());
            return without_the_rest(report, reason);
        }
    };
    report.add(rules::ELF, Scope::All, findings.list);

    let arch = arch::table(expected.arch);
    let mut findings = Findings::of(rules::ARCHITECTURE);
    let (found, wanted) = (module.machine(), arch.machine);
    if found != wanted {
        findings.error(
            "the ELF header",
            format!(
                "it is for {}, kernel {} runs on {}; build it for that kernel",
                found.name(),
                expected.kernel,
                wanted.name()
            ),
        );
        report.add(rules::ARCHITECTURE, Scope::All, findings.list);
        return without_the_rest(report, "the file is for another architecture");
    }
    report.add(rules::ARCHITECTURE, Scope::All, findings.list);

    let table = module.tables(&expected.layout);
    let subject = Subject { module: &module, expected, arch, table, graph: Graph::read(&module) };
    for (rule, check) in rules::CHECKS {
        let mut findings = Findings::of(rule);
        let scope = check(&subject, &mut findings);
        report.add(rule, scope, findings.list);
    }
    report
}

fn without_the_rest(mut report: Report, reason: &str) -> Report {
    for (rule, _) in rules::CHECKS {
        report.add(rule, Scope::Nothing(reason.to_owned()), Vec::new());
    }
    report
}

/// A module that must not be loaded.
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
