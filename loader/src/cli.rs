// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::act::load::Request;
use crate::judge::follow::Packages;
use crate::model::policy::{StallPolicy, WaitOptions};
use crate::show::export::Format;

/// Output of `kpatch help`.
pub(crate) const USAGE: &str = "\
usage: kpatch <command> [<args>]

Valid commands:
   install [-k|--kernel-version <kernel>] [--no-enable] <file>
      install a patch module, to be loaded at boot
   uninstall [-k|--kernel-version <kernel>] <module>
      take a patch module out of what is loaded at boot; the running kernel stays as it is
   uninstall --prune [--dry-run]
      take out the modules of kernels that are no longer on this machine
   rollback [<line>]
      go back to the version before the newest one that is installed
   load <module>, load --all
      load a patch module, or all that are installed, into the running kernel
   unload <module>, unload --all
      revert a patch, or all, and take the module out of the running kernel

   list [--json]
      list loaded and installed patch modules
   status [--check] [--json]
      show kernel, patches, transition, what is fixed and what the next boot will do
   info [--json] <module>
      show the information in a patch module
   check [--json] <module>
      say whether a patch module can be loaded into the running kernel
   history [--json]
      show what was changed
   export --format openvex|openmetrics [--output <file>]
      say what is fixed, for scanners and monitors
   follow [--json] [--kernel <kernel>]...
      print the live patch packages that this machine should have, for package managers
   uname [--json]
      print the version that the running kernel amounts to with its patches

   signal
      poke the tasks that hold a transition up
   force --it-can-never-be-unloaded
      end a transition for all tasks at once
   confirm
      trust the patches that are loaded, should this machine crash

   version
      show the version of this command
   help
      show this text

kpatch <command> --help shows the options of a command. A <module> is a file, or the name of a
module that is installed for the running kernel. --root <dir> works on another root's files.

Exit codes: 0 done, 1 other failure, 2 usage, 3 no such module, 4 not for this kernel,
5 refused by the kernel, 6 transition stalled, 7 still in use, 8 check: not all could be checked,
9 loaded with a bug, 128 + signal interrupted";

/// Result of parsing the arguments.
pub(crate) enum Parsed {
    Verb {
        verb: Verb,
        root: Option<PathBuf>,
    },
    /// Help for one verb, or for all.
    Help(String),
    /// Unknown verb.
    Unknown(String),
    /// Other usage error with its message; `None` without any arguments.
    Wrong(Option<String>),
}

