// SPDX-License-Identifier: GPL-2.0-or-later
//! Atomic, durable file operations: a file is written under a temporary name, flushed and renamed, and its directory is
//! flushed. After a power cut a file is complete or absent. Callers hold the lock, so no other process uses the temporary
//! name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use crate::model::error::Error;
use crate::model::system::System;

/// SELinux label of kernel modules; policies refuse insertion from files with another type.
const SELINUX_LABEL: &[u8] = b"system_u:object_r:modules_object_t:s0\0";
/// Prefix of temporary file names.
pub(crate) const TEMPORARY: &str = ".aside-";

/// Kind of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Kernel module, which gets an SELinux label.
    Module,
    /// Any other file.
    Plain,
}

/// Writes or replaces a file and creates missing directories. Returns a warning if the SELinux label could not be set.
pub(crate) fn replace(
    system: &System,
    path: &str,
    bytes: &[u8],
    kind: FileKind,
) -> Result<Option<String>, Error> {
    let target = system.path(path);
    let (dir, name) = split(&target);
    make_dirs(system, path)?;
    let temporary = dir.join(format!("{TEMPORARY}{name}"));
    let written = write_temporary(system, &temporary, bytes, kind);
    let outcome = written.and_then(|label| {
        fs::rename(&temporary, &target)?;
        sync(&dir)?;
        Ok(label)
    });
    outcome.map_err(|source| {
        // If this fails too, the next writer removes the file (`sweep`).
        let _ = fs::remove_file(&temporary);
        Error::file("write", path, source)
    })
}

fn write_temporary(
    system: &System,
    temporary: &Path,
    bytes: &[u8],
    kind: FileKind,
) -> io::Result<Option<String>> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o644).open(temporary)?;
    file.write_all(bytes)?;
    // Independent of the umask: monitors read modules too.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    let label = if kind == FileKind::Module && system.exists("/sys/fs/selinux/enforce") {
        let set = rustix::fs::fsetxattr(&file, "security.selinux", SELINUX_LABEL, XattrFlags::empty());
        set.err().map(|errno| format!("the SELinux label modules_object_t could not be set: {errno}"))
    } else {
        None
    };
    file.sync_all()?;
    Ok(label)
}

/// Moves a file within one file system; creates missing directories.
pub(crate) fn rename(system: &System, from: &str, to: &str) -> Result<(), Error> {
    make_dirs(system, to)?;
    let (source, target) = (system.path(from), system.path(to));
    let moved = fs::rename(&source, &target).and_then(|()| {
        sync(&split(&target).0)?;
        sync(&split(&source).0)
    });
    moved.map_err(|source| Error::file("move", from, source))
}

/// Removes a file; a missing file is no error.
pub(crate) fn remove(system: &System, path: &str) -> Result<(), Error> {
    let target = system.path(path);
    let removed = match fs::remove_file(&target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.and_then(|()| sync(&split(&target).0)),
    };
    removed.map_err(|source| Error::file("remove", path, source))
}

/// Removes a directory if it is empty, and then its parents below `top`.
pub(crate) fn remove_empty_dirs(system: &System, path: &str, top: &str) {
    let top = system.path(top);
    let mut dir = system.path(path);
    while dir.starts_with(&top) && dir != top && fs::remove_dir(&dir).is_ok() {
        let parent = split(&dir).0;
        // A failed flush does no harm: an empty directory may reappear after a power cut.
        let _ = sync(&parent);
        dir = parent;
    }
}

/// Removes temporary files of a writer that was killed.
pub(crate) fn sweep(system: &System, directory: &str) {
    let Ok(entries) = fs::read_dir(system.path(directory)) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            // Nothing reads the hidden file, and the next writer tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Creates the missing parent directories of a path, and flushes each.
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
