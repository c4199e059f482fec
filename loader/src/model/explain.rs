// SPDX-License-Identifier: GPL-2.0-or-later
//! Explanations of the kernel's error numbers for live patches.
//!
//! Sources: `kernel/module/main.c`, `kernel/module/signing.c`, `kernel/livepatch/core.c` and
//! `kernel/trace/ftrace.c` of Linux 6.1 to 6.12.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// Phrases of the kernel's log with cause and remedy. The first match is the most specific one.
const PHRASES: &[(&str, &str)] = &[
    (
        "version magic '",
        "the module was built for another kernel or another configuration of it; build or get the patch for this one",
    ),
    (
        "disagrees about version of symbol",
        "the module was built against other versions of the kernel's symbols; build it with the headers of exactly this kernel",
    ),
    (
        "no symbol version for",
        "the module has no checksum for a symbol that this kernel checks (MODVERSIONS); build it with the kernel's Module.symvers",
    ),
    (
        "Unknown symbol .klp.sym.",
        "the module was not converted: its livepatch symbols are ordinary undefined symbols still; run the build's postlink stage on it",
    ),
    (
        "Unknown symbol __klp_sym_",
        "the module was not converted: its livepatch symbols are ordinary undefined symbols still; run the build's postlink stage on it",
    ),
    (
        "Unknown symbol",
        "the module uses a symbol that this kernel does not export; it must be declared as a livepatch symbol and converted by the build's postlink stage",
    ),
    (
        "not found in symbol table",
        "the patch names a function or variable that this kernel does not have under that name and position",
    ),
    (
        "unresolvable ambiguity for symbol",
        "the patch names a function or variable of which this kernel has several; the patch must say which (its position)",
    ),
    (
        "failed to find location for function",
        "a function that is to be replaced cannot be traced by ftrace, which live patching needs",
    ),
    (
        "kallsyms size lookup failed",
        "a replacement function is not in the module's symbol table: the module was stripped too far; build it again",
    ),
    (
        "is not compatible with the already installed livepatches",
        "a loaded patch has a system state that this one does not know, or knows only in an older version; use a newer patch",
    ),
    (
        "Unknown rela relocation",
        "the module has a relocation that the kernel's module loader does not know; it was compiled with wrong flags (the build's verify stage says which)",
    ),
    (
        "unsupported RELA relocation",
        "the module has a relocation that the kernel's module loader does not know; it was compiled with wrong flags (the build's verify stage says which)",
    ),
    (
        "module is marked as livepatch module, but livepatch support is disabled",
        "this kernel was built without CONFIG_LIVEPATCH",
    ),
    (
        "Loading of unsigned module is rejected",
        "this kernel loads signed modules only; sign the module with a key that it trusts",
    ),
    (
        "Loading of module with unavailable key is rejected",
        "the module is signed with a key that this kernel does not trust; sign it with one that it does, or enrol the key",
    ),
    (
        "Loading of module with unsupported crypto is rejected",
        "the module's signature uses an algorithm that this kernel does not have",
    ),
    (
        "Lockdown:",
        "the kernel is locked down (Secure Boot): only modules signed with a key that it trusts are loaded",
    ),
    (
        "failed to register ftrace handler",
        "another user of ftrace changes a function that is to be replaced (a kprobe with a post handler, another live patching), or kernel.ftrace_enabled is 0",
    ),
    ("pre-patch callback failed", "the patch's own pre-patch callback refused"),
    ("module is already loaded", "a module of that name is loaded already"),
];

/// Likely causes of an error number, if the log has no known phrase.
fn causes(errno: Errno) -> &'static [&'static str] {
    match errno {
        Errno::NOEXEC => &[
            "it was built for another kernel release or configuration (vermagic)",
            "it is damaged, or no module for this processor",
            "it has relocations that the kernel's module loader does not know",
            "this kernel was built without CONFIG_LIVEPATCH",
        ],
        Errno::NOENT => &[
            "it uses a symbol that this kernel does not export, or its livepatch symbols were not converted",
            "a replacement function is not in the module's symbol table (stripped too far)",
        ],
        Errno::INVAL => &[
            "it names a function or variable that this kernel does not have, or of which it has several",
            "a function that is to be replaced cannot be traced by ftrace",
            "its states are not compatible with those of a loaded patch",
            "it was built against other versions of the kernel's symbols",
            "this kernel's live patching is switched off, or has no reliable stack traces",
        ],
        Errno::BUSY => &[
            "another patch is in transition (kpatch list shows it)",
            "another user of ftrace changes a function that is to be replaced (a kprobe with a post handler)",
            "kernel.ftrace_enabled is 0 (sysctl kernel.ftrace_enabled=1 switches it on)",
            "the patch's own pre-patch callback refused",
        ],
        Errno::EXIST => &["a module of that name is loaded already"],
        Errno::PERM => &[
            "only root (CAP_SYS_MODULE) may load modules",
            "loading modules was switched off for good until the next boot (sysctl kernel.modules_disabled)",
            "the kernel is locked down (Secure Boot), and the module has no signature that it trusts",
        ],
        Errno::ACCESS => &["a security policy (SELinux, LoadPin, IMA) forbids to load this file as a module"],
        Errno::KEYREJECTED | Errno::NOKEY => &[
            "the module's signature does not fit it: it was changed after it was signed",
            "this kernel loads signed modules only, and the module has no signature, or one by a key that it does not trust",
        ],
        Errno::BADMSG => {
            &["the module's signature is damaged, or does not fit it: it was changed after it was signed"]
        }
        Errno::NOPKG => &["the module's signature uses an algorithm that this kernel does not have"],
        Errno::NODEV => &[
            "the patch's own pre-patch callback refused",
            "ftrace has been switched off after a fault in it",
        ],
        Errno::NOSYS => {
            &["this kernel cannot load modules, or has no reliable stack traces for live patching"]
        }
        Errno::NOMEM => &["there is not enough memory for the module"],
        Errno::TXTBSY => &["the file is open for writing: wait until it is complete"],
        _ => &[],
    }
}

