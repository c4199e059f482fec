// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on the module information (section `.modinfo`) and the module's name.

use klp_base::events::Severity;
use klp_format::ModuleName;

use super::{Check, Rule};
use crate::analysis::Subject;
use crate::report::{Findings, Scope};

/// Version magic.
pub static VERMAGIC: Rule = Rule {
    id: "vermagic",
    severity: Severity::Error,
    source: "`same_magic()` in `kernel/module/version.c`.",
    summary: "The module's version magic is that of the kernel, to the last space.",
    explain: &[
        "A live patch is for one kernel. With `CONFIG_MODVERSIONS` the kernel itself does not compare the release; this rule does.",
        "**Symptom:** `version magic '...' should be '...'` (ENOEXEC). With `CONFIG_MODVERSIONS` none for another release; with \
         `CONFIG_MODULE_FORCE_LOAD` only `bad vermagic: kernel tainted.` for a missing one.",
        "**Remedy:** build the module for that kernel.",
    ],
    check: Check::Module(vermagic),
};

/// Tag of live patches.
pub static LIVEPATCH_TAG: Rule = Rule {
    id: "livepatch-tag",
    severity: Severity::Error,
    source: "`Documentation/livepatch/module-elf-format.rst`; `klp_enable_patch()` in `kernel/livepatch/core.c`.",
    summary: "The module information has `livepatch=Y`.",
    explain: &[
        "The kernel takes a module without the tag for an ordinary one, and `klp_enable_patch()` refuses its patch. The kernel accepts \
         any value; its document asks for `Y`.",
        "**Symptom:** `module NAME is not marked as a livepatch module` (EINVAL); none for another value.",
        "**Remedy:** `klp::livepatch!` writes the tag; in C `MODULE_INFO(livepatch, \"Y\")`.",
    ],
    check: Check::Module(livepatch_tag),
};

/// Licence.
pub static LICENSE_TAG: Rule = Rule {
    id: "license-tag",
    severity: Severity::Error,
    source: "`license_is_gpl_compatible()` in `include/linux/license.h`.",
    summary: "The module information names a licence that is compatible with the GPL.",
    explain: &[
        "`klp_enable_patch()` is exported to such modules only (`EXPORT_SYMBOL_GPL`); for others the symbol does not exist.",
        "**Symptom:** `Unknown symbol klp_enable_patch (err -2)`.",
        "**Remedy:** `klp::livepatch!` writes the licence; in C `MODULE_LICENSE(\"GPL\")`.",
    ],
    check: Check::Module(license_tag),
};

/// Name of the module.
pub static MODULE_NAME: Rule = Rule {
    id: "module-name",
    severity: Severity::Error,
    source: "`struct module` in `include/linux/module.h`.",
    summary: "The module has one name: in its `struct module`, in its module information, and in the result of stage 1.",
    explain: &[
        "`/sys/module` and `/sys/kernel/livepatch` show the name in `struct module`. If another name is in use elsewhere, loading or \
         unloading by name acts on another module. For a file alone the name in the result of stage 1 is not known and not compared.",
        "**Symptom:** none.",
        "**Remedy:** build the module again; do not rename it by hand.",
    ],
    check: Check::Module(module_name),
};

/// Licences that `license_is_gpl_compatible()` in `include/linux/license.h` accepts.
pub const GPL_COMPATIBLE: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

const MODINFO: &str = ".modinfo";

fn vermagic(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let wanted = &subject.expected.vermagic;
    match subject.module.vermagic() {
        Some(found) if found == *wanted => {}
        Some(found) => findings.error(
            MODINFO,
            format!(
                "the module's version magic is {found:?}, {} has {wanted:?}: it was built for another kernel",
                subject.expected.kernel
            ),
        ),
        None => findings.error(MODINFO, format!("there is no `vermagic`, which should be {wanted:?}")),
    }
    Scope::All
}

fn livepatch_tag(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    match subject.module.modinfo_value("livepatch") {
        Some(value) if value == "Y" => {}
        Some(value) => findings.error(MODINFO, format!("`livepatch={value}` should be `livepatch=Y`")),
        None => findings.error(
            MODINFO,
            "`livepatch=Y` is missing: the kernel takes it for an ordinary module and refuses the patch with EINVAL (\"is not \
             marked as a livepatch module\")",
        ),
    }
    Scope::All
}

fn license_tag(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    const WHY: &str =
        "klp_enable_patch is exported to GPL-compatible modules only, for others it is an unknown symbol";
    match subject.module.modinfo_value("license") {
        Some(license) if GPL_COMPATIBLE.contains(&license.as_ref()) => {}
        Some(license) => findings
            .error(MODINFO, format!("`license={license}` is none of {}: {WHY}", GPL_COMPATIBLE.join(", "))),
        None => findings.error(MODINFO, format!("`license` is missing: {WHY}")),
    }
    Scope::All
}

fn module_name(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let name = match subject.module.name() {
        Ok(name) => name,
        Err(error) => {
            findings.error("struct module", error.to_string());
            return Scope::All;
        }
    };
    let differs = |what: &str, other: &str| {
        format!(
            "the kernel will call the module {name}, {what} {other}: whoever loads or unloads it by name gets it wrong"
        )
    };
    // modpost writes the name; the loader reads it by ModuleName::new().
    match subject.module.modinfo_value("name") {
        Some(said) if ModuleName::new(&said).is_ok_and(|said| said == name) => {}
        Some(said) => findings.error(MODINFO, differs("its module information says", &said)),
        None => findings.error(MODINFO, "`name` is missing, which modpost writes into every module"),
    }
    match &subject.expected.patch {
        Some(patch) if patch.module == name.as_str() => Scope::All,
        Some(patch) => {
            findings.error("struct module", differs("stage 1 resolved", &patch.module));
            Scope::All
        }
        None => {
            Scope::But("whether it is the name that was meant: of a file alone that is not known".to_owned())
        }
    }
}
