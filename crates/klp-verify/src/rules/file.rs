// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on the file as a whole.

use klp_base::events::Severity;

use super::{Check, File, Rule};
use crate::analysis::Subject;
use crate::facts::ArchTable;
use crate::report::{Findings, Scope};

/// Validity of the ELF file.
pub static ELF: Rule = Rule {
    id: "elf",
    severity: Severity::Error,
    source: "`elf_validity_cache_copy()` in `kernel/module/main.c`.",
    summary: "The file is a relocatable 64-bit little-endian ELF file in which all offsets and indexes are in range.",
    explain: &[
        "The kernel refuses most files that break this rule, and no other rule can be applied to them: those are *not \
         checked*.",
        "**Symptom:** `Invalid ELF section header overflow`, `Invalid ELF header magic: != ELF` (ENOEXEC).",
        "**Remedy:** build or copy the file again.",
    ],
    check: Check::File { check: elf, else_unchecked: "the file cannot be read" },
};

/// Flags of sections.
pub static WRITABLE_CODE: Rule = Rule {
    id: "writable-code",
    severity: Severity::Error,
    source: "`module_enforce_rwx_sections()` in `kernel/module/strict_rwx.c`.",
    summary: "No section of the module is writable and executable.",
    explain: &[
        "The kernel refuses such a module (`CONFIG_STRICT_MODULE_RWX`).",
        "**Symptom:** `section ... has invalid WRITE|EXEC flags` (ENOEXEC).",
        "**Remedy:** code and data in sections of their own; no `link_section` of the author's for code.",
    ],
    check: Check::Module(writable_code),
};

/// Unwind tables.
pub static UNWIND_TABLE: Rule = Rule {
    id: "unwind-table",
    severity: Severity::Error,
    source: "`unwind_module_init()` in `arch/x86/kernel/unwind_orc.c`; `Documentation/livepatch/reliable-stacktrace.rst`.",
    summary: "On a kernel with the ORC unwinder, the module has unwind tables for its code.",
    explain: &[
        "objtool makes them at the end of the build. Without them no stack with a function of the module can be walked: a task that sleeps in \
         one never changes over, and the patch can be neither replaced nor taken out.",
        "**Symptom:** none when the patch is loaded; the next transition does not end.",
        "**Remedy:** build the module with the kernel's own build system, and see to it that objtool runs (`OBJECT_FILES_NON_STANDARD` is not set).",
    ],
    check: Check::Module(unwind_table),
};

/// Signature.
pub static SIGNATURE: Rule = Rule {
    id: "signature",
    severity: Severity::Error,
    source: "`mod_check_sig()` in `kernel/module_signature.c`; `module_sig_check()` in `kernel/module/signing.c`; `CONFIG_MODULE_SIG_FORCE`.",
    summary: "An appended signature has a trailer that the kernel accepts, and a kernel that takes signed modules alone gets one.",
    explain: &[
        "The message itself and its key are not judged: which keys a machine trusts, the file does not say. A kernel with lockdown or Secure Boot \
         may ask for a signature that its configuration does not ask for.",
        "**Symptom:** `Loading of module with ... is rejected`, `Key was rejected by service`, EKEYREJECTED, EBADMSG.",
        "**Remedy:** `cargo xtask sign`; copy a damaged file again.",
    ],
    check: Check::Module(signature),
};

/// Digest of the file.
pub static FILE_DIGEST: Rule = Rule {
    id: "file-digest",
    severity: Severity::Error,
    source: "`klp_digest` in the module information; `klp_module::digest`.",
    summary: "The file is the one that was built: its SHA-256 is that in its module information.",
    explain: &[
        "Stage postlink writes the digest. A byte that changed on a disk, in a copy, or by a tool (`strip`, `objcopy`) is found, wherever it is; \
         most other rules look at what a byte means. A signature that is appended later does not count.",
        "It is no protection against people: whoever changes the file can change the digest. That is what signatures are for. A module that \
         Ferrograft did not build has none; there the rule does not apply.",
        "**Symptom:** any, or none.",
        "**Remedy:** copy the file again from where it was built, or build it again; do not strip it.",
    ],
    check: Check::Module(file_digest),
};

