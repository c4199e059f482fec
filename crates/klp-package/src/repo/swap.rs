// SPDX-License-Identifier: GPL-2.0-or-later
//! Exchange of the metadata of a repository.

use std::fs::{self, File};
use std::path::Path;

use klp_base::files::io_error;
use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use crate::error::Error;

/// Puts the directory `name` of `aside` in the place of that of `root`, in one system call. `aside` then has the old one.
pub(super) fn publish(aside: &Path, root: &Path, name: &str) -> Result<(), Error> {
    let (new, target) = (aside.join(name), root.join(name));
    let open = File::open(&new).map_err(io_error("open", &new))?;
    syncfs(&open).map_err(|errno| io_error("flush", &new)(errno.into()))?;
    if target.exists() {
        renameat_with(CWD, &new, CWD, &target, RenameFlags::EXCHANGE).map_err(|errno| Error::Repository {
            dir: root.to_owned(),
            reason: format!("{} could not be exchanged for the new one: {errno}", target.display()),
        })?;
    } else {
        fs::rename(&new, &target).map_err(io_error("put in place", &target))?;
    }
    sync(root)
}

/// Flushes a directory.
pub(super) fn sync(dir: &Path) -> Result<(), Error> {
    Ok(File::open(dir).and_then(|open| open.sync_all()).map_err(io_error("flush", dir))?)
}

/// Copies a file of the old metadata to the new, unless it is there. A file that is gone is no error.
pub(super) fn carry(old: &Path, new: &Path) -> Result<(), Error> {
    if new.exists() || !old.is_file() {
        return Ok(());
    }
    if let Some(parent) = new.parent() {
        klp_base::files::make_dir(parent)?;
    }
    fs::copy(old, new).map_err(io_error("copy", old))?;
    Ok(())
}
