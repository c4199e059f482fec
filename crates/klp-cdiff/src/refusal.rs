// SPDX-License-Identifier: GPL-2.0-or-later
//! Reasons why a C diff cannot become a live patch.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Reason why a C diff cannot become a live patch, or a part of it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Id of the rule.
    pub rule: String,
    /// File of the source.
    pub file: String,
    /// Function or variable.
    pub subject: String,
    /// The fault.
    pub message: String,
    /// Advice: another way to the same end.
    pub help: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}: {}\n        {}", self.rule, self.file, self.subject, self.message, self.help)
    }
}

/// Rule of a [`Refusal`]: id and remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Id.
    pub id: &'static str,
    /// Advice: another way to the same end.
    pub help: &'static str,
}

macro_rules! rules {
    ($($name:ident = $id:literal, $help:literal;)*) => {
        $(pub(crate) const $name: Rule = Rule { id: $id, help: $help };)*
        /// All rules.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    ORIGINAL_DIFFERS = "original-differs",
        "nothing can be built on it: check that source, configuration and compiler are those of the kernel (`cargo xtask doctor`)";
    CHANGED_DATA = "changed-data",
        "the variable exists in the running kernel with its own content: change it in a callback, or leave it and change its users";
    NOT_TRACEABLE = "not-traceable",
        "replace its callers instead, or write a fix in Rust for a function that ftrace reaches";
    INIT = "init-code",
        "the code has run and its memory is freed: change what it left behind in a callback";
    STATIC_LOCAL = "static-local",
        "give the variable a name of its own, or move it out of the function";
    PER_CPU = "per-cpu-data",
        "a live patch has no per-CPU variables of its own: use a shadow variable, or allocate one in a callback (alloc_percpu)";
    SECTION = "special-section",
        "what the kernel collects at boot cannot come later: leave this part out of the diff, or do its work in a callback";
    SYMBOL = "unknown-symbol",
        "the running kernel has no such symbol, or several: use another function, or write a fix in Rust that gives its position";
    NO_LANDING_PAD = "no-landing-pad",
        "an indirect call to it would fault with IBT: call it through a new function of the diff";
    MODULE_KEY = "module-special-section",
        "the livepatch core applies such entries before the module is there: leave the static key or static call of the module out of the changed function";
    SIBLING_CALL = "sibling-call",
        "the function must stay on the stack while code of the patch runs: make the jump a call, for example with a statement behind it";
    LAYOUT = "struct-layout",
        "objects of the old layout exist: add members with a shadow variable, and leave the struct as it is";
    NOT_COMPARED = "not-compared",
        "it includes what the diff changes, and may need the change: change another file, or write a fix in Rust";
    WEAK = "overridden",
        "another file of the kernel defines it, and this definition is not in the kernel: change that file";
    NO_OBJECT = "no-object",
        "the kernel has no object file of it: it is not configured, is assembly or a file of the boot code, or needs a file that only the whole build makes";
    RELOCATION = "relocation",
        "a live patch cannot have this relocation: write this function in Rust, or change another one";
}

impl Rule {
    pub(crate) fn refuse(self, file: &str, subject: &str, message: impl Into<String>) -> Refusal {
        Refusal {
            rule: self.id.to_owned(),
            file: file.to_owned(),
            subject: subject.to_owned(),
            message: message.into(),
            help: self.help.to_owned(),
        }
    }
}