/// Architecture of the file.
pub static ARCHITECTURE: Rule = Rule {
    id: "architecture",
    severity: Severity::Error,
    source: "`elf_check_arch()` in `arch/*/include/asm/elf.h`.",
    summary: "The file is for the architecture of the kernel.",
    explain: &[
        "The kernel refuses the file. The other rules would apply the wrong architecture's tables: they are *not checked*.",
        "**Symptom:** `Invalid architecture in ELF header: 183` (ENOEXEC).",
        "**Remedy:** build the module for that kernel.",
    ],
    check: Check::File { check: architecture, else_unchecked: "the file is for another architecture" },
};

/// Debug information in the module.
pub static DEBUG_LEFT: Rule = Rule {
    id: "debug-left",
    severity: Severity::Warning,
    source: "the project's own limit on module size.",
    summary: "The module has no debug information.",
    explain: &[
        "Debug information does no harm, but makes the file about ten times larger, and the kernel copies the file into memory \
         to load it.",
        "**Symptom:** none.",
        "**Remedy:** take the module of stage postlink, which moves debug information into `NAME.ko.debug`.",
    ],
    check: Check::Module(debug_left),
};

fn elf(file: &File<'_>, findings: &mut Findings) -> Scope {
    if let Err(error) = file.parsed {
        findings.error("the file", error.to_string());
    }
    Scope::All
}

fn architecture(file: &File<'_>, findings: &mut Findings) -> Scope {
    let module = match file.parsed {
        Ok(module) => module,
        Err(error) => return Scope::Unchecked(error.to_string()),
    };
    let (found, wanted) = (module.machine(), ArchTable::of(file.expected.arch).machine);
    if found != wanted {
        findings.error(
            "the ELF header",
            format!(
                "it is for {}, kernel {} runs on {}; build it for that kernel",
                found.name(),
                file.expected.kernel,
                wanted.name()
            ),
        );
    }
    Scope::All
}

fn debug_left(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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

fn file_digest(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Some(klp_module::Digest { said, found }) = klp_module::digest(subject.module) else {
        if let Ok(None) = subject.module.manifest() {
            return Scope::Nothing("the module has no digest: Ferrograft did not build it".to_owned());
        }
        findings.error(
            ".modinfo",
            "`klp_digest` is missing, and the module has a manifest: the file was changed since it was built",
        );
        return Scope::All;
    };
    if said != found {
        findings.error(
            "the file",
            format!("its SHA-256 is {found}, and {said} was written into it when it was built: it was changed since; copy or build it again"),
        );
    }
    Scope::All
}

fn writable_code(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    for section in subject.module.sections() {
        if section.is_alloc() && section.is_writable() && section.is_executable() {
            findings.error(
                section.name,
                "the section is writable and executable: the kernel refuses the module with ENOEXEC (\"invalid WRITE|EXEC flags\")",
            );
        }
    }
    Scope::All
}

fn unwind_table(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    if !subject.expected.orc {
        return Scope::Nothing("the kernel is built without CONFIG_UNWINDER_ORC".to_owned());
    }
    for name in [".orc_unwind", ".orc_unwind_ip"] {
        if subject.module.section(name).is_none_or(|section| section.size == 0) {
            findings.error(
                name,
                "the section is missing: objtool did not run, and the kernel cannot walk a stack through the module; a task that sleeps in \
                 a replacement never changes over",
            );
        }
    }
    Scope::All
}

fn signature(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    match klp_module::signature::split(subject.module.bytes()) {
        Ok(Some(_)) => Scope::But("whether the machine trusts the key: the file does not say".to_owned()),
        Ok(None) if subject.expected.signed_only => {
            findings.error(
                "the file",
                "it has no signature, and the kernel takes signed modules alone (CONFIG_MODULE_SIG_FORCE): it refuses the module with EKEYREJECTED",
            );
            Scope::All
        }
        Ok(None) => Scope::Nothing(
            "the module has no signature, and the kernel's configuration asks for none".to_owned(),
        ),
        Err(error) => {
            findings.error("the file", format!("{error}; the kernel refuses the module"));
            Scope::All
        }
    }
}
