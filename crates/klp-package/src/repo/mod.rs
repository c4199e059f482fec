// SPDX-License-Identifier: GPL-2.0-or-later
//! Repositories: `<dir>/rpm` for dnf, `<dir>/deb` for apt.
//!
//! Each has a directory `packages` and a directory of metadata. New metadata is made aside and takes the place of the old
//! in one system call, after the packages are there; so a reader sees the old state or the new one, and a run that was
//! killed has changed nothing for readers. Files that the old metadata names stay for one more generation, for readers that
//! are on their way. A published package is never changed, and only [`prune`] removes one.

mod deb;
mod gpg;
mod rpm;
mod swap;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use klp_base::cache;
use klp_base::files::{io_error, make_dir, read};
use rpm_version::Evr;

use crate::error::Error;
use crate::package::Format;

/// Directory of the packages in a repository.
const PACKAGES: &str = "packages";
/// Start of the names of temporary directories.
const ASIDE: &str = ".aside-";

/// Key of gpg.
#[derive(Clone, Copy, Debug)]
pub struct GpgKey<'a> {
    /// Key id, fingerprint or address, as gpg's `--local-user`.
    pub id: &'a str,
    /// Home directory of gpg. `None`: that of the user, or the variable `GNUPGHOME`.
    pub home: Option<&'a Path>,
}

/// Options of a change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Key that signs RPM packages and metadata. `None`: nothing is signed.
    pub gpg_key: Option<GpgKey<'a>>,
    /// Percentage of machines that apt offers the given packages as an update, 1 to 100. `None`: as it was; 100 for new
    /// packages. dnf has no such thing.
    pub phase: Option<u8>,
}

/// Result of [`add`].
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// Packages that are new in the repository: their files there.
    pub new: Vec<PathBuf>,
    /// Packages that the repository had already.
    pub present: Vec<PathBuf>,
}

/// A package in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    name: String,
    arch: String,
    /// Epoch, version and release.
    evr: String,
    /// File name by the convention of the format.
    file_name: String,
}

/// One of the two repositories.
struct Side {
    format: Format,
    root: PathBuf,
}

/// Adds packages to the repositories in `dir`, and publishes each that changed. All files are checked, and signed if there is
/// a key, before the first is added.
///
/// # Errors
/// A file is no complete package, another package of its name and version is published, signing failed, or a program or file
/// operation failed. What was published before stays published.
pub fn add(dir: &Path, files: &[PathBuf], options: &Options<'_>) -> Result<Added, Error> {
    make_dir(dir)?;
    let _lock = cache::lock(&dir.join(".lock"))?;
    if let Some(key) = options.gpg_key {
        gpg::check_key(key)?;
    }
    let mut added = Added::default();
    let mut staged = Vec::new();
    for format in Format::ALL {
        let side = Side { format, root: dir.join(format.name()) };
        let own = |file: &&PathBuf| file.extension().is_some_and(|suffix| suffix == format.name());
        let files: Vec<&PathBuf> = files.iter().filter(own).collect();
        if !files.is_empty() {
            staged.push(Staged::new(side, &files, options)?);
        }
    }
    for side in staged {
        side.publish(options, &mut added)?;
    }
    Ok(added)
}

