// SPDX-License-Identifier: GPL-2.0-or-later
//! Brings a store that an earlier version of this program left into today's form: it kept notes and replaced modules in the hidden
//! directories `.trial/` and `.previous/<kernel release>/`, which other programs take for kernels.
//!
//! One file after the other is renamed, and only then an empty directory removed: a kill between two of these steps leaves each file
//! in one of the two places, and the next run goes on.

use std::io;

use crate::console::Console;
use crate::model::error::Error;
use crate::model::system::System;
use crate::model::{durable, store, trial};

/// Where earlier versions kept the notes of [`trial`].
pub(crate) const OLD_TRIALS: &str = "/var/lib/kpatch/.trial";
const OLD_PREVIOUS: &str = "/var/lib/kpatch/.previous";

/// Moves what lies in the old places. The caller holds the lock. What cannot be moved stays and is complained of: it hinders
/// no patch.
pub(crate) fn migrate(system: &System, console: &mut Console<'_>) {
    for (directory, work) in
        [(OLD_TRIALS, trials as fn(&System) -> Result<(), Error>), (OLD_PREVIOUS, previous)]
    {
        let moved = match system.path(directory).try_exists() {
            Ok(false) => continue,
            Ok(true) => work(system).and_then(|()| remove(system, directory)),
            Err(source) => Err(Error::file("look at", directory, source)),
        };
        if let Err(error) = moved {
            console.warn(format_args!(
                "what an earlier version left in {directory} could not all be moved; other programs may take that directory for a kernel: {error}"
            ));
        }
    }
}

fn trials(system: &System) -> Result<(), Error> {
    each(system, OLD_TRIALS, trial::path)
}

fn previous(system: &System) -> Result<(), Error> {
    for release in system.entries(OLD_PREVIOUS)?.into_iter().filter(|entry| entry.is_utf8) {
        if release.kind.is_some_and(|kind| kind.is_dir()) {
            let directory = format!("{OLD_PREVIOUS}/{}", release.name);
            each(system, &directory, |file| store::previous_path(&release.name, file))?;
            remove(system, &directory)?;
        }
    }
    Ok(())
}

/// Moves each file of a directory to where `target` says. A file that is there already is the newer one and stays.
fn each(system: &System, directory: &str, target: impl Fn(&str) -> String) -> Result<(), Error> {
    for entry in system.entries(directory)? {
        let old = format!("{directory}/{}", entry.name);
        if !entry.is_utf8 || entry.kind.is_some_and(|kind| kind.is_dir()) {
            continue;
        }
        let new = target(&entry.name);
        let is_there =
            system.path(&new).try_exists().map_err(|source| Error::file("look at", &new, source))?;
        if entry.name.starts_with(durable::ASIDE) || is_there {
            durable::remove(system, &old)?;
        } else {
            durable::rename(system, &old, &new)?;
        }
    }
    Ok(())
}

fn remove(system: &System, directory: &str) -> Result<(), Error> {
    match std::fs::remove_dir(system.path(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| Error::file("remove", directory, source)),
    }
}
