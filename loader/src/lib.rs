// SPDX-License-Identifier: GPL-2.0-or-later
//! Loader of live patches for production machines.
//!
//! The verbs, messages and output streams are those of Red Hat's `kpatch`. Additions: a store that survives kills and power cuts,
//! checks before insertion, explanations of errors and stalls, lists of repaired CVEs, protection from a patch that crashes the
//! machine at boot. The loader compiles nothing, reads no kernel source and is a single file. `docs/kpatch.md` lists the
//! differences from the original.
//!
//! # Structure
//! [`main`] parses the command line and runs one verb. All access to the machine goes through [`System`]: files below a root
//! directory, and the operations of [`Kernel`] that have no file interface. Tests replace both.
//!
//! | layer | content |
//! |---|---|
//! | `cli`, this file | command line, dispatch of the verbs |
//! | `show` | reports of the read-only verbs, as text and as JSON |
//! | `act` | changes to the running kernel and to the store |
//! | `console` | output streams |
//! | `judge` | assessment of the machine and of modules |
//! | `model` | data and input: machine, loaded patches, store, errors |
//!
//! A layer uses only those below it; `xtask/tests/house.rs` checks this. Only `model::durable` writes into the store, and its callers
//! hold the lock of `act::lock`.
//!
//! # Exit codes
//! | code | meaning |
//! |---|---|
//! | 0 | done, or nothing to do |
//! | 1 | other failure, or failure of some modules of `--all` |
//! | 2 | wrong usage |
//! | 3 | no such module: no such file, or not loaded |
//! | 4 | refused by the loader's checks: the module cannot be loaded into this kernel |
//! | 5 | refused by the kernel |
//! | 6 | transition stalled |
//! | 7 | module still in use, or another kpatch holds the lock |
//! | 8 | `check`: no refusal, but some checks could not be made |
//! | 9 | loaded, and the kernel has reported a bug in the patch |
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

use act::{confirm, install, load, lock, rollback, signal, unload};
use cli::{Parsed, Verb};
use console::Console;
use model::policy::WaitOptions;
use model::{layout, store};
use show::{check, export, follow, history, info, list, status, uname};

pub use cli::command;
pub use model::error::Error;
pub use model::refusal::Refusal;
pub use model::sys::BpfLink;
pub use model::system::{Image, Kernel, Linux, System};

/// Runs the command line `arguments`, with the program name first, and returns the exit code. Progress and listings go to `out`,
/// messages to `err`.
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
            if matches!(error, Error::Usage { .. }) {
                console.note(cli::USAGE);
            }
            error.exit_code()
        }
    }
}

fn run(verb: Verb, system: &System, console: &mut Console<'_>) -> Result<(), Error> {
    prepare(&verb, system, console)?;
    match verb {
        Verb::Load { no_check, allow_older, wait, target } => {
            let request = wait.for_load(!no_check, allow_older);
            match target.module {
                Some(module) => load::run(system, console, &store::find(system, &module)?, &request),
                None => load::run_all(system, console, &request),
            }
        }
        Verb::Unload { wait, target } => match target.module {
            Some(module) => unload_one(system, console, &module, wait.for_unload()),
            None => unload::run_all(system, console, wait.for_unload()),
        },
        Verb::Install { kernel_version, no_enable, file } => {
            let file = file.ok_or_else(no_module)?;
            install::install(system, console, &file, kernel_version.as_deref(), !no_enable)
        }
        Verb::Uninstall { prune: true, dry_run, .. } => install::prune(system, console, dry_run),
        Verb::Uninstall { kernel_version, keep, module, .. } => {
            let module = module.ok_or_else(no_module)?;
            install::uninstall(system, console, &module, kernel_version.as_deref(), keep)
        }
        Verb::Rollback { wait, line } => {
            rollback::run(system, console, line.as_deref(), &wait.for_load(true, true))
        }
        Verb::List { json } => list::run(system, console, json.json),
        Verb::Status { json, check } => status::run(system, console, json.json, check),
        Verb::Info { json, module } => info::run(system, console, &module, json.json),
        Verb::Check { json, module } => check::run(system, console, &module, json.json),
        Verb::History { json } => history::run(system, console, json.json),
        Verb::Export { format, output } => export::run(system, console, format, output.as_deref()),
        Verb::Follow { json, packages, config, kernel, offered } => {
            let json = json.json;
            let options = follow::Options { json, packages, config, kernels: kernel, offered };
            follow::run(system, console, &options)
        }
        Verb::Uname { json } => uname::run(system, console, json.json),
        Verb::Signal => signal::run(system, console),
        Verb::Force { it_can_never_be_unloaded } => signal::force(system, console, it_can_never_be_unloaded),
        Verb::Confirm { settle, clear_bugs } => {
            system.kernel().heed_signals();
            confirm::run(system, console, Duration::from_secs(settle), clear_bugs)
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

/// Takes the lock for a verb that needs it.
fn prepare(verb: &Verb, system: &System, console: &mut Console<'_>) -> Result<(), Error> {
    let Some(name) = locking_verb(verb) else {
        return Ok(());
    };
    let touches_kernel = matches!(verb, Verb::Load { .. } | Verb::Unload { .. });
    if touches_kernel && !system.is_running() {
        return Err(Error::Offline { verb: name, root: system.root().to_owned() });
    }
    system.kernel().heed_signals();
    lock::take(system, console, name)?;
    for warning in layout::migrate(system) {
        console.warn(warning);
    }
    Ok(())
}

fn unload_one(
    system: &System,
    console: &mut Console<'_>,
    argument: &Path,
    options: WaitOptions,
) -> Result<(), Error> {
    let (name, warning) = store::loaded_name(system, argument)?;
    if let Some(warning) = warning {
        console.warn(warning);
    }
    unload::run(system, console, &name, options)
}

/// Machine below the directory of `--root`.
///
/// # Errors
/// The directory does not exist; it is not taken for an empty machine.
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

/// Name of a verb that takes the lock before it starts. `signal` and `force` do not: they end a transition that the holder of the
/// lock waits for. `confirm` takes the lock after its wait.
fn locking_verb(verb: &Verb) -> Option<&'static str> {
    match verb {
        Verb::Load { .. } => Some("load"),
        Verb::Unload { .. } => Some("unload"),
        Verb::Install { file: Some(_), .. } => Some("install"),
        Verb::Uninstall { module: Some(_), .. } | Verb::Uninstall { prune: true, .. } => Some("uninstall"),
        Verb::Rollback { .. } => Some("rollback"),
        _ => None,
    }
}
