// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors of the commands, with their messages and exit codes.

use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};

use klp_format::{ModuleName, NameError};
use rustix::io::Errno;

use crate::model::explain::{self, ErrnoText};
use crate::model::refusal::Refusal;

/// Error of a command. The message may have several lines; explanations are indented.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wrong usage.
    #[error("{}", message.as_deref().unwrap_or("wrong usage"))]
    Usage {
        /// Message; `None` if the usage text is enough.
        message: Option<String>,
    },
    /// Unusable argument; the usage text is not shown.
    #[error("{message}")]
    Argument {
        /// Message.
        message: String,
        /// Exit code.
        code: u8,
    },
    /// Another build of the module is installed.
    #[error(
        "{shown} is already installed\n  {path} is another build of it; to put this one in its place:\n  kpatch uninstall -k {release} {name}, then install it again"
    )]
    Installed {
        /// Argument of the command.
        shown: String,
        /// Installed file.
        path: String,
        /// Name of the installed module.
        name: String,
        /// Kernel release of the installed module.
        release: String,
    },
    /// Timeout while waiting for the lock.
    #[error("another kpatch ({holder}) is still at work; try again when it has ended")]
    Locked {
        /// Content of the lock file: verb and process of the holder.
        holder: String,
    },
    /// Interrupted by a signal.
    #[error("interrupted by {}: {state}", signal_name(*signal))]
    Interrupted {
        /// Signal number.
        signal: i32,
        /// State of the patch after the interruption.
        state: String,
    },
    /// Verb that needs a running kernel, with `--root`.
    #[error("{verb} works on the running kernel, not on that of --root {}", root.display())]
    Offline {
        /// Verb.
        verb: &'static str,
        /// Root directory.
        root: PathBuf,
    },
    /// `force` without the required acknowledgement.
    #[error(
        "force ends the transition while tasks still run code that it takes away from under them: they may crash the machine, and neither the patch nor its module can ever be removed until the next boot\n  kpatch status shows the tasks and what would free them; if that is meant all the same:\n  kpatch force --it-can-never-be-unloaded"
    )]
    ForceNeedsWord,
    /// Patch that is not confirmed and whose boot ended unclean.
    #[error(
        "{module} is left out: the boot in which it was loaded at {since} ended without a shutdown in good order before the patch was confirmed (a crash or a power cut)\n  kpatch load {module} tries it again; kpatch rollback goes back to the version before it"
    )]
    Unconfirmed {
        /// Module name.
        module: ModuleName,
        /// Load time.
        since: String,
    },
    /// Patch that is left out, since the kernel reported a bug in this build.
    #[error(
        "{module} is left out: the kernel reported a bug in it at {time} ({function}): {title}\n  kpatch load {module} tries it again; kpatch rollback goes back to the version before it"
    )]
    LeftOutWithBug {
        /// Module name.
        module: ModuleName,
        /// Time of the report.
        time: String,
        /// Function of the patch that the report names.
        function: String,
        /// First line of the report.
        title: String,
    },
    /// Patch in which the kernel reported a bug after the load.
    #[error(
        "{module} is applied with a bug: the kernel reported one in {function}: {title}\n  kpatch status --json shows the trace; kpatch unload {module} reverts the patch; the next boot leaves it out"
    )]
    AppliedWithBug {
        /// Module name.
        module: String,
        /// Function of the patch that the report names.
        function: String,
        /// First line of the report.
        title: String,
    },
    /// Patch that cannot be confirmed: the kernel reported a bug, and it is unknown whether in the patch.
    #[error(
        "{module} is not confirmed: the kernel has reported a bug since the load (taint flags {taint}), and its log cannot tell where: {why}\n  where it was not the patch: kpatch confirm --clear-bugs"
    )]
    NotWatched {
        /// Module name.
        module: String,
        /// Letters of the taint flags.
        taint: String,
        /// Reason.
        why: String,
    },
    /// Failure that the output already reports: of `status --check`, or incomplete checks of `check`.
    #[error("")]
    Reported {
        /// Exit code.
        code: u8,
    },
    /// No such file and no such installed module.
    #[error("can't find {}", module.display())]
    NotFound {
        /// Argument of the command.
        module: PathBuf,
    },
    /// Module that is not loaded.
    #[error("patch module {module} is not loaded\nfailed to disable module {module}")]
    NotLoaded {
        /// Module name.
        module: ModuleName,
    },
    /// Argument that is not a valid module name.
    #[error("{reason}")]
    Name {
        /// Reason.
        reason: NameError,
    },
    /// Invalid kernel release.
    #[error("the running kernel's release cannot be read: {reason}")]
    Release {
        /// Reason.
        reason: NameError,
    },
    /// File system error.
    #[error("cannot {action} {}: {source}{}", path.display(), explain::file_advice(source))]
    File {
        /// Failed operation.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// Too large file.
    #[error("{} has {length} bytes, more than a kernel module can have ({limit})", path.display())]
    TooLarge {
        /// Path of the file.
        path: PathBuf,
        /// Size, in bytes.
        length: u64,
        /// Size limit, in bytes.
        limit: u64,
    },
    /// Module that the loader's checks refused before the insertion.
    #[error("{} cannot be loaded:{}", path.display(), Points(refusals))]
    Refused {
        /// Path of the file.
        path: PathBuf,
        /// All reasons.
        refusals: Vec<Refusal>,
    },
    /// Module that the kernel refused.
    #[error("failed to load module {}: the kernel refused it with {}{}", path.display(), ErrnoText(*errno), explain::Insertion { errno: *errno, changing: changing.as_deref(), log })]
    Insert {
        /// Path of the file.
        path: PathBuf,
        /// Error number.
        errno: Errno,
        /// Patch in transition, if that is why the kernel was busy.
        changing: Option<String>,
        /// New messages in the kernel log, or the reason why it could not be read.
        log: Result<Vec<String>, String>,
    },
    /// Loaded module of the same name that is no live patch.
    #[error(
        "cannot {action} {module}: a module of that name is loaded that is not a live patch\n  rmmod {module} removes it, if that is meant"
    )]
    LoadedOther {
        /// Module name.
        module: ModuleName,
        /// Intended operation.
        action: &'static str,
    },
    /// Patch that is being disabled and is another build than the file.
    #[error("cannot re-enable {module}: the loaded module is another build than {}\n  wait until it is disabled (kpatch list), then load again", path.display())]
    OtherBuild {
        /// Module name.
        module: ModuleName,
        /// Path of the file.
        path: PathBuf,
    },
    /// Module that the kernel loaded but that patches nothing.
    #[error(
        "module {module} is loaded but patches nothing: it has no directory in /sys/kernel/livepatch\n  its init function does not enable a patch; rmmod {module} removes it"
    )]
    PatchedNothing {
        /// Module name.
        module: ModuleName,
    },
    /// Stalled transition of a load; the load was undone.
    #[error("error: failed to load module {module} (transition stalled){}", Undone(undone))]
    LoadStalled {
        /// Module name.
        module: ModuleName,
        /// Result of the unload.
        undone: Result<(), Box<Error>>,
    },
    /// Stalled transition of a load; it continues in the kernel.
    #[error(
        "transition stalled for {module}\n  the module stays loaded, and the kernel goes on with the transition: it ends when {}\n  (kpatch status shows it); kpatch unload {module} takes it back", end(*tasks)
    )]
    LoadLeft {
        /// Module name.
        module: ModuleName,
        /// Number of tasks that still have to change over.
        tasks: usize,
    },
    /// Stalled transition of an unload; it was reversed.
    #[error(
        "transition stalled for {module}\nfailed to disable module {module}\n  {}", reversed(*complete)
    )]
    UnloadReversed {
        /// Module name.
        module: ModuleName,
        /// True if the reversed transition is complete.
        complete: bool,
    },
    /// Stalled transition of an unload; it continues in the kernel.
    #[error(
        "transition stalled for {module}\nfailed to disable module {module}\n  the kernel goes on with the transition: it ends when {}; then\n  run kpatch unload {module} again; kpatch load {module} turns it round", end(*tasks)
    )]
    UnloadStalled {
        /// Module name.
        module: ModuleName,
        /// Number of tasks that still have to change over.
        tasks: usize,
    },
    /// Patch that another program reversed or replaced during the transition.
    #[error(
        "module {module} is {state} after its transition: something else changed it meanwhile (kpatch list shows what is enabled)"
    )]
    Overtaken {
        /// Module name.
        module: ModuleName,
        /// Present state.
        state: &'static str,
    },
    /// Patch that the kernel refused to enable.
    #[error("failed to re-enable module {module}: the kernel answered {}{}", ErrnoText(*errno), explain::disable_advice(*errno))]
    Enable {
        /// Module name.
        module: ModuleName,
        /// Error number.
        errno: Errno,
    },
    /// Patch that the kernel refused to disable.
    #[error("failed to disable module {module}: the kernel answered {}{}", ErrnoText(*errno), explain::disable_advice(*errno))]
    Disable {
        /// Module name.
        module: ModuleName,
        /// Error number.
        errno: Errno,
    },
    /// Patch that must not be disabled because the kernel has switched ftrace off.
    #[error(
        "module {module} is not disabled: the kernel has switched ftrace off after an error of its own (a WARNING of ftrace.c in its log), and taking functions from it now can crash the kernel; reboot"
    )]
    FtraceGone {
        /// Module name.
        module: ModuleName,
    },
    /// Module that is still in use.
    #[error(
        "module {module} is no longer patching but stays in use ({count} references): it is not removed\n  a patch whose transition was forced can never be removed; otherwise try again later"
    )]
    InUse {
        /// Module name.
        module: ModuleName,
        /// Reference count.
        count: i64,
    },
    /// Module that the kernel refused to remove.
    #[error("failed to unload module {module}: the kernel answered {}{}", ErrnoText(*errno), explain::remove_advice(*errno))]
    Remove {
        /// Module name.
        module: ModuleName,
        /// Error number.
        errno: Errno,
    },
    /// Failure of some modules of `--all`; their own errors were shown before.
    #[error("{failed} of {total} patch modules could not be {action}")]
    SomeFailed {
        /// Failed operation.
        action: &'static str,
        /// Number of failures.
        failed: usize,
        /// Number of modules.
        total: usize,
    },
    /// Write error on standard output; the command itself is done.
    #[error("cannot write the output: {source}")]
    Output {
        /// Error of the system.
        source: io::Error,
    },
}

