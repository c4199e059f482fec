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
