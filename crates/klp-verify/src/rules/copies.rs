// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on copies of replaced functions in other functions.

use klp_base::events::Severity;

use super::{Check, Rule};
use crate::analysis::Subject;
use crate::facts::ExpectedCopy;
use crate::report::{Findings, Scope};

/// Replaced functions with copies in other functions.
pub static INLINED_COPY: Rule = Rule {
    id: "inlined-copy",
    severity: Severity::Error,
    source: "`Documentation/livepatch/livepatch.rst`, section 7; a compile of the kernel's source with the kernel's own command, whose code is \
             compared with the image; the code and data of the kernel's image, or of the module's file.",
    summary: "A function with an inlined copy of a replaced one is replaced, too, and a replaced static function is reached at all.",
    explain: &[
        "The compiler inlines functions into their callers, and makes clones of them for some callers (`f.constprop.0`). A \
         replacement changes neither: these callers run the old code.",
        "Where the kernel's source package is pinned, the file of the function is compiled as the kernel's build did, with debug information, \
         and the compile is proven to be the shipped code; its debug information then has every copy, with file and line. A module that \
         leaves out a function with a copy is refused.",
        "Where it is not, only static functions that nothing calls or points to are found, as a warning: they were probably inlined \
         everywhere. Whether others were inlined somewhere is not known.",
        "**Symptom:** none; the fault that the fix repairs remains in some callers.",
        "**Remedy:** replace the named functions too, or replace them instead. Where a caller may run the old code, name it in the entry of \
         `patch`: `{ symbol = \"vmlinux:f\", inlined_in = [\"caller\"] }`.",
    ],
    check: Check::Module(inlined_copy),
};

fn inlined_copy(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Some(patch) = &subject.expected.patch else {
        return Scope::Nothing(
            "the copies of the replaced functions in their objects are not known for a file alone".to_owned(),
        );
    };
    for (symbol, copies) in &patch.copies {
        let is_replaced = |caller: &str| {
            patch.functions.iter().any(|other| other.object == symbol.object && other.symbol == caller)
        };
        for copy in copies.iter().filter(|copy| !is_replaced(&copy.caller)) {
            let ExpectedCopy { caller, file, line, is_clone } = copy;
            let message = if *is_clone {
                format!(
                    "the compiler made a clone of it, {caller} ({file}), which callers use and the module does not replace"
                )
            } else {
                format!(
                    "the compiler inlined it into {caller} ({file}:{line}), which the module does not replace: it runs the old code"
                )
            };
            findings.error(
                symbol.to_string(),
                format!("{message}; replace {caller} too, or name it in `inlined_in` if it may"),
            );
        }
    }
    for symbol in patch.unreached.iter().filter(|symbol| !patch.copies.contains_key(symbol)) {
        findings.warning(
            symbol.to_string(),
            "nothing in its object calls it or points to it: it was probably inlined into its callers, which the replacement does not \
             change; replace the callers too",
        );
    }
    match patch.copies_not_known.iter().next() {
        Some((symbol, reason)) => Scope::But(format!(
            "inlined copies of {} of {} functions are not known: {symbol}: {reason}",
            patch.copies_not_known.len(),
            patch.copies_not_known.len() + patch.copies.len()
        )),
        None => Scope::All,
    }
}
