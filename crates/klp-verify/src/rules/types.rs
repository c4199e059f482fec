// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on the types in a module's debug information.

use klp_base::events::Severity;

use super::{Check, Rule};
use crate::analysis::Subject;
use crate::facts::{PrototypeFact, TypeFacts, TypeLayout};
use crate::report::{Findings, Scope};

/// Structs and unions of the kernel.
pub static TYPE_LAYOUT: Rule = Rule {
    id: "type-layout",
    severity: Severity::Error,
    source: "The module's debug information, and the kernel's types (BTF).",
    summary: "Each struct and union of the kernel has the size and the places of its members in the module as in the kernel.",
    explain: &[
        "A module that was compiled with the headers or the configuration of another kernel has other layouts, and the checksums of exported \
         symbols cover only what these symbols reach. The debug information of the module has each type that its code uses: the file of \
         the module if it was not stripped, else the file `.ko.debug` beside it.",
        "Where the kernel has several types of a name, one must agree. Types of the module's own headers are not compared.",
        "**Symptom:** none at first; wrong values, or a write over another member.",
        "**Remedy:** compile the module with the headers of this very kernel.",
    ],
    check: Check::Module(type_layout),
};

/// Replacements in C.
pub static REPLACEMENT_PROTOTYPE: Rule = Rule {
    id: "replacement-prototype",
    severity: Severity::Error,
    source: "The module's debug information, and the kernel's types (BTF).",
    summary: "A replacement in C has the number, the sizes and the kinds of the parameters of the function that it replaces.",
    explain: &[
        "The tables of a live patch are untyped: the compiler accepts any function as `new_func`. For fixes in Rust the compiler has the \
         prototype.",
        "Numbers are compared by their size, pointers to structs by the struct. A pointer to `void`, to a number or to a type without a \
         name agrees with any other.",
        "**Symptom:** none at load; wrong values, or a page fault at the first call.",
        "**Remedy:** give the replacement the prototype in the finding.",
    ],
    check: Check::Module(replacement_prototype),
};

fn facts<'s>(subject: &'s Subject<'_>, findings: &mut Findings) -> Result<&'s TypeFacts, Scope> {
    match &subject.expected.types {
        Ok(Some(facts)) => Ok(facts),
        Ok(None) => {
            Err(Scope::Nothing("the module has no debug information, and none is beside it".to_owned()))
        }
        Err(reason) => {
            findings.unchecked("the debug information", format!("it cannot be read: {reason}"));
            Err(Scope::All)
        }
    }
}

fn type_layout(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let facts = match facts(subject, findings) {
        Ok(facts) => facts,
        Err(scope) => return scope,
    };
    for fact in &facts.layouts {
        let differences = fact.kernel.iter().map(|kernel| difference(&fact.module, kernel));
        // All of them differ; the first is named.
        let differences: Option<Vec<String>> = differences.collect();
        if let Some(difference) = differences.and_then(|all| all.into_iter().next()) {
            findings.error(
                fact.name.clone(),
                format!("{difference}; compile the module with the headers of this kernel"),
            );
        }
    }
    if facts.layouts.is_empty() {
        return Scope::Nothing("the module's debug information has no type of the kernel".to_owned());
    }
    Scope::All
}

/// First difference between two layouts.
fn difference(module: &TypeLayout, kernel: &TypeLayout) -> Option<String> {
    // A type that is only declared.
    if module.size == 0 && module.members.is_empty() {
        return None;
    }
    if module.size != kernel.size {
        return Some(format!(
            "it has {} bytes in the module, and {} in the kernel",
            module.size, kernel.size
        ));
    }
    module.members.iter().find_map(|(name, at)| {
        // A name that is a word of Rust ends with `_` in the bindings.
        let other = kernel.members.get(name).or_else(|| kernel.members.get(name.strip_suffix('_')?))?;
        (at != other).then(|| {
            format!(
                "its member {name} is at byte {} in the module, and at {} in the kernel",
                bytes(*at),
                bytes(*other)
            )
        })
    })
}

/// Bits as bytes: `8`, or `8.3` for a bit field.
fn bytes(bits: u64) -> String {
    match bits % 8 {
        0 => (bits / 8).to_string(),
        rest => format!("{}.{rest}", bits / 8),
    }
}

fn replacement_prototype(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let facts = match facts(subject, findings) {
        Ok(facts) => facts,
        Err(scope) => return scope,
    };
    for fact in &facts.prototypes {
        if let Some(difference) = wrong(fact) {
            findings.error(
                fact.symbol.to_string(),
                format!(
                    "{difference} in its replacement {}; the kernel has `{}`",
                    fact.replacement, fact.text
                ),
            );
        }
    }
    if facts.prototypes.is_empty() {
        return Scope::Nothing(
            "no replacement is in C with a prototype that the kernel's types have".to_owned(),
        );
    }
    Scope::All
}

/// First difference between two prototypes. The return value comes first.
fn wrong(fact: &PrototypeFact) -> Option<String> {
    let PrototypeFact { module, kernel, .. } = fact;
    if module.len() != kernel.len() {
        let count = |list: &[String]| list.len().saturating_sub(1);
        return Some(format!("{} parameters instead of {}", count(module), count(kernel)));
    }
    let pairs = module.iter().zip(kernel).enumerate();
    let mut wrong = pairs.filter(|(_, (own, other))| !agree(own, other));
    wrong.next().map(|(number, (own, other))| match number {
        0 => format!("the return value is {own} instead of {other}"),
        number => format!("parameter {number} is {own} instead of {other}"),
    })
}

/// True if a value of one shape may be passed as the other.
fn agree(one: &str, other: &str) -> bool {
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (Some(one), Some(other)) => one.is_empty() || other.is_empty() || one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_differ_by_size_and_by_members_that_both_have() {
        let layout = |size, members: &[(&str, u64)]| TypeLayout {
            size,
            members: members.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect(),
        };
        let kernel = layout(16, &[("type", 0), ("b", 64), ("flag", 99)]);
        assert_eq!(difference(&layout(16, &[("type_", 0), ("other", 5)]), &kernel), None);
        assert_eq!(difference(&layout(0, &[]), &kernel), None);
        let says = |size, members: &[(&str, u64)]| difference(&layout(size, members), &kernel).unwrap();
        assert_eq!(says(8, &[]), "it has 8 bytes in the module, and 16 in the kernel");
        assert_eq!(says(16, &[("b", 32)]), "its member b is at byte 4 in the module, and at 8 in the kernel");
        assert_eq!(
            says(16, &[("flag", 98)]),
            "its member flag is at byte 12.2 in the module, and at 12.3 in the kernel"
        );
    }

    #[test]
    fn shapes_agree_where_a_call_cannot_tell() {
        for (one, other, same) in [
            ("int4", "int4", true),
            ("int4", "int8", false),
            ("*struct a", "*struct a", true),
            ("*struct a", "*struct b", false),
            ("*", "*struct b", true),
            ("int8", "*", false),
            ("void", "int4", false),
        ] {
            assert_eq!(agree(one, other), same, "{one} {other}");
            assert_eq!(agree(other, one), same, "{other} {one}");
        }
    }
}
