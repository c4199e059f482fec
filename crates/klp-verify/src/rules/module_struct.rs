// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on the module's own `struct module`, and on the start that it names.

use std::collections::BTreeSet;

use klp_base::events::Severity;

use super::{Check, Rule};
use crate::analysis::{Subject, place_of};
use crate::report::{Findings, Scope};

/// The module's `struct module`.
pub static MODULE_STRUCT: Rule = Rule {
    id: "module-struct",
    severity: Severity::Error,
    source: "`elf_validity_cache_copy()` and `do_init_module()` in `kernel/module/main.c`; `struct module` in the kernel's types.",
    summary: "The module's `struct module` has the size that it has in the kernel, and names an init function that calls \
              `klp_enable_patch`.",
    explain: &[
        "Another size is the layout of another kernel. A module without an init function is loaded and enables nothing; neither does one \
         whose init function does not come to `klp_enable_patch`.",
        "Calls by pointer are not followed: if the init function makes one, the call of `klp_enable_patch` is *not checked*.",
        "**Symptom:** `section size must match the kernel's built struct module size at run time` (ENOEXEC); for a missing start none: \
         `/sys/kernel/livepatch` has no entry.",
        "**Remedy:** build the module again for this kernel; in C `module_init()`.",
    ],
    check: Check::Module(module_struct),
};

const SECTION: &str = ".gnu.linkonce.this_module";
const ENABLE: &str = "klp_enable_patch";

fn module_struct(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = subject.module;
    let Some((size, init)) = subject.expected.module_struct else {
        return Scope::Unchecked("the kernel's types have no struct module".to_owned());
    };
    let Some(section) = module.section(SECTION) else {
        findings.error(SECTION, "the section is missing: the file is no module");
        return Scope::All;
    };
    if section.size != size {
        findings.error(
            SECTION,
            format!(
                "it has {} bytes, and `struct module` of {} has {size}: the kernel refuses the module with ENOEXEC; build it for this kernel",
                section.size, subject.expected.kernel
            ),
        );
        return Scope::All;
    }
    let start = module
        .relocations_of(section.index)
        .find(|relocation| relocation.offset == init)
        .and_then(|relocation| place_of(module, relocation.symbol, relocation.addend))
        .and_then(|place| subject.graph.program.function_from(place));
    let Some(start) = start else {
        findings.error(SECTION, "it names no init function: the kernel loads the module and enables nothing");
        return Scope::All;
    };
    let graph = &subject.graph;
    let (mut waiting, mut reached, mut unknown) = (vec![start], BTreeSet::new(), false);
    while let Some(function) = waiting.pop() {
        if !reached.insert(function) {
            continue;
        }
        for call in &graph.followed[function].calls {
            match call.target {
                target if graph.program.symbol_name(target) == Some(ENABLE) => return Scope::All,
                None => unknown = true,
                _ => waiting.extend(graph.callee(call)),
            }
        }
    }
    if unknown {
        return Scope::Unchecked(format!(
            "whether the init function comes to {ENABLE}: it makes a call by pointer"
        ));
    }
    findings.error(
        graph.program.functions[start].name,
        format!("the init function never comes to {ENABLE}: the kernel loads the module and enables nothing"),
    );
    Scope::All
}
