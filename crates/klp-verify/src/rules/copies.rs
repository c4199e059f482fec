// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on replaced functions that nothing calls.

use klp_base::events::Severity;

use super::{Check, Rule};
use crate::analysis::Subject;
use crate::report::{Findings, Scope};

/// Replaced functions that were inlined into all their callers.
pub static INLINED_COPY: Rule = Rule {
    id: "inlined-copy",
    severity: Severity::Warning,
    source: "`Documentation/livepatch/livepatch.rst`, section 7; the code and data of the kernel's image, or of the module's file.",
    summary: "A replaced function that is static is called, or its address is used, somewhere in its object, the kernel's image or the module.",
    explain: &[
        "The compiler inlines small static functions into their callers, and may keep a copy with a symbol that nothing calls. A \
         replacement of this copy changes nothing: the callers run what was inlined into them.",
        "Functions that were inlined into some callers only are not found: neither the image nor a module's file shows inlined \
         copies.",
        "**Symptom:** none; the fault that the fix repairs remains.",
        "**Remedy:** replace the callers too: `cargo xtask look` lists those that kept a symbol, the kernel's source has all.",
    ],
    check: Check::Module(inlined_copy),
};

fn inlined_copy(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Some(patch) = &subject.expected.patch else {
        return Scope::Nothing(
            "the uses of the replaced functions in their objects are not known for a file alone".to_owned(),
        );
    };
    for symbol in &patch.unreached {
        findings.warning(
            symbol.to_string(),
            "nothing in its object calls it or points to it: it was probably inlined into its callers, which the replacement does not \
             change; replace the callers too",
        );
    }
    Scope::All
}
