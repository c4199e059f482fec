// SPDX-License-Identifier: GPL-2.0-or-later
//! The loader of live patches: what runs on the machines.
//!
//! It has the verbs, texts and streams of Red Hat's `kpatch`, and adds what that leaves out: a store that survives a kill, checks
//! before insertion, explained errors and stalls, what is fixed, what a crash leaves. It compiles nothing, reads no kernel
//! source, and needs no file besides itself. Where it differs from the original stands in `docs/kpatch.md`.
//!
//! # How it is built
//! [`main`] parses and runs one verb. Everything it knows of the machine comes through [`System`]: files below a root, and the
//! few calls of [`Kernel`] that are no files, so that tests put another machine in its place. `livepatch`, `tasks`, `store`, `trial`
//! and `known` read; `durable` is the only one that writes into the store, and only under `lock`.
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
//! | 7 | the module stays in use, or another kpatch is at work |
//! | 8 | `check`: nothing speaks against the module, but something could not be checked |
//! | 128 + n | interrupted by signal n |

mod act;
mod cli;
mod console;
mod judge;
mod model;
mod show;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use act::{install, load, lock, rollback, signal, unload};
use cli::{Parsed, Verb};
use console::Console;
use model::{layout, store, trial};
use show::{export, history, info, list, status};

pub use cli::command;
pub use model::error::Error;
pub use model::refusal::Refusal;
pub use model::system::{BpfLink, Image, Kernel, Linux, System};

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
        Parsed::Verb { verb, root: Some(root) } if root != Path::new("/") => {
            offline(&root).and_then(|system| run(verb, &system, &mut console))
        }
        Parsed::Verb { verb, .. } => run(verb, system, &mut console),
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
    system.keep_lock(None);
    match result.and_then(|()| console.finish()) {
        Ok(()) => 0,
        Err(error) => {
            console.error(&error);
            error.exit_code()
        }
    }
}

fn run(verb: Verb, system: &System, console: &mut Console<'_>) -> Result<(), Error> {
    if let Some(name) = changes(&verb) {
        let touches_kernel = matches!(verb, Verb::Load { .. } | Verb::Unload { .. });
        if touches_kernel && !system.is_running() {
            return Err(Error::Offline { verb: name, root: system.root().to_owned() });
        }
        system.kernel().heed_signals();
        lock::take(system, console, name)?;
        layout::migrate(system, console);
    }
    match verb {
        Verb::Load { no_check, allow_older, patience, target } => {
            let request = patience.for_load(!no_check, allow_older);
            match target.module {
                Some(module) => load::recorded_one(system, console, &store::find(system, &module)?, &request),
                None => load::all(system, console, &request),
            }
        }
        Verb::Unload { patience, target } => match target.module {
            Some(module) => {
                let name = store::loaded_name(system, console, &module)?;
                unload::recorded_one(system, console, &name, patience.for_unload())
            }
            None => unload::all(system, console, patience.for_unload()),
        },
        Verb::Install { kernel_version, file } => {
            let file = file.ok_or_else(no_module)?;
            install::install(system, console, &file, kernel_version.as_deref())
        }
        Verb::Uninstall { prune: true, dry_run, .. } => install::prune(system, console, dry_run),
        Verb::Uninstall { kernel_version, keep, module, .. } => {
            let module = module.ok_or_else(no_module)?;
            install::uninstall(system, console, &module, kernel_version.as_deref(), keep)
        }
        Verb::Rollback { patience, line } => {
            rollback::run(system, console, line.as_deref(), &patience.for_load(true, true))
        }
        Verb::List { json } => list::run(system, console, json.json),
        Verb::Status { json, check } => status::run(system, console, json.json, check),
        Verb::Info { json, module } => info::run(system, console, &module, json.json),
        Verb::Check { json, module } => info::judge(system, console, &module, json.json),
        Verb::History { json } => history::run(system, console, json.json),
        Verb::Export { format, output } => export::run(system, console, format, output.as_deref()),
        Verb::Signal => signal::signal(system, console),
        Verb::Force { it_can_never_be_unloaded } => signal::force(system, console, it_can_never_be_unloaded),
        Verb::Confirm { settle } => {
            system.kernel().heed_signals();
            trial::confirm(system, console, Duration::from_secs(settle))
        }
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

/// The machine that `--root` names. A directory that is not there is no empty machine.
fn offline(root: &Path) -> Result<System, Error> {
    match std::fs::metadata(root) {
        Ok(found) if found.is_dir() => Ok(System::offline(root.to_owned())),
        found => {
            let why = found.map_or_else(|error| error.to_string(), |_| "it is no directory".to_owned());
            let why = why.split(" (os error").next().unwrap_or_default().to_owned();
            let message = format!(
                "--root {} cannot be used: {why}; name the directory that holds the other system's /var and /etc",
                root.display()
            );
            Err(Error::Argument { message, code: 2 })
        }
    }
}

fn no_module() -> Error {
    Error::Argument { message: "no module file specified".to_owned(), code: 2 }
}

/// The name of a verb that changes something and may therefore not work beside another one. `signal` and `force` may:
/// they are for what another one waits for. `confirm` takes the lock itself, when it has waited.
fn changes(verb: &Verb) -> Option<&'static str> {
    match verb {
        Verb::Load { .. } => Some("load"),
        Verb::Unload { .. } => Some("unload"),
        Verb::Install { file: Some(_), .. } => Some("install"),
        Verb::Uninstall { module: Some(_), .. } | Verb::Uninstall { prune: true, .. } => Some("uninstall"),
        Verb::Rollback { .. } => Some("rollback"),
        _ => None,
    }
}
