// SPDX-License-Identifier: GPL-2.0-or-later
//! Migration of a store from the layout of earlier versions, which kept boot notes and replaced modules in the hidden
//! directories `.trial/` and `.previous/<kernel release>/`. Other programs take these directories for kernels.
//!
//! Files are renamed one by one, and a directory is removed when it is empty. After a kill each file is in one of the two
//! places, and the next run continues.

use std::io;

use crate::model::error::Error;
use crate::model::system::System;
use crate::model::{boot_notes, durable, store};

const OLD_PREVIOUS: &str = "/var/lib/kpatch/.previous";

/// Moves all files of the old layout and returns warnings about those that could not be moved. The caller holds the lock.
#[must_use]
pub(crate) fn migrate(system: &System) -> Vec<String> {
    let mut warnings = Vec::new();
    for (directory, work) in [
        (boot_notes::OLD_DIRECTORY, move_notes as fn(&System) -> Result<(), Error>),
        (OLD_PREVIOUS, move_previous),
    ] {
        let moved = match system.path(directory).try_exists() {
            Ok(false) => continue,
            Ok(true) => work(system).and_then(|()| remove(system, directory)),
            Err(source) => Err(Error::file("look at", directory, source)),
        };
        if let Err(error) = moved {
            warnings.push(format!(
                "what an earlier version left in {directory} could not all be moved; other programs may take that directory for a kernel: {error}"
            ));
        }
    }
    warnings
}

fn move_notes(system: &System) -> Result<(), Error> {
    move_files(system, boot_notes::OLD_DIRECTORY, boot_notes::path)
}

fn move_previous(system: &System) -> Result<(), Error> {
    for release in system.entries(OLD_PREVIOUS)?.into_iter().filter(|entry| entry.is_utf8) {
        if release.kind.is_some_and(|kind| kind.is_dir()) {
            let directory = format!("{OLD_PREVIOUS}/{}", release.name);
            move_files(system, &directory, |file| store::previous_path(&release.name, file))?;
            remove(system, &directory)?;
        }
    }
    Ok(())
}

/// Moves each file of a directory to the path that `target` returns. An existing file there is newer and stays.
fn move_files(system: &System, directory: &str, target: impl Fn(&str) -> String) -> Result<(), Error> {
    for entry in system.entries(directory)? {
        let old = format!("{directory}/{}", entry.name);
        if !entry.is_utf8 || entry.kind.is_some_and(|kind| kind.is_dir()) {
            continue;
        }
        let new = target(&entry.name);
        let exists = system.path(&new).try_exists().map_err(|source| Error::file("look at", &new, source))?;
        if entry.name.starts_with(durable::TEMPORARY) || exists {
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
