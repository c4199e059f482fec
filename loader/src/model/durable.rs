// SPDX-License-Identifier: GPL-2.0-or-later
//! Files that are there as a whole or not at all, also after a power cut: written aside, flushed, renamed, and the
//! directory flushed. Callers hold the lock, so that the name aside is nobody else's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use crate::model::error::Error;
use crate::model::system::System;

/// What SELinux policies call kernel modules outside of /lib/modules; insertion from files of another type is refused.
const SELINUX_LABEL: &[u8] = b"system_u:object_r:modules_object_t:s0\0";
/// How a file begins that is being written.
pub(crate) const ASIDE: &str = ".aside-";

/// What kind of file is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A module: gets the label that SELinux asks for.
    Module,
    /// A file of our own.
    Plain,
}

/// Puts a file in place; its directories are made where they are missing. Returns what could not be done but does not
/// hinder: the label.
pub(crate) fn replace(
    system: &System,
    path: &str,
    bytes: &[u8],
    kind: Kind,
) -> Result<Option<String>, Error> {
    let target = system.path(path);
    let (dir, name) = split(&target);
    make_dirs(system, path)?;
    let aside = dir.join(format!("{ASIDE}{name}"));
    let written = write_aside(system, &aside, bytes, kind);
    let outcome = written.and_then(|label| {
        fs::rename(&aside, &target)?;
        sync(&dir)?;
        Ok(label)
    });
    outcome.map_err(|source| {
        // What is half-written is of no use; should even this fail, the next writer sweeps it away.
        let _ = fs::remove_file(&aside);
        Error::file("write", path, source)
    })
}

fn write_aside(system: &System, aside: &Path, bytes: &[u8], kind: Kind) -> io::Result<Option<String>> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o644).open(aside)?;
    file.write_all(bytes)?;
    // The umask may have taken more than it should: modules are read by monitors too.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    let label = if kind == Kind::Module && system.exists("/sys/fs/selinux/enforce") {
        let set = rustix::fs::fsetxattr(&file, "security.selinux", SELINUX_LABEL, XattrFlags::empty());
        set.err().map(|errno| format!("the SELinux label modules_object_t could not be set: {errno}"))
    } else {
        None
    };
    file.sync_all()?;
    Ok(label)
}

/// Moves a file from one place to another on the same file system.
pub(crate) fn rename(system: &System, from: &str, to: &str) -> Result<(), Error> {
    make_dirs(system, to)?;
    let (source, target) = (system.path(from), system.path(to));
    let moved = fs::rename(&source, &target).and_then(|()| {
        sync(&split(&target).0)?;
        sync(&split(&source).0)
    });
    moved.map_err(|source| Error::file("move", from, source))
}

/// Removes a file; one that is not there is as good.
pub(crate) fn remove(system: &System, path: &str) -> Result<(), Error> {
    let target = system.path(path);
    let removed = match fs::remove_file(&target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.and_then(|()| sync(&split(&target).0)),
    };
    removed.map_err(|source| Error::file("remove", path, source))
}

/// Removes a directory where it is empty, and its parents up to and without `top`.
pub(crate) fn remove_empty_dirs(system: &System, path: &str, top: &str) {
    let top = system.path(top);
    let mut dir = system.path(path);
    while dir.starts_with(&top) && dir != top && fs::remove_dir(&dir).is_ok() {
        let parent = split(&dir).0;
        // The directory is gone for now; that it is gone after a power cut too is of no importance.
        let _ = sync(&parent);
        dir = parent;
    }
}

/// Removes what a writer left aside that was killed.
pub(crate) fn sweep(system: &System, directory: &str) {
    let Ok(entries) = fs::read_dir(system.path(directory)) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(ASIDE) {
            // It is hidden and no one reads it: the next writer tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes the directories above a path, each flushed into its parent.
pub(crate) fn make_dirs(system: &System, path: &str) -> Result<(), Error> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut dir = split(&system.path(path)).0;
    while !dir.exists() {
        missing.push(dir.clone());
        dir = split(&dir).0;
    }
    for dir in missing.iter().rev() {
        let made = match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        };
        made.and_then(|()| sync(&split(dir).0)).map_err(|source| Error::file("make", dir, source))?;
    }
    Ok(())
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn split(path: &Path) -> (PathBuf, String) {
    let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
    (dir, path.file_name().unwrap_or_default().to_string_lossy().into_owned())
}
