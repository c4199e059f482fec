// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on the mitigations of speculative execution in a module's code.

use klp_base::events::Severity;

use super::{Check, Rule};
use crate::analysis::{Subject, Target, kernel_name};
use crate::report::{Findings, Scope};

/// Indirect branches and returns.
pub static BRANCH_THUNK: Rule = Rule {
    id: "branch-thunk",
    severity: Severity::Error,
    source: "`Documentation/admin-guide/hw-vuln/spectre.rst`; `apply_retpolines()` and `apply_returns()` in \
             `arch/x86/kernel/alternative.c`; objtool's `validate_retpoline()`.",
    summary: "Where the kernel has retpolines and return thunks, no code of the module branches to an address in a register or in memory, or \
              returns, by the instruction itself.",
    explain: &[
        "The kernel replaces calls of the thunks by what the processor needs. It does not find the instructions themselves. Calls through \
         `pv_ops` are left out: the kernel replaces each of them by a direct call.",
        "**Symptom:** none; on a processor with the fault, an unprivileged program can lead speculation into code of its choice.",
        "**Remedy:** the kernel's own flags: `-mindirect-branch=thunk-extern -mfunction-return=thunk-extern`, \
         `-Ctarget-feature=+retpoline-external-thunk -Zfunction-return=thunk-extern`; no `KCFLAGS` on the build machine.",
    ],
    check: Check::Module(branch_thunk),
};

/// Tag of modules with retpolines.
pub static RETPOLINE_TAG: Rule = Rule {
    id: "retpoline-tag",
    severity: Severity::Error,
    source: "`check_modinfo_retpoline()` in `kernel/module/main.c`.",
    summary: "Where the kernel has retpolines, the module information has `retpoline=Y`.",
    explain: &[
        "Without the tag the kernel reports the whole machine as vulnerable, until it boots again.",
        "**Symptom:** `loading module not compiled with retpoline compiler.`, `Spectre V2 : System may be vulnerable to spectre v2`.",
        "**Remedy:** build the module with the kernel's own build system, whose modpost writes the tag.",
    ],
    check: Check::Module(retpoline_tag),
};

/// Table of the functions that depend on the hypervisor.
const PARAVIRT: &str = "pv_ops";

fn branch_thunk(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let expected = subject.expected;
    if !expected.retpolines && !expected.return_thunks {
        return Scope::Nothing("the kernel is built without retpolines and return thunks".to_owned());
    }
    let program = &subject.graph.program;
    let is_paravirt = |target: Option<Target>| match target {
        Some(Target::Symbol(symbol, _)) => kernel_name(subject.module.symbols()[symbol].name) == PARAVIRT,
        _ => false,
    };
    for (at, function) in program.functions.iter().enumerate() {
        for step in program.steps_of(at) {
            let what = if expected.return_thunks && step.is_bare_return() {
                "returns"
            } else if expected.retpolines && step.is_bare_indirect() && !is_paravirt(step.address) {
                "calls or jumps to an address in a register or in memory"
            } else {
                continue;
            };
            findings.error(
                function.name,
                format!(
                    "it {what} at {} without the kernel's thunk: a processor with the fault can be led astray there; compile it with the \
                     kernel's own flags",
                    subject.place(step.place)
                ),
            );
            break;
        }
    }
    Scope::All
}

fn retpoline_tag(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    if !subject.expected.retpolines {
        return Scope::Nothing("the kernel is built without retpolines".to_owned());
    }
    if subject.module.modinfo_value("retpoline").is_none() {
        findings.error(
            ".modinfo",
            "`retpoline=Y` is missing: the kernel will say of the whole machine that it is vulnerable to Spectre v2, until it boots again",
        );
    }
    Scope::All
}
