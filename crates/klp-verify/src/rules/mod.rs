// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules: one static entry each, one file per family.
//!
//! `docs/verify-rules.md` and `cargo xtask check --explain` are generated from the entries.

mod codegen;
mod context;
mod copies;
mod file;
mod frames;
mod ftrace;
mod manifest;
mod modinfo;
mod module_struct;
mod objects;
mod original;
mod panics;
mod params;
mod pointers;
mod registers;
mod relocations;
mod self_call;
mod set;
mod source;
mod speculation;
mod symbols;
mod tables;
mod targets;
mod types;

use std::fmt;

use klp_base::events::Severity;
use klp_module::{Error as ModuleError, Module, Place};

pub use self::codegen::{BTI_LANDING_PAD, CALL_PADDING, IBT_ENDBR};
pub use self::context::{ATOMIC_SLEEP, LOCK_HELD};
pub use self::copies::INLINED_COPY;
pub use self::file::{ARCHITECTURE, DEBUG_LEFT, ELF, FILE_DIGEST, SIGNATURE, UNWIND_TABLE, WRITABLE_CODE};
pub use self::frames::{REPLACEMENT_FRAME, STACK_FRAME};
pub use self::ftrace::TRACEABLE_REPLACEMENT;
pub use self::manifest::MANIFEST;
pub use self::modinfo::{GPL_COMPATIBLE, LICENSE_TAG, LIVEPATCH_TAG, MODULE_NAME, VERMAGIC};
pub use self::module_struct::MODULE_STRUCT;
pub use self::original::ORIGINAL_SITE;
pub use self::panics::PANIC_REACHABLE;
pub use self::params::MODULE_PARAMETER;
pub use self::pointers::{KEPT_POINTER, READ_ONLY_WRITE, USER_POINTER};
pub use self::registers::VECTOR_REGISTER;
pub use self::relocations::{KLP_RELOCATION, RELOCATION_RANGE, RELOCATION_TYPE};
pub use self::self_call::SELF_CALL;
pub use self::set::PATCH_SET;
pub use self::source::AUTHOR_SOURCE;
pub use self::speculation::{BRANCH_THUNK, RETPOLINE_TAG};
pub use self::symbols::{KLP_SYMBOL, SYMBOL_NAMESPACE, SYMBOL_VERSION, UNDEFINED_SYMBOL, VERSION_ENTRY_SIZE};
pub use self::tables::{CALLBACK_FAILS, PATCH_TABLE, REPLACEMENT_SYMBOL};
pub use self::targets::{ASSERTED, LASTING_FUNCTION, LIVEPATCH_TARGET, OTHER_ENTRY, REPLACED_FUNCTION};
pub use self::types::{REPLACEMENT_PROTOTYPE, TYPE_LAYOUT};
use crate::analysis::Subject;
use crate::facts::Expected;
use crate::report::{Findings, Scope};

/// All rules, in order of application.
pub static ALL: &[&Rule] = &[
    &ELF,
    &ARCHITECTURE,
    &FILE_DIGEST,
    &SIGNATURE,
    &WRITABLE_CODE,
    &UNWIND_TABLE,
    &RELOCATION_TYPE,
    &RELOCATION_RANGE,
    &CALL_PADDING,
    &IBT_ENDBR,
    &BTI_LANDING_PAD,
    &BRANCH_THUNK,
    &VECTOR_REGISTER,
    &KLP_SYMBOL,
    &LIVEPATCH_TARGET,
    &KLP_RELOCATION,
    &VERMAGIC,
    &LIVEPATCH_TAG,
    &RETPOLINE_TAG,
    &LICENSE_TAG,
    &MODULE_NAME,
    &MODULE_PARAMETER,
    &MODULE_STRUCT,
    &PATCH_TABLE,
    &MANIFEST,
    &CALLBACK_FAILS,
    &REPLACED_FUNCTION,
    &LASTING_FUNCTION,
    &OTHER_ENTRY,
    &ASSERTED,
    &TYPE_LAYOUT,
    &REPLACEMENT_PROTOTYPE,
    &REPLACEMENT_SYMBOL,
    &REPLACEMENT_FRAME,
    &STACK_FRAME,
    &SELF_CALL,
    &ATOMIC_SLEEP,
    &LOCK_HELD,
    &READ_ONLY_WRITE,
    &KEPT_POINTER,
    &USER_POINTER,
    &ORIGINAL_SITE,
    &TRACEABLE_REPLACEMENT,
    &INLINED_COPY,
    &UNDEFINED_SYMBOL,
    &SYMBOL_NAMESPACE,
    &SYMBOL_VERSION,
    &DEBUG_LEFT,
    &PANIC_REACHABLE,
    &PATCH_SET,
    &AUTHOR_SOURCE,
];