#[derive(Parser)]
#[command(name = "kpatch", disable_help_subcommand = true, override_help = USAGE)]
/// Load, list and unload kernel live patches.
struct Line {
    /// Work on the files below this directory; modules cannot be loaded there.
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

/// Verb with its arguments. (`defer` builds the clap command of the requested verb only, to save time.)
#[derive(Subcommand)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[command(defer = true)]
pub(crate) enum Verb {
    /// Load a patch module into the running kernel and wait until it is in effect.
    #[command(after_help = "Example: kpatch load ./kpatch-6_12_117-1-1.ko")]
    Load {
        /// Skip our own checks; the kernel still refuses what it cannot load.
        #[arg(long)]
        no_check: bool,
        /// Load it although a newer version of its line is enabled.
        #[arg(long)]
        allow_older: bool,
        #[command(flatten)]
        wait: WaitArgs,
        #[command(flatten)]
        target: ModuleArg,
    },
    /// Revert a patch and take its module out of the running kernel.
    #[command(after_help = "Example: kpatch unload kpatch_6_12_117_1_1")]
    Unload {
        #[command(flatten)]
        wait: WaitArgs,
        #[command(flatten)]
        target: ModuleArg,
    },
    /// Install a patch module, to be loaded at boot. The running kernel stays as it is.
    #[command(after_help = "Example: kpatch install ./kpatch-6_12_117-1-1.ko")]
    Install {
        /// The kernel that it is for; the running one where none is given.
        #[arg(short, long, value_name = "KERNEL")]
        kernel_version: Option<String>,
        /// Leave kpatch.service as it is. For package scripts, which enable it by the distribution's presets.
        #[arg(long)]
        no_enable: bool,
        /// A module's file: .ko, .ko.xz, .ko.zst or .ko.gz.
        file: Option<PathBuf>,
    },
    /// Take a patch module out of what is loaded at boot. The running kernel stays as it is.
    #[command(after_help = "Example: kpatch uninstall kpatch_6_12_117_1_1")]
    Uninstall {
        /// The kernel that it is for; the running one where none is given.
        #[arg(short, long, value_name = "KERNEL")]
        kernel_version: Option<String>,
        /// Keep it for rollback, as when a newer version is there.
        #[arg(long, conflicts_with = "prune")]
        keep: bool,
        /// Take out the modules of all kernels that are no longer on this machine.
        #[arg(long, conflicts_with = "module")]
        prune: bool,
        /// With --prune: only say which.
        #[arg(long, requires = "prune")]
        dry_run: bool,
        /// The module's name.
        module: Option<PathBuf>,
    },
    /// Go back to the version before the newest one that is installed for the running kernel.
    #[command(after_help = "Example: kpatch rollback")]
    Rollback {
        #[command(flatten)]
        wait: WaitArgs,
        /// Name of the line, or of a module of it; may be left out where there is only one.
        line: Option<String>,
    },
    /// List loaded and installed patch modules.
    #[command(after_help = "Example: kpatch list")]
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Show kernel, patches, transition, what is fixed and what the next boot will do.
    #[command(
        after_help = "Example: kpatch status --check\n\nExit codes of --check: 0 current, 1 outdated, not loaded or out of support, 2 stalled or applied with a bug, 3 unknown"
    )]
    Status {
        #[command(flatten)]
        json: Json,
        /// One line for monitors, and an exit code.
        #[arg(long, conflicts_with = "json")]
        check: bool,
    },
    /// Show the information in a patch module.
    #[command(after_help = "Example: kpatch info kpatch_6_12_117_1_1")]
    Info {
        #[command(flatten)]
        json: Json,
        /// A file, or the name of a module that is installed for the running kernel.
        module: PathBuf,
    },
    /// Say whether a patch module can be loaded into the running kernel, as far as that can be known before.
    #[command(
        after_help = "Example: kpatch check ./kpatch-6_12_117-1-1.ko\n\nExit codes: 0 can be loaded, 4 cannot be loaded, 8 nothing speaks against it, but the last line says what could not be checked"
    )]
    Check {
        #[command(flatten)]
        json: Json,
        /// A file, or the name of a module that is installed for the running kernel.
        module: PathBuf,
    },
    /// Show what was changed on this machine.
    #[command(after_help = "Example: kpatch history")]
    History {
        #[command(flatten)]
        json: Json,
    },
    /// Say what is fixed, for scanners and monitors.
    #[command(after_help = "Example: kpatch export --format openvex --output /var/lib/vex/kernel.json")]
    Export {
        /// Format of the document.
        #[arg(long)]
        format: Format,
        /// Replace this file instead of printing.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the live patch packages that this machine should have, one per line, for the plug-ins of package managers.
    #[command(
        after_help = "Example: kpatch follow\n\nNothing is printed where the configuration does not say autoupdate=True. --json says more."
    )]
    Follow {
        #[command(flatten)]
        json: Json,
        /// Kind of packages; by the machine's package database where none is given.
        #[arg(long)]
        packages: Option<Packages>,
        /// Configuration; /etc/dnf/plugins/kpatch.conf or /etc/apt/kpatch.conf where none is given.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Kernel release to decide about, may be repeated; the installed kernels where none is given.
        #[arg(long, value_name = "KERNEL")]
        kernel: Vec<String>,
        /// Package that a repository offers, may be repeated; without it every package counts as offered.
        #[arg(long, value_name = "PACKAGE")]
        offered: Vec<String>,
    },
    /// Print the version that the running kernel amounts to with its patches, for scanners that read uname -r.
    #[command(after_help = "Example: kpatch uname")]
    Uname {
        #[command(flatten)]
        json: Json,
    },
    /// Poke the tasks that hold a transition up.
    #[command(after_help = "Example: kpatch signal")]
    Signal,
    /// End a transition for all tasks at once. They may crash, and the patch can never be removed.
    #[command(after_help = "Example: kpatch force --it-can-never-be-unloaded")]
    Force {
        /// Required acknowledgement; without it force refuses to run.
        #[arg(long)]
        it_can_never_be_unloaded: bool,
    },
    /// Trust the patches that are loaded: a crash from now on no longer keeps them from being loaded at boot. A patch in which the
    /// kernel has reported a bug since the load is not trusted.
    #[command(after_help = "Example: kpatch confirm")]
    Confirm {
        /// Wait until each has been loaded for so many seconds; a signal to end confirms at once.
        #[arg(long, value_name = "SECONDS", default_value = "0")]
        settle: u64,
        /// Forget recorded bugs too, and look for no others: the next boot loads these patches again.
        #[arg(long)]
        clear_bugs: bool,
    },
    /// Show the version of this command.
    #[command(after_help = "Example: kpatch version")]
    Version,
    /// Show the commands.
    #[command(after_help = "Example: kpatch help")]
    Help,
}

