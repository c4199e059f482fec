// SPDX-License-Identifier: GPL-2.0-or-later
//! What can go wrong, as the operator reads it.

use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};

use klp_format::{ModuleName, NameError};
use rustix::io::Errno;

use crate::model::explain::{self, ErrnoText};
use crate::model::refusal::Refusal;

/// Why a command failed. Its text may have several lines; those that explain begin with spaces.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments are wrong.
    #[error("{}", message.as_deref().unwrap_or("wrong usage"))]
    Usage {
        /// What is wrong with them, where the usage does not say it all.
        message: Option<String>,
    },
    /// An argument cannot be used; the usage would not help.
    #[error("{message}")]
    Argument {
        /// Why.
        message: String,
        /// The exit code of the failure's class.
        code: u8,
    },
    /// Another module of that name is installed.
    #[error(
        "{shown} is already installed\n  {path} is another build of it; to put this one in its place:\n  kpatch uninstall -k {release} {name}, then install it again"
    )]
    Installed {
        /// The argument.
        shown: String,
        /// The installed file.
        path: String,
        /// Its module's name.
        name: String,
        /// Its kernel.
        release: String,
    },
    /// Another kpatch works for too long.
    #[error("another kpatch ({holder}) is still at work; try again when it has ended")]
    Locked {
        /// What it says of itself.
        holder: String,
    },
    /// A signal asked this program to end.
    #[error("interrupted by {}: {state}", signal_name(*signal))]
    Interrupted {
        /// Its number.
        signal: i32,
        /// How things were left.
        state: String,
    },
    /// The kernel of another root does not run.
    #[error("{verb} works on the running kernel, not on that of --root {}", root.display())]
    Offline {
        /// The verb.
        verb: &'static str,
        /// The root.
        root: PathBuf,
    },
    /// `force` without its word.
    #[error(
        "force ends the transition while tasks still run code that it takes away from under them: they may crash the machine, and neither the patch nor its module can ever be removed until the next boot\n  kpatch status shows the tasks and what would free them; if that is meant all the same:\n  kpatch force --it-can-never-be-unloaded"
    )]
    ForceNeedsWord,
    /// A patch that may have crashed an earlier boot.
    #[error(
        "{module} is left out: the boot in which it was loaded at {since} ended without a shutdown in good order before the patch was confirmed (a crash or a power cut)\n  kpatch load {module} tries it again; kpatch rollback goes back to the version before it"
    )]
    Unconfirmed {
        /// The module.
        module: ModuleName,
        /// When it was loaded.
        since: String,
    },
    /// `status --check` found something, or `check` could not look at something; the output says what.
    #[error("")]
    Verdict {
        /// The exit code that monitors know.
        code: u8,
    },
    /// No file and no installed module.
    #[error("can't find {}", module.display())]
    NotFound {
        /// The argument.
        module: PathBuf,
    },
    /// No module of that name is loaded.
    #[error("patch module {module} is not loaded\nfailed to disable module {module}")]
    NotLoaded {
        /// Its name.
        module: ModuleName,
    },
    /// The argument cannot be a module's name.
    #[error("{reason}")]
    Name {
        /// Why.
        reason: NameError,
    },
    /// The kernel's release is none.
    #[error("the running kernel's release cannot be read: {reason}")]
    Release {
        /// Why.
        reason: NameError,
    },
    /// A file could not be used.
    #[error("cannot {action} {}: {source}{}", path.display(), explain::file_advice(source))]
    File {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file beyond all reason.
    #[error("{} has {length} bytes, more than a kernel module can have ({limit})", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, in bytes.
        length: u64,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// The module cannot be loaded into this kernel, and the kernel was not asked.
    #[error("{} cannot be loaded:{}", path.display(), Points(refusals))]
    Refused {
        /// Its file.
        path: PathBuf,
        /// All that speaks against it.
        refusals: Vec<Refusal>,
    },
    /// The kernel refused the module.
    #[error("failed to load module {}: the kernel refused it with {}{}", path.display(), ErrnoText(*errno), explain::Insertion { errno: *errno, changing: changing.as_deref(), log })]
    Insert {
        /// Its file.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
        /// The patch that was in transition meanwhile, which makes the kernel busy.
        changing: Option<String>,
        /// What the kernel wrote into its log meanwhile, or why that is not known.
        log: Result<Vec<String>, String>,
    },
    /// A module of that name is loaded that is no live patch.
    #[error(
        "cannot {action} {module}: a module of that name is loaded that is not a live patch\n  rmmod {module} removes it, if that is meant"
    )]
    LoadedOther {
        /// Its name.
        module: ModuleName,
        /// What was to be done.
        action: &'static str,
    },
    /// The patch that is being disabled is not the one in the file.
    #[error("cannot re-enable {module}: the loaded module is another build than {}\n  wait until it is disabled (kpatch list), then load again", path.display())]
    OtherBuild {
        /// Its name.
        module: ModuleName,
        /// The file.
        path: PathBuf,
    },
    /// The kernel took the module but nothing was patched.
    #[error(
        "module {module} is loaded but patches nothing: it has no directory in /sys/kernel/livepatch\n  its init function does not enable a patch; rmmod {module} removes it"
    )]
    PatchedNothing {
        /// Its name.
        module: ModuleName,
    },
    /// The transition of a load stalled.
    #[error("error: failed to load module {module} (transition stalled){}", Undone(undone))]
    LoadStalled {
        /// The module.
        module: ModuleName,
        /// Whether it could be taken out again.
        undone: Result<(), Box<Error>>,
    },
    /// The transition of a load stalled and is left to the kernel.
    #[error(
        "transition stalled for {module}\n  the module stays loaded, and the kernel goes on with the transition: it ends when the tasks named above leave\n  the patched code (kpatch status shows them); kpatch unload {module} takes it back"
    )]
    LoadLeft {
        /// The module.
        module: ModuleName,
    },
    /// The transition of an unload stalled and was turned round.
    #[error(
        "transition stalled for {module}\nfailed to disable module {module}\n  {}", reversed(*complete)
    )]
    UnloadReversed {
        /// The module.
        module: ModuleName,
        /// Whether the way back is complete.
        complete: bool,
    },
    /// The transition of an unload stalled.
    #[error(
        "transition stalled for {module}\nfailed to disable module {module}\n  the kernel goes on with the transition: it ends when the tasks named above leave the patched code, then\n  run kpatch unload {module} again; kpatch load {module} turns it round"
    )]
    UnloadStalled {
        /// The module.
        module: ModuleName,
    },
    /// Someone else turned the transition round, or replaced the patch.
    #[error(
        "module {module} is {state} after its transition: something else changed it meanwhile (kpatch list shows what is enabled)"
    )]
    Overtaken {
        /// The module.
        module: ModuleName,
        /// How it is now.
        state: &'static str,
    },
    /// The kernel refused to enable a patch.
    #[error("failed to re-enable module {module}: the kernel answered {}{}", ErrnoText(*errno), explain::disable_advice(*errno))]
    Enable {
        /// The module.
        module: ModuleName,
        /// Its answer.
        errno: Errno,
    },
    /// The kernel refused to disable a patch.
    #[error("failed to disable module {module}: the kernel answered {}{}", ErrnoText(*errno), explain::disable_advice(*errno))]
    Disable {
        /// The module.
        module: ModuleName,
        /// Its answer.
        errno: Errno,
    },
    /// A module is still in use.
    #[error(
        "module {module} is no longer patching but stays in use ({count} references): it is not removed\n  a patch whose transition was forced can never be removed; otherwise try again later"
    )]
    InUse {
        /// The module.
        module: ModuleName,
        /// How many use it.
        count: i64,
    },
    /// The kernel refused to remove a module.
    #[error("failed to unload module {module}: the kernel answered {}{}", ErrnoText(*errno), explain::remove_advice(*errno))]
    Remove {
        /// The module.
        module: ModuleName,
        /// Its answer.
        errno: Errno,
    },
    /// Some modules of `--all`; their own errors were shown before.
    #[error("{failed} of {total} patch modules could not be {action}")]
    SomeFailed {
        /// What could not be done with them.
        action: &'static str,
        /// How many failed.
        failed: usize,
        /// How many there are.
        total: usize,
    },
    /// The standard output failed; what was to be done is done.
    #[error("cannot write the output: {source}")]
    Output {
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::File { action, path: path.as_ref().to_owned(), source }
    }

    /// Whether another user might have been let do it.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The exit code of the failure's class; the crate's documentation lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Offline { .. } | Self::ForceNeedsWord => 2,
            Self::Argument { code, .. } | Self::Verdict { code } => *code,
            Self::Interrupted { signal, .. } => 128 + u8::try_from(*signal).unwrap_or(0),
            Self::NotFound { .. } | Self::NotLoaded { .. } | Self::Name { .. } => 3,
            Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::LoadedOther { .. }
            | Self::Installed { .. }
            | Self::Unconfirmed { .. }
            | Self::OtherBuild { .. } => 4,
            Self::Insert { .. } | Self::Enable { .. } | Self::Disable { .. } | Self::Remove { .. } => 5,
            Self::LoadStalled { .. }
            | Self::LoadLeft { .. }
            | Self::UnloadStalled { .. }
            | Self::UnloadReversed { .. } => 6,
            Self::InUse { .. } | Self::Locked { .. } => 7,
            Self::Release { .. }
            | Self::File { .. }
            | Self::PatchedNothing { .. }
            | Self::Overtaken { .. }
            | Self::SomeFailed { .. }
            | Self::Output { .. } => 1,
        }
    }
}

fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

fn reversed(complete: bool) -> &'static str {
    if complete {
        "it is enabled again for all tasks: nothing has changed"
    } else {
        "it is being enabled again, and the kernel goes on with that (kpatch list shows when it is done)"
    }
}

/// One refusal on the same line, several on lines of their own.
struct Points<'a>(&'a [Refusal]);

impl fmt::Display for Points<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => write!(f, " {only}"),
            many => many.iter().try_for_each(|refusal| write!(f, "\n  - {refusal}")),
        }
    }
}

struct Undone<'a>(&'a Result<(), Box<Error>>);

impl fmt::Display for Undone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Err(error) = self.0 else {
            return Ok(());
        };
        f.write_str("\n  it could not be taken out again:")?;
        for line in error.to_string().lines() {
            f.write_str("\n  ")?;
            f.write_str(line)?;
        }
        f.write_char('\n')?;
        f.write_str("  kpatch list shows its state")
    }
}
