// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on what a module says of itself.

use klp_format::ModuleName;

use crate::{Findings, Scope, Subject};

/// The licences that `license_is_gpl_compatible()` in `include/linux/license.h` of the kernel knows.
pub const GPL_COMPATIBLE: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

const MODINFO: &str = ".modinfo";

/// [`crate::rules::VERMAGIC`]
pub(crate) fn vermagic(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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

/// [`crate::rules::LIVEPATCH_TAG`]
pub(crate) fn livepatch_tag(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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

/// [`crate::rules::LICENSE_TAG`]
pub(crate) fn license_tag(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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

/// [`crate::rules::MODULE_NAME`]
pub(crate) fn module_name(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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
    // modpost writes it; ModuleName::new() is what the loader makes of it.
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

/// [`crate::rules::DEBUG_LEFT`]
pub(crate) fn debug_left(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let is_debug = |name: &str| name.starts_with(".debug_") || name.starts_with(".rela.debug_");
    let (count, bytes) = subject
        .module
        .sections()
        .iter()
        .filter(|section| is_debug(section.name))
        .fold((0, 0), |(count, bytes), section| (count + 1, bytes + section.data.len()));
    if count > 0 {
        findings.warning(
            ".debug_*",
            format!("{count} sections of debug information, {bytes} bytes, were left in; stage postlink takes them off"),
        );
    }
    Scope::All
}