/// Explanation of a refused insertion: causes and log lines.
pub(crate) struct Insertion<'a> {
    pub(crate) errno: Errno,
    pub(crate) changing: Option<&'a str>,
    pub(crate) log: &'a Result<Vec<String>, String>,
}

impl fmt::Display for Insertion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.log.as_deref().unwrap_or_default();
        let known = |phrase: &str| lines.iter().any(|line| line.contains(phrase));
        if let Some((_, cause)) = PHRASES.iter().find(|(phrase, _)| known(phrase)) {
            write!(f, "\n  cause: {cause}")?;
        } else if let Some(patch) = self.changing {
            write!(
                f,
                "\n  cause: patch {patch} is in transition, and there can be only one: kpatch list shows what holds it up"
            )?;
        } else {
            let causes = causes(self.errno);
            if !causes.is_empty() {
                f.write_str("\n  likely causes:")?;
            }
            causes.iter().try_for_each(|cause| write!(f, "\n  - {cause}"))?;
        }
        match self.log {
            Err(why) => write!(f, "\n  the kernel log could not be read ({why}): dmesg may say more"),
            Ok(lines) if lines.is_empty() => f.write_str("\n  the kernel log has no line about it"),
            Ok(lines) => {
                f.write_str("\n  the kernel log says:")?;
                lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
        }
    }
}

/// Error number with its symbolic name: `EBUSY (Device or resource busy)`.
pub(crate) struct ErrnoText(pub(crate) Errno);

impl fmt::Display for ErrnoText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.raw_os_error();
        let text = io::Error::from(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        match name(self.0) {
            Some(name) => write!(f, "{name} ({text})"),
            None => write!(f, "error {number} ({text})"),
        }
    }
}

fn name(errno: Errno) -> Option<&'static str> {
    let names = [
        (Errno::ACCESS, "EACCES"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::BADMSG, "EBADMSG"),
        (Errno::BUSY, "EBUSY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::FAULT, "EFAULT"),
        (Errno::INVAL, "EINVAL"),
        (Errno::IO, "EIO"),
        (Errno::KEYREJECTED, "EKEYREJECTED"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOENT, "ENOENT"),
        (Errno::NOEXEC, "ENOEXEC"),
        (Errno::NOKEY, "ENOKEY"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::NOPKG, "ENOPKG"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::PERM, "EPERM"),
        (Errno::TXTBSY, "ETXTBSY"),
    ];
    names.iter().find(|(number, _)| *number == errno).map(|(_, name)| *name)
}

/// Advice for a file error.
pub(crate) fn file_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as root",
        io::ErrorKind::ReadOnlyFilesystem => {
            "; nothing was changed: make the file system writable (mount -o remount,rw), then try again"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; nothing was changed: make room there, then try again"
        }
        _ if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
            "; the disk or its file system is damaged: the kernel's log (dmesg) has more"
        }
        _ => "",
    }
}

/// Advice for a patch that the kernel refused to disable.
pub(crate) fn disable_advice(errno: Errno) -> &'static str {
    match errno {
        Errno::BUSY => {
            "\n  another patch is in transition (kpatch list shows it): wait until it is complete, then try again"
        }
        Errno::ACCESS | Errno::PERM => "\n  run this as root",
        _ => "",
    }
}

/// Advice for a module that the kernel refused to remove.
pub(crate) fn remove_advice(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => {
            "\n  run this as root; where kernel.modules_disabled is 1, no module can be removed until the next boot"
        }
        Errno::AGAIN | Errno::BUSY => "\n  it is in use: try again later",
        _ => "",
    }
}