// Output options. (Plain comments here and below: clap would use a documentation comment as that of the verb.)
#[derive(Args)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Json {
    /// Answer in JSON, for programs; docs/schemas describes it.
    #[arg(long)]
    pub(crate) json: bool,
}

// Modules to work on.
#[derive(Args)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[group(required = true, multiple = false)]
pub(crate) struct ModuleArg {
    /// All of them.
    #[arg(long)]
    all: bool,
    /// A file, or the name of a module that is installed for the running kernel.
    pub(crate) module: Option<PathBuf>,
}

#[derive(Args)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct WaitArgs {
    /// What to do when the transition stalls: load reverses, unload fails where nothing is given.
    #[arg(long, value_name = "POLICY")]
    on_stall: Option<StallPolicy>,
    /// Seconds until it has stalled (75); with --on-stall wait seconds until waiting ends (never).
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
}

impl WaitArgs {
    fn or(&self, default: StallPolicy) -> WaitOptions {
        WaitOptions {
            on_stall: self.on_stall.unwrap_or(default),
            deadline: self.deadline.map(Duration::from_secs),
        }
    }

    /// Options for an unload.
    pub(crate) fn for_unload(&self) -> WaitOptions {
        self.or(StallPolicy::Fail)
    }

    /// Options for a load.
    pub(crate) fn for_load(&self, check: bool, allow_older: bool) -> Request {
        Request { check, allow_older, wait: self.or(StallPolicy::Reverse) }
    }
}

/// Clap's description of the command line, for man page and completions.
pub fn command() -> clap::Command {
    Line::command()
}

/// Parses the arguments, with the program name first.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Parsed {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(verb) = arguments.get(1..).and_then(without_options) {
        return Parsed::Verb { verb, root: None };
    }
    let error = match Line::try_parse_from(arguments) {
        Ok(line) => return Parsed::Verb { verb: line.verb, root: line.root },
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp => Parsed::Help(error.to_string().trim_end().to_owned()),
        ErrorKind::InvalidSubcommand => match error.get(ContextKind::InvalidSubcommand) {
            Some(ContextValue::String(verb)) => Parsed::Unknown(verb.clone()),
            _ => Parsed::Wrong(Some(first_line(&error))),
        },
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Parsed::Wrong(None)
        }
        _ => Parsed::Wrong(Some(first_line(&error))),
    }
}

/// Fast path for common command lines without options, for which clap takes a large part of the run time.
fn without_options(arguments: &[OsString]) -> Option<Verb> {
    let word = |at: usize| arguments.get(at).and_then(|word| word.to_str());
    match (arguments.len(), word(0)?, word(1)) {
        (1, "list", _) => Some(Verb::List { json: Json { json: false } }),
        (1, "status", _) => Some(Verb::Status { json: Json { json: false }, check: false }),
        (2, "load", Some(module)) if !module.is_empty() && !module.starts_with('-') => Some(Verb::Load {
            no_check: false,
            allow_older: false,
            wait: WaitArgs { on_stall: None, deadline: None },
            target: ModuleArg { all: false, module: Some(module.into()) },
        }),
        _ => None,
    }
}

/// First paragraph of clap's message, without the label `error:`.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = message.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_options_agrees_with_clap() {
        for line in [&["list"][..], &["status"], &["load", "a.ko"], &["load", "./a-b"]] {
            let words: Vec<OsString> = line.iter().map(Into::into).collect();
            let by_clap = match Line::try_parse_from(std::iter::once("kpatch").chain(line.iter().copied())) {
                Ok(parsed) => parsed.verb,
                Err(error) => panic!("{line:?}: {error}"),
            };
            assert_eq!(without_options(&words), Some(by_clap), "{line:?}");
        }
        for line in [
            &[][..],
            &[""],
            &["lis"],
            &["load"],
            &["load", ""],
            &["load", "--all"],
            &["load", "a", "b"],
            &["list", "--json"],
        ] {
            let words: Vec<OsString> = line.iter().map(Into::into).collect();
            assert_eq!(without_options(&words), None, "{line:?}");
        }
    }
}
