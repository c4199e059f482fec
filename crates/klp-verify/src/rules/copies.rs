// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on copies of replaced functions in other functions.

use std::collections::BTreeMap;

use klp_base::events::Severity;
use klp_format::KlpSymbol;

use super::{Check, Rule, without_tables};
use crate::analysis::Subject;
use crate::facts::ExpectedCopy;
use crate::report::{Findings, Scope};

/// Replaced functions with copies in other functions.
pub static INLINED_COPY: Rule = Rule {
    id: "inlined-copy",
    severity: Severity::Error,
    source: "`Documentation/livepatch/livepatch.rst`, section 7; a compile of the kernel's source with the kernel's own command, whose code is \
             compared with the image; the kernel's debug information; the code and data of the kernel's image, or of the module's file.",
    summary: "A function with an inlined copy of a replaced one is replaced, too, and a replaced static function is reached at all.",
    explain: &[
        "The compiler inlines functions into their callers, and makes clones of them for some callers (`f.constprop.0`). A \
         replacement changes neither: these callers run the old code.",
        "Where the kernel's source package is pinned, the file of the function is compiled as the kernel's build did, with debug information, \
         and the compile is proven to be the shipped code; its debug information then has every copy, with file and line. A module that \
         leaves out a function with a copy is refused.",
        "Where it is not, and for a file alone, the index of the kernel's debug information has the copies, once `cargo xtask kernel debug` \
         has made it. For a file alone they are warnings: a file does not say which callers may run old code.",
        "Where neither tells, only static functions that nothing calls or points to are found, as a warning: they were probably inlined \
         everywhere. Whether others were inlined somewhere is not known.",
        "**Symptom:** none; the fault that the fix repairs remains in some callers.",
        "**Remedy:** replace the named functions too, or replace them instead. Where a caller may run the old code, name it in the entry of \
         `patch`: `{ symbol = \"vmlinux:f\", inlined_in = [\"caller\"] }`.",
    ],
    check: Check::Module(inlined_copy),
};

fn inlined_copy(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Some(patch) = &subject.expected.patch else {
        return of_a_file(subject, findings);
    };
    let remedy = |caller: &str| format!("replace {caller} too, or name it in `inlined_in` if it may");
    for (symbol, copy) in left_out(&patch.copies, &patch.functions) {
        findings.error(symbol.to_string(), format!("{}; {}", says(copy), remedy(&copy.caller)));
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

/// The author's word for a copy that may run old code is not in the file: copies are no errors.
fn of_a_file(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let copies = &subject.expected.debug_copies;
    if copies.is_empty() {
        return Scope::Nothing(
            "the copies of the replaced functions are not known for a file alone; `cargo xtask kernel debug` fetches the debug \
             information, which has those of vmlinux"
                .to_owned(),
        );
    }
    let Ok(table) = &subject.table else { return without_tables() };
    let functions: Vec<KlpSymbol> = table.symbols().map(|(symbol, _)| symbol).collect();
    for (symbol, copy) in left_out(copies, &functions) {
        let text = format!("{}; replace {} too, unless it may", says(copy), copy.caller);
        findings.warning(symbol.to_string(), text);
    }
    match functions.iter().find(|symbol| !copies.contains_key(symbol)) {
        Some(symbol) => Scope::But(format!(
            "inlined copies of {} of {} functions are not known, as those of {symbol}: the debug information does not have them",
            functions.iter().filter(|symbol| !copies.contains_key(symbol)).count(),
            functions.len()
        )),
        None => Scope::All,
    }
}

/// Copies in functions that are not replaced.
fn left_out<'a>(
    copies: &'a BTreeMap<KlpSymbol, Vec<ExpectedCopy>>,
    replaced: &'a [KlpSymbol],
) -> impl Iterator<Item = (&'a KlpSymbol, &'a ExpectedCopy)> {
    let pairs = copies.iter().flat_map(|(symbol, copies)| copies.iter().map(move |copy| (symbol, copy)));
    pairs.filter(|(symbol, copy)| {
        !replaced.iter().any(|other| other.object == symbol.object && other.symbol == copy.caller)
    })
}

fn says(copy: &ExpectedCopy) -> String {
    let ExpectedCopy { caller, file, line, is_clone } = copy;
    if *is_clone {
        return format!(
            "the compiler made a clone of it, {caller} ({file}), which callers use and the module does not replace"
        );
    }
    format!(
        "the compiler inlined it into {caller} ({file}:{line}), which the module does not replace: it runs the old code"
    )
}
