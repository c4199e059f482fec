// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};

/// What `kpatch help` prints.
pub(crate) const USAGE: &str = "\
usage: kpatch <command> [<args>]

Valid commands:
   load [--no-check] <module>
      load a patch module into the running kernel and wait until it is in effect;
      --no-check skips our own checks, the kernel still refuses what it cannot load
   load --all
      load all patch modules that are installed for the running kernel
   unload <module>
      revert a patch and take its module out of the running kernel
   unload --all
      revert all patches and take their modules out of the running kernel

   info <module>
      show the information in a patch module
   list
      list loaded and installed patch modules

   version
      show the version of this command
   help
      show this text

A <module> is a file, or the name of a module that is installed for the running kernel.

Exit codes: 0 done, 1 other failure, 2 usage, 3 no such module, 4 not for this kernel,
5 refused by the kernel, 6 transition stalled, 7 still in use";

/// What the arguments ask for.
pub(crate) enum Parsed {
    Verb(Verb),
    /// Help for one verb, or for all.
    Help(String),
    /// A verb that there is not.
    Unknown(String),
    /// Something else is wrong; `None`: there are no arguments at all, and the usage says it all.
    Wrong(Option<String>),
}

/// What to do.
pub(crate) enum Verb {
    Load { target: Target, check: bool },
    Unload(Target),
    List,
    Info(PathBuf),
    Version,
    Help,
}

/// To what.
pub(crate) enum Target {
    One(PathBuf),
    All,
}

#[derive(Parser)]
#[command(name = "kpatch", disable_help_subcommand = true, override_help = USAGE)]
struct Line {
    #[command(subcommand)]
    verb: Words,
}

#[derive(Subcommand)]
enum Words {
    /// Load a patch module into the running kernel and wait until it is in effect.
    #[command(after_help = "Example: kpatch load ./kpatch-6_12_117-1-1.ko")]
    Load {
        /// Skip our own checks; the kernel still refuses what it cannot load.
        #[arg(long)]
        no_check: bool,
        #[command(flatten)]
        target: TargetWords,
    },
    /// Revert a patch and take its module out of the running kernel.
    #[command(after_help = "Example: kpatch unload kpatch_6_12_117_1_1")]
    Unload {
        #[command(flatten)]
        target: TargetWords,
    },
    /// List loaded and installed patch modules.
    #[command(after_help = "Example: kpatch list")]
    List,
    /// Show the information in a patch module.
    #[command(after_help = "Example: kpatch info kpatch_6_12_117_1_1")]
    Info {
        /// A file, or the name of a module that is installed for the running kernel.
        module: PathBuf,
    },
    /// Show the version of this command.
    #[command(after_help = "Example: kpatch version")]
    Version,
    /// Show the commands.
    #[command(after_help = "Example: kpatch help")]
    Help,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct TargetWords {
    /// All of them.
    #[arg(long)]
    all: bool,
    /// A file, or the name of a module that is installed for the running kernel.
    module: Option<PathBuf>,
}

impl From<TargetWords> for Target {
    fn from(words: TargetWords) -> Self {
        // The group has one of the two.
        words.module.map_or(Self::All, Self::One)
    }
}

impl From<Words> for Verb {
    fn from(words: Words) -> Self {
        match words {
            Words::Load { no_check, target } => Self::Load { target: target.into(), check: !no_check },
            Words::Unload { target } => Self::Unload(target.into()),
            Words::List => Self::List,
            Words::Info { module } => Self::Info(module),
            Words::Version => Self::Version,
            Words::Help => Self::Help,
        }
    }
}

/// Reads the arguments, the program's name first.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Parsed {
    let error = match Line::try_parse_from(arguments) {
        Ok(line) => return Parsed::Verb(line.verb.into()),
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

/// Clap's message without its label and its usage, which is ours.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = message.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}