impl Error {
    /// File system error.
    pub(crate) fn file(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::File { action, path: path.as_ref().to_owned(), source }
    }

    /// Error that refuses a module file for one reason.
    pub(crate) fn refused(path: &Path, refusal: Refusal) -> Self {
        Self::Refused { path: path.to_owned(), refusals: vec![refusal] }
    }

    /// True for a permission error.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Exit code of the error; the documentation of the crate lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Offline { .. } | Self::ForceNeedsWord => 2,
            Self::Argument { code, .. } | Self::Reported { code } => *code,
            Self::Interrupted { signal, .. } => 128 + u8::try_from(*signal).unwrap_or(0),
            Self::NotFound { .. } | Self::NotLoaded { .. } | Self::Name { .. } => 3,
            Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::LoadedOther { .. }
            | Self::Installed { .. }
            | Self::Unconfirmed { .. }
            | Self::LeftOutWithBug { .. }
            | Self::FtraceGone { .. }
            | Self::OtherBuild { .. } => 4,
            Self::Insert { .. } | Self::Enable { .. } | Self::Disable { .. } | Self::Remove { .. } => 5,
            Self::LoadStalled { .. }
            | Self::LoadLeft { .. }
            | Self::UnloadStalled { .. }
            | Self::UnloadReversed { .. } => 6,
            Self::InUse { .. } | Self::Locked { .. } => 7,
            Self::AppliedWithBug { .. } => 9,
            Self::NotWatched { .. }
            | Self::Release { .. }
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

/// Event that ends a transition with so many tasks to go.
fn end(tasks: usize) -> &'static str {
    match tasks {
        0 => "the calls of all functions are changed",
        _ => "the tasks named above leave the patched code",
    }
}

fn reversed(complete: bool) -> &'static str {
    if complete {
        "it is enabled again for all tasks: nothing has changed"
    } else {
        "it is being enabled again, and the kernel goes on with that (kpatch list shows when it is done)"
    }
}

/// List of refusals: a single one on the same line, several on separate lines.
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