/// Packages that `prune` removes, or removed with `apply`: of each package all versions but the `keep` newest.
///
/// # Errors
/// A program or file operation failed. The metadata never names a package that is removed.
pub fn prune(dir: &Path, keep: usize, apply: bool, options: &Options<'_>) -> Result<Vec<PathBuf>, Error> {
    let _lock = cache::lock(&dir.join(".lock"))?;
    let mut removed = Vec::new();
    for format in Format::ALL {
        let side = Side { format, root: dir.join(format.name()) };
        let (old, kept) = side.outdated(keep.max(1))?;
        if apply && !old.is_empty() {
            side.index(&kept, &[], options)?;
            for file in &old {
                let path = side.pool().join(file);
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        removed.extend(old.iter().map(|file| side.pool().join(file)));
    }
    Ok(removed)
}

impl Side {
    fn pool(&self) -> PathBuf {
        self.root.join(PACKAGES)
    }

    /// Names of the published package files, sorted.
    fn files(&self) -> Result<Vec<String>, Error> {
        let pool = self.pool();
        if !pool.is_dir() {
            return Ok(Vec::new());
        }
        let suffix = format!(".{}", self.format.name());
        let mut names = Vec::new();
        for entry in fs::read_dir(&pool).map_err(io_error("read", &pool))? {
            let name = entry.map_err(io_error("read", &pool))?.file_name().to_string_lossy().into_owned();
            if name.ends_with(&suffix) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn identity(&self, file: &Path) -> Result<Identity, Error> {
        match self.format {
            Format::Rpm => rpm::identity(file),
            Format::Deb => deb::identity(file),
        }
    }

    /// True if two files are the same package; a signature makes no difference.
    fn same(&self, one: &Path, other: &Path) -> Result<bool, Error> {
        match self.format {
            Format::Rpm => rpm::same(one, other),
            Format::Deb => Ok(read(one)? == read(other)?),
        }
    }

    /// Removes what a run that was killed left.
    fn sweep(&self) -> Result<(), Error> {
        for entry in fs::read_dir(&self.root).map_err(io_error("read", &self.root))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(ASIDE) {
                fs::remove_dir_all(entry.path()).map_err(io_error("remove", entry.path()))?;
            }
        }
        Ok(())
    }

    fn aside(&self) -> Result<tempfile::TempDir, Error> {
        let aside = tempfile::Builder::new().prefix(ASIDE).tempdir_in(&self.root);
        Ok(aside.map_err(io_error("make a directory in", &self.root))?)
    }

    /// Makes metadata of the package files `files` and puts it in place. `phased` are those that the phase is for.
    fn index(&self, files: &[String], phased: &[String], options: &Options<'_>) -> Result<(), Error> {
        let aside = self.aside()?;
        let metadata = match self.format {
            Format::Rpm => rpm::index(&self.root, files, aside.path(), options)?,
            Format::Deb => deb::index(&self.root, files, phased, aside.path(), options)?,
        };
        swap::publish(aside.path(), &self.root, metadata)
    }

    /// Files of all versions but the newest, and the others.
    fn outdated(&self, keep: usize) -> Result<(Vec<String>, Vec<String>), Error> {
        let mut packages: BTreeMap<(String, String), Vec<Identity>> = BTreeMap::new();
        for file in self.files()? {
            let package = self.identity(&self.pool().join(file))?;
            packages.entry((package.name.clone(), package.arch.clone())).or_default().push(package);
        }
        let (mut old, mut kept) = (Vec::new(), Vec::new());
        for mut versions in packages.into_values() {
            versions.sort_by(|one, other| compare(&other.evr, &one.evr));
            let outdated = versions.split_off(keep.min(versions.len()));
            old.extend(outdated.into_iter().map(|package| package.file_name));
            kept.extend(versions.into_iter().map(|package| package.file_name));
        }
        old.sort();
        kept.sort();
        Ok((old, kept))
    }
}

/// Order of versions, by the rules of RPM; for versions of digits, dots, `~` and `-` Debian's rules agree.
fn compare(one: &str, other: &str) -> Ordering {
    Evr::parse(one).cmp(&Evr::parse(other))
}

/// Checked packages in a temporary directory of a repository, ready to be added.
struct Staged {
    side: Side,
    aside: tempfile::TempDir,
    new: Vec<String>,
    present: Vec<String>,
}

impl Staged {
    fn new(side: Side, files: &[&PathBuf], options: &Options<'_>) -> Result<Self, Error> {
        make_dir(&side.pool())?;
        side.sweep()?;
        if let (Format::Rpm, Some(_)) = (side.format, options.gpg_key) {
            rpm::refuse_unsigned(&side.root, &side.pool(), &side.files()?)?;
        }
        let aside = side.aside()?;
        let (mut new, mut present) = (Vec::new(), Vec::new());
        for file in files {
            let package = side.identity(file)?;
            let published = side.pool().join(&package.file_name);
            if published.exists() {
                if !side.same(file, &published)? {
                    return Err(Error::Published { file: (*file).clone(), published });
                }
                present.push(package.file_name);
                continue;
            }
            let copy = aside.path().join(&package.file_name);
            cache::write_durable(&copy, &read(file)?)?;
            if let (Format::Rpm, Some(key)) = (side.format, options.gpg_key) {
                rpm::sign(&copy, key)?;
            }
            new.push(package.file_name);
        }
        Ok(Self { side, aside, new, present })
    }

    /// Moves the packages into the repository and publishes new metadata. Without new metadata the packages are removed.
    fn publish(self, options: &Options<'_>, added: &mut Added) -> Result<(), Error> {
        let pool = self.side.pool();
        let mut moved = Moved(Vec::new());
        for file in &self.new {
            let (from, to) = (self.aside.path().join(file), pool.join(file));
            fs::rename(&from, &to).map_err(io_error("put in place", &to))?;
            moved.0.push(to);
        }
        swap::sync(&pool)?;
        let of_this_run: Vec<String> = self.new.iter().chain(&self.present).cloned().collect();
        self.side.index(&self.side.files()?, &of_this_run, options)?;
        added.new.append(&mut moved.0);
        added.present.extend(self.present.iter().map(|file| pool.join(file)));
        Ok(())
    }
}

/// Files that are removed at the drop.
struct Moved(Vec<PathBuf>);

impl Drop for Moved {
    fn drop(&mut self) {
        for file in &self.0 {
            // No metadata names a file that stays.
            let _ = fs::remove_file(file);
        }
    }
}
