// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on registers that belong to the user's programs.

use klp_base::events::Severity;
use klp_module::{Symbol, SymbolSection};

use super::{Check, Rule};
use crate::analysis::{Subject, kernel_name};
use crate::report::{Findings, Scope};

/// Floating-point and vector registers.
pub static VECTOR_REGISTER: Rule = Rule {
    id: "vector-register",
    severity: Severity::Error,
    source: "`Documentation/core-api/floating-point.rst`; `kernel_fpu_begin()` in `arch/x86/kernel/fpu/core.c`, `kernel_neon_begin()` in \
             `arch/arm64/kernel/fpsimd.c`.",
    summary: "No code of the module uses floating-point or vector registers, unless the module calls `kernel_fpu_begin` or \
              `kernel_neon_begin`.",
    explain: &[
        "These registers hold the values of the program that runs on the CPU: the kernel does not save them when it is entered. Code that \
         changes them changes results in programs, without any message.",
        "Whether the code runs between begin and end is *not checked*.",
        "**Symptom:** none in the kernel; wrong results in programs.",
        "**Remedy:** integers; no `f32`, `f64` and no inline assembly with such registers; in C the kernel's own flags \
         (`-mno-sse`, `-mgeneral-regs-only`).",
    ],
    check: Check::Module(vector_register),
};

/// Functions that save these registers.
const SAVES: [&str; 4] =
    ["kernel_fpu_begin", "kernel_fpu_begin_mask", "kernel_neon_begin", "kernel_vector_begin"];

fn vector_register(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let saves = |symbol: &Symbol<'_>| {
        let outside = matches!(symbol.section, SymbolSection::Undefined | SymbolSection::Livepatch);
        outside && SAVES.contains(&kernel_name(symbol.name).as_str())
    };
    if subject.module.symbols().iter().any(saves) {
        return Scope::But(
            "whether code with these registers runs between the calls that save and restore them".to_owned(),
        );
    }
    let program = &subject.graph.program;
    for (at, function) in program.functions.iter().enumerate() {
        if let Some(step) = program.steps_of(at).find(|step| step.vector) {
            findings.error(
                function.name,
                format!(
                    "the instruction at {} uses a floating-point or vector register, which holds a value of the program that runs on the CPU: \
                     the kernel does not save it; use integers, or kernel_fpu_begin()",
                    subject.place(step.place)
                ),
            );
        }
    }
    Scope::All
}