/// One rule.
pub struct Rule {
    /// Stable id, as findings and documents have it.
    pub id: &'static str,
    /// The most severe finding that the rule can give.
    pub severity: Severity,
    /// Place in the kernel that the rule follows: functions, files, documents; in Markdown.
    pub source: &'static str,
    /// Requirement on the module, one sentence; in Markdown.
    pub summary: &'static str,
    /// Consequence of a violation, its symptom in the kernel's log, remedy. One string per paragraph; in Markdown.
    pub explain: &'static [&'static str],
    /// Function that applies the rule.
    pub(crate) check: Check,
}

/// Function that applies a rule.
pub(crate) enum Check {
    /// Check before the analysis. An error leaves all later rules unchecked.
    File {
        check: fn(&File<'_>, &mut Findings) -> Scope,
        /// Reason in the later rules' outcome.
        else_unchecked: &'static str,
    },
    /// Check of the analysed module.
    Module(fn(&Subject<'_>, &mut Findings) -> Scope),
}

/// Input of the rules that are applied before the analysis.
pub(crate) struct File<'a> {
    pub(crate) parsed: Result<&'a Module<'a>, &'a ModuleError>,
    pub(crate) expected: &'a Expected,
}

/// Ids of all rules, in order of application.
pub fn rule_ids() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|rule| rule.id)
}

/// The rule of an id.
pub fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id == id)
}

impl Rule {
    /// Consequence of a violation in the kernel's log.
    pub fn symptom(&self) -> Option<&'static str> {
        self.paragraph("**Symptom:** ")
    }

    /// Action against a violation.
    pub fn remedy(&self) -> Option<&'static str> {
        self.paragraph("**Remedy:** ")
    }

    fn paragraph(&self, head: &str) -> Option<&'static str> {
        self.explain.iter().find_map(|text| text.strip_prefix(head))
    }
}

/// The rule as a section of `docs/verify-rules.md`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Unchecked => "not checked",
            Severity::Warning => "warning",
        };
        writeln!(f, "## `{}`", self.id)?;
        let head =
            [format!("**{}**", self.summary), format!("Severity: {severity}. Source: {}", self.source)];
        for paragraph in head.iter().map(String::as_str).chain(self.explain.iter().copied()) {
            writeln!(f)?;
            write_wrapped(f, paragraph)?;
        }
        Ok(())
    }
}

/// Writes a paragraph as lines of at most 100 columns.
fn write_wrapped(f: &mut fmt::Formatter<'_>, paragraph: &str) -> fmt::Result {
    const COLUMNS: usize = 100;
    let mut line = String::new();
    for word in paragraph.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(f, "{line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(f, "{line}")
}

/// Scope of a rule on replacements in a module whose tables cannot be read. Rule patch-table has the finding.
fn without_tables() -> Scope {
    Scope::Unchecked("the replacements: the live patch's tables cannot be read".to_owned())
}

/// Text for a replacement that is not at the start of a function symbol with a size. Rule replacement-symbol has the finding.
fn no_function(subject: &Subject<'_>, old_name: &str, place: Place) -> String {
    format!(
        "the replacement of {old_name}: no function symbol with a size begins at {}",
        subject.place(place)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn entries_are_complete() {
        assert_eq!(rule_ids().collect::<BTreeSet<_>>().len(), ALL.len(), "two rules of one id");
        for rule in ALL {
            let Rule { id, source, summary, explain, .. } = rule;
            assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{id}");
            assert!(!source.is_empty() && summary.ends_with('.') && !explain.is_empty(), "{id}");
            assert!(rule.symptom().is_some() && rule.remedy().is_some(), "{id}: programs read both");
            for text in explain.iter().chain([source, summary]) {
                assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), *text, "{id}: white space");
            }
            assert!(rule.to_string().starts_with(&format!("## `{id}`\n\n**")), "{id}");
            assert!(find(id).is_some_and(|found| std::ptr::eq(found, *rule)), "{id}");
        }
    }

    #[test]
    fn paragraphs_are_wrapped() {
        for line in
            ALL.iter().flat_map(|rule| rule.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
        {
            let one_word = !line.trim().contains(' ');
            assert!(line.chars().count() <= 100 || one_word, "{line}");
        }
    }
}
