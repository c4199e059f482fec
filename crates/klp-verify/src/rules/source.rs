// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on the source of the fixes.

use klp_base::events::Severity;

use super::{Check, Rule};
use crate::analysis::Subject;
use crate::report::{Findings, Scope};

/// Patterns in the source.
pub static AUTHOR_SOURCE: Rule = Rule {
    id: "author-source",
    severity: Severity::Warning,
    source: "[docs/author-guide.md](author-guide.md).",
    summary: "The Rust source of the fixes has none of the patterns that compile and are wrong in a kernel.",
    explain: &[
        "Three patterns are known: the pointer to a text of Rust, which has no zero at its end, where C reads one; a `Guard` that `let _` \
         drops at once; `mem::forget`, which leaves a lock held.",
        "**Symptom:** other bytes of the module in the output; a race; `INFO: task ... blocked`.",
        "**Remedy:** `c\"...\"`; `let _held = ...`; no `mem::forget`.",
    ],
    check: Check::Module(author_source),
};

fn author_source(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Some(patch) = &subject.expected.patch else {
        return Scope::Nothing("the source is not known for a file alone".to_owned());
    };
    for (place, problem) in &patch.source {
        findings.warning(place, problem);
    }
    Scope::All
}
