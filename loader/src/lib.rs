// SPDX-License-Identifier: GPL-2.0-or-later
//! The loader of live patches: what runs on the machines.
//!
//! It has the verbs, texts and streams of Red Hat's `kpatch`, and adds what that leaves out: checks before insertion,
//! explained errors, waiting that starts in milliseconds. It compiles nothing, reads no kernel source, starts no other
//! program, and needs no file besides itself.
//!
//! # Where it differs from the original
//! - `help` exits 0, wrong usage 2, the other failures as below (the original: always 1).
//! - `load --all` takes only the newest `kpatch_<kernel>_<version>_<release>` of a kernel and says what it leaves out; it
//!   and `unload --all` go on after a failure.
//! - `load` checks first what can be known, and explains what the kernel refuses. A loaded patch of the same name but
//!   another build is pointed out.
//! - `unload`, and the quiet removal before `load`, touch no module that is not a live patch.
//! - A module name is one name with `-` or `_`, with or without `.ko`.
//! - Waiting polls after 1 ms, then ever more slowly, up to every 100 ms.
//! - A transition that someone else turned round meanwhile is a failure.
//! - The tasks that only root may look at are counted, not left out in silence.
//!
//! # Exit codes
//! | code | meaning |
//! |---|---|
//! | 0 | done, or already so |
//! | 1 | another failure; some modules of `--all` failed |
//! | 2 | wrong usage |
//! | 3 | no such module: no file, or not loaded |
//! | 4 | refused before anything was done: the module cannot be loaded into this kernel |
//! | 5 | the kernel refused |
//! | 6 | a transition stalled |
//! | 7 | the module stays in use |

mod check;
mod cli;
mod console;
mod error;
mod explain;
mod info;
mod kmsg;
mod list;
mod livepatch;
mod load;
mod store;
mod system;
mod transition;
mod unload;

use std::ffi::OsString;
use std::io::Write;

use cli::{Parsed, Target, Verb};
use console::Console;

pub use check::Refusal;
pub use error::Error;
pub use system::{Kernel, Linux, System};

/// Runs the command line `arguments` (the program's name first) and returns the exit code. Progress and listings go to
/// `out`, everything else to `err`.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    system: &System,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let mut console = Console::new(out, err);
    let result = match cli::parse(arguments) {
        Parsed::Verb(verb) => run(verb, system, &mut console),
        Parsed::Help(text) => {
            console.note(text);
            Ok(())
        }
        Parsed::Unknown(verb) => {
            console.say(format_args!("subcommand {verb} not recognized"));
            Err(Error::Usage { message: None })
        }
        Parsed::Wrong(message) => Err(Error::Usage { message }),
    };
    match result.and_then(|()| console.finish()) {
        Ok(()) => 0,
        Err(error) => {
            console.error(&error);
            error.exit_code()
        }
    }
}

fn run(verb: Verb, system: &System, console: &mut Console<'_>) -> Result<(), Error> {
    match verb {
        Verb::Load { target: Target::One(module), check } => {
            load::one(system, console, &store::find(system, &module)?, check)
        }
        Verb::Load { target: Target::All, check } => load::all(system, console, check),
        Verb::Unload(Target::One(module)) => unload::one(system, console, &store::module_name(&module)?),
        Verb::Unload(Target::All) => unload::all(system, console),
        Verb::List => list::run(system, console),
        Verb::Info(module) => info::run(system, console, &module),
        Verb::Version => {
            console.say(env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Verb::Help => {
            console.note(cli::USAGE);
            Ok(())
        }
    }
}
