// SPDX-License-Identifier: GPL-2.0-or-later
//! Snapshots of booted guests, in the cache.
//!
//! An entry holds the guest's memory (a sparse file that QEMU maps copy-on-write), the state of devices and CPUs, the
//! console text so far, and a description with a digest of all three. The snapshot of a full system also holds its disk as
//! it was at that moment: an overlay of the disk image, which nothing writes any more. Each guest gets an overlay of it.
//!
//! # Invariants
//! - The key covers everything that determines the state of the guest: QEMU's version and arguments, the kernel image,
//!   the initramfs, the content of the disk image, and the host's CPU model, whose counter drives the guest's TSC.
//! - A snapshot with changed content is an error before a guest runs from it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use klp_base::cache::{Cache, Error as CacheError, Key, write_durable};
use klp_base::process::Cmd;
use klp_guest::Hello;
use rustix::fs::SeekFrom;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::guest::table;
use crate::initramfs::Initramfs;
use crate::machine::Machine;

/// Kind of the cache entries.
const KIND: &str = "snapshot";
/// Maximum number of entries per kernel: a few command lines, and the entries of other checkouts.
const KEPT: usize = 4;
/// File with the description of an entry.
const DESCRIPTION: &str = "snapshot.json";
/// Granularity of the digest, in bytes.
const BLOCK: u64 = 1 << 16;

/// Snapshot with verified content.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    dir: PathBuf,
    /// Hello of the saved guest.
    pub(crate) hello: Hello,
}

/// Content of `snapshot.json`.
#[derive(Serialize, Deserialize)]
struct Description {
    hello: Hello,
    digest: String,
}

impl Snapshot {
    /// Backing file of the guest's memory.
    pub(crate) fn memory(&self) -> PathBuf {
        self.dir.join("memory")
    }

    /// State of devices and CPUs.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Console up to the snapshot.
    pub(crate) fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    /// Disk of a full system (qcow2).
    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// Directory of the cache entry.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Key of the snapshot of `machine` with this initramfs, and a disk on `image`, a file of a cache entry.
    ///
    /// # Errors
    /// The version of QEMU is not available, or a file cannot be read.
    pub(crate) fn key(machine: &Machine<'_>, root: &Initramfs, image: Option<&Path>) -> Result<Key, Error> {
        let archive = root.archive().map_err(Error::io("make", Path::new("the initramfs")))?;
        let qemu = Cmd::new(table(machine.kernel.arch).qemu).arg("--version").run()?;
        let key = Key::new("guest snapshot 1").with(&qemu.stdout).with(host_cpu()).with(archive);
        let key = machine.arguments().iter().fold(key, |key, argument| key.with(argument));
        let key = match image.and_then(Path::parent) {
            Some(entry) => key.with_entry(entry)?,
            None => key,
        };
        Ok(key.with_file(&machine.kernel.image)?)
    }

    /// Snapshot with this key in the cache.
    ///
    /// # Errors
    /// [`CacheError::Damaged`] if the content has changed.
    pub(crate) fn find(cache: &Cache, label: &str, key: &Key) -> Result<Option<Self>, Error> {
        cache.find(KIND, label, key).map(|dir| Self::open(&dir)).transpose()
    }

    /// Makes the entry of this key: `save` boots a guest, writes memory and state, and returns Hello and console text.
    /// Removes the oldest snapshots with the same label.
    ///
    /// # Errors
    /// Errors of `save`; or the saved files cannot be read again.
    pub(crate) fn make<E: From<Error> + From<CacheError>>(
        cache: &Cache,
        label: &str,
        key: &Key,
        save: impl FnOnce(&Self) -> Result<(Hello, String), E>,
    ) -> Result<Self, E> {
        let dir = cache.entry(KIND, label, key, |dir| {
            let snapshot = Self { dir: dir.to_owned(), hello: Hello::default() };
            let (hello, console) = save(&snapshot)?;
            write_durable(&snapshot.console(), console.as_bytes())?;
            let digest = digest(&snapshot).map_err(Error::io("read", dir))?;
            let file = dir.join(DESCRIPTION);
            let text = serde_json::to_vec(&Description { hello, digest })
                .map_err(|error| Error::io("write", &file)(error.into()))?;
            Ok::<_, E>(write_durable(&file, &text)?)
        })?;
        prune(cache, label, &dir)?;
        Ok(Self::open(&dir)?)
    }

    fn open(dir: &Path) -> Result<Self, Error> {
        let file = dir.join(DESCRIPTION);
        let text = fs::read(&file).map_err(Error::io("read", &file))?;
        let damaged = |what: String| Error::from(CacheError::Damaged { path: dir.to_owned(), what });
        let known: Description =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("{DESCRIPTION}: {error}")))?;
        let snapshot = Self { dir: dir.to_owned(), hello: known.hello };
        let found = digest(&snapshot).map_err(Error::io("read", dir))?;
        if found == known.digest {
            Ok(snapshot)
        } else {
            Err(damaged("the guest in it is not what was saved".to_owned()))
        }
    }
}

