// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules that judge a finished livepatch module against its kernel (stage 6).
//!
//! Bytes and facts in, [`Report`] out. The facts are those of [`Expected`]; the module is read by `klp-module`; [`rules`] has one
//! static entry per rule. No code is shared with the stage that wrote the module. Layers, each using only those behind it: rules,
//! analysis, facts.

mod analysis;
mod facts;
mod report;
pub mod rules;

use klp_module::Module;
pub use klp_module::PATCH_SYMBOL;

use self::analysis::Subject;
pub use self::analysis::sleeps;
pub use self::facts::{
    Expected, ExpectedCopy, ExpectedExport, ExpectedParam, ExpectedPatch, LayoutFact, LoadedPatch, Memory,
    Named, NamedSymbol, PrototypeFact, TypeFacts, TypeLayout,
};
use self::report::{Findings, Scope};
pub use self::report::{Outcome, Refused, Report, RuleOutcome, refuse_errors};
use self::rules::{Check, File};

/// Judges a finished module by all rules.
pub fn verify(bytes: &[u8], expected: &Expected) -> Report {
    let parsed = Module::parse(bytes);
    let file = File { parsed: parsed.as_ref(), expected };
    let mut subject = None;
    // Reason why the remaining rules cannot be applied.
    let mut blocked: Option<&str> = None;
    let mut report = Report::empty();
    for rule in rules::ALL {
        let mut findings = Findings::of(rule.id);
        let scope = match (blocked, &rule.check, file.parsed) {
            (Some(reason), _, _) => Scope::Unchecked(reason.to_owned()),
            (None, Check::File { check, else_unchecked }, _) => {
                let scope = check(&file, &mut findings);
                blocked = findings.has_error().then_some(*else_unchecked);
                scope
            }
            (None, Check::Module(check), Ok(module)) => {
                check(subject.get_or_insert_with(|| Subject::read(module, expected)), &mut findings)
            }
            (None, Check::Module(_), Err(error)) => Scope::Unchecked(error.to_string()),
        };
        report.add(scope, findings);
    }
    report
}
