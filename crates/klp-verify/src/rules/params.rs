// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on module parameters.

use klp_base::events::Severity;
use klp_module::{PARAM_SECTION, ParamEntry};

use super::{Check, Rule};
use crate::analysis::Subject;
use crate::facts::ExpectedParam;
use crate::report::{Findings, Scope};

/// Module parameters.
pub static MODULE_PARAMETER: Rule = Rule {
    id: "module-parameter",
    severity: Severity::Error,
    source: "`struct kernel_param` in `include/linux/moduleparam.h`; `parse_one()` in `kernel/params.c`.",
    summary: "The module has the parameters of patch.toml, each with its type and mode; their values are in writable memory that stays.",
    explain: &[
        "The kernel calls the operations of a parameter with the address of the value, without another check. A value in memory that \
         is not writable is a page fault, in `insmod` or in the task that writes to `/sys/module/NAME/parameters`; a value in `.init` \
         memory belongs to somebody else after the module's init function. Operations of another type read or overwrite \
         the bytes beside the value.",
        "The names in `.modinfo` (`parmtype`) are what `modinfo` and `kpatch info` show. For a file alone the parameters of patch.toml \
         are not known and not compared.",
        "**Symptom:** `BUG: unable to handle page fault` in `param_set_...`; `unknown parameter '...' ignored` for one that is missing.",
        "**Remedy:** build the module again from its sources.",
    ],
    check: Check::Module(module_parameter),
};

fn module_parameter(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let found = match subject.module.params() {
        Ok(found) => found,
        Err(error) => {
            findings.error(PARAM_SECTION, format!("the module parameters cannot be read: {error}"));
            return Scope::All;
        }
    };
    for (at, param) in found.iter().enumerate() {
        let section = &subject.module.sections()[param.value.section];
        if !section.is_writable() || section.name.starts_with(".init") {
            findings.error(
                &param.name,
                format!(
                    "the value is in section {}, which is not writable or does not stay in memory",
                    section.name
                ),
            );
        }
        if found[..at].iter().any(|other| other.name == param.name) {
            findings.error(
                &param.name,
                "there are two parameters of this name, and the kernel sets only the first",
            );
        }
    }
    match &subject.expected.patch {
        Some(patch) => {
            compare(subject, &found, &patch.params, findings);
            Scope::All
        }
        None => Scope::But(
            "whether these are the parameters that were meant: of a file alone that is not known".to_owned(),
        ),
    }
}

fn compare(subject: &Subject<'_>, found: &[ParamEntry], expected: &[ExpectedParam], findings: &mut Findings) {
    for param in found.iter().filter(|param| !expected.iter().any(|other| other.name == param.name)) {
        findings.error(&param.name, "patch.toml names no such parameter");
    }
    let said: Vec<String> = subject
        .module
        .modinfo()
        .filter(|(key, _)| key == "parmtype")
        .map(|(_, value)| value.into_owned())
        .collect();
    for ExpectedParam { name, kind, mode } in expected {
        let Some(param) = found.iter().find(|param| param.name == *name) else {
            findings.error(name, "the parameter is missing, which patch.toml names");
            continue;
        };
        let array = if param.array { "array of " } else { "" };
        let is =
            format!("{array}{}", param.operations.strip_prefix("param_ops_").unwrap_or(&param.operations));
        if is != *kind {
            findings
                .error(name, format!("the kernel would read and write it as {is}, and its type is {kind}"));
        }
        if param.mode != *mode {
            findings.error(name, format!("its mode is {:04o}, not {mode:04o}", param.mode));
        }
        if !said.contains(&format!("{name}:{kind}")) {
            findings.error(name, format!(".modinfo has no `parmtype={name}:{kind}`"));
        }
    }
}