/// Removes all but the newest snapshots of a kernel. A guest that runs from a removed one keeps its open files.
fn prune(cache: &Cache, label: &str, made: &Path) -> Result<(), Error> {
    let time = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let mine = |name: &str| {
        name.strip_prefix(label)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|hash| !hash.contains('-'))
    };
    let mut entries = cache.list()?;
    entries.retain(|entry| entry.kind == KIND && mine(&entry.name) && entry.path != made);
    entries.sort_by_key(|entry| std::cmp::Reverse(time(&entry.path)));
    for old in entries.iter().skip(KEPT - 1) {
        cache.remove(old)?;
    }
    Ok(())
}

/// Model of the host's CPU; empty if the kernel does not report it.
fn host_cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().find(|line| line.starts_with("model name")).unwrap_or_default().to_owned()
}

/// Digest of a snapshot's files.
fn digest(snapshot: &Snapshot) -> io::Result<String> {
    let key = Key::new("snapshot content").with(fs::read(snapshot.console())?);
    let key = with_blocks(key, &snapshot.state())?;
    let key = with_blocks(key, &snapshot.memory())?;
    let disk = snapshot.disk();
    Ok(if disk.try_exists()? { with_blocks(key, &disk)? } else { key }.hex())
}

/// Adds the length of a file and its non-zero blocks with their offsets. Holes are not read.
fn with_blocks(key: Key, path: &Path) -> io::Result<Key> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut key = key.with(length.to_le_bytes());
    let mut block = vec![0; BLOCK as usize];
    let mut at = 0;
    while let Some(data) = next_data(&file, at)? {
        at = data / BLOCK * BLOCK;
        let size = usize::try_from(BLOCK.min(length.saturating_sub(at))).unwrap_or_default();
        let piece = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(piece, at)?;
        if piece.iter().any(|&byte| byte != 0) {
            key = key.with(at.to_le_bytes()).with(&*piece);
        }
        at += BLOCK;
    }
    Ok(key)
}

/// Offset of the first data at or after `at`.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(dir: &Path) -> Snapshot {
        let hello = Hello { protocol: 1, boot_id: "b".to_owned(), uptime_ms: 1, release: "r".to_owned() };
        let snapshot = Snapshot { dir: dir.to_owned(), hello: hello.clone() };
        fs::write(snapshot.console(), "console").unwrap();
        fs::write(snapshot.state(), vec![7; 1000]).unwrap();
        fs::write(snapshot.disk(), "disk").unwrap();
        let memory = File::create(snapshot.memory()).unwrap();
        memory.set_len(10 * BLOCK + 5).unwrap();
        memory.write_all_at(b"data", 3 * BLOCK + 9).unwrap();
        let description = Description { hello, digest: digest(&snapshot).unwrap() };
        fs::write(dir.join(DESCRIPTION), serde_json::to_vec(&description).unwrap()).unwrap();
        snapshot
    }

    #[test]
    fn any_change_of_content_is_damage() {
        type Change = fn(&Snapshot);
        let changes: [(&str, Change); 8] = [
            ("disk", |snapshot| fs::write(snapshot.disk(), "Disk").unwrap()),
            ("no disk", |snapshot| fs::remove_file(snapshot.disk()).unwrap()),
            ("console", |snapshot| fs::write(snapshot.console(), "Console").unwrap()),
            ("state", |snapshot| fs::write(snapshot.state(), vec![7; 999]).unwrap()),
            ("memory, data", |snapshot| {
                let file = File::options().write(true).open(snapshot.memory()).unwrap();
                file.write_all_at(b"Data", 3 * BLOCK + 9).unwrap();
            }),
            ("memory, hole", |snapshot| {
                let file = File::options().write(true).open(snapshot.memory()).unwrap();
                file.write_all_at(b"x", 8 * BLOCK).unwrap();
            }),
            ("memory, length", |snapshot| {
                File::options().write(true).open(snapshot.memory()).unwrap().set_len(10 * BLOCK).unwrap();
            }),
            ("description", |snapshot| fs::write(snapshot.dir().join(DESCRIPTION), "{}").unwrap()),
        ];
        for (what, change) in changes {
            let dir = tempfile::tempdir().unwrap();
            let made = snapshot(dir.path());
            assert_eq!(Snapshot::open(dir.path()).unwrap().hello, made.hello);
            change(&made);
            let error = Snapshot::open(dir.path()).unwrap_err();
            assert!(matches!(error, Error::Cache(CacheError::Damaged { .. })), "{what}: {error}");
        }
    }

    #[test]
    fn a_copy_without_holes_is_the_same_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let made = snapshot(dir.path());
        let bytes = fs::read(made.memory()).unwrap();
        fs::write(made.memory(), bytes).unwrap();
        Snapshot::open(dir.path()).unwrap();
    }

    #[test]
    fn the_newest_snapshots_of_a_kernel_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let make = |label: &str, number: u32| {
            let key = Key::new("x").with(number.to_le_bytes());
            cache.entry(KIND, label, &key, |dir| write_durable(&dir.join("state"), b"x")).unwrap()
        };
        let first = make("k", 0);
        let paths: Vec<PathBuf> = (1..=5).map(|number| make("k", number)).collect();
        let other = make("k-old", 0);
        prune(&cache, "k", &first).unwrap();
        assert!(first.exists() && other.exists());
        assert_eq!(paths.iter().filter(|path| path.exists()).count(), KEPT - 1);
    }
}
