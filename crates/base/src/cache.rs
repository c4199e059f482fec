// SPDX-License-Identifier: GPL-2.0-or-later
//! Cache with entries keyed by a hash of their inputs.
//!
//! # Invariants
//! The directory of an entry exists only if the entry is complete: it is created under a temporary name and a per-entry
//! lock, flushed to disk, and renamed into place. The next process removes leftovers of a killed process. Entries contain
//! no absolute path, so the cache can be moved.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, syncfs};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of the manifest file in each entry, which lists the content of the entry.
const MANIFEST: &str = ".entry.json";

/// Error of a cache operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("the cache could not {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// No location for the cache is configured.
    #[error("no place for the cache: neither FERROGRAFT_CACHE, XDG_CACHE_HOME nor HOME is set")]
    NoPlace,
    /// An entry differs from its manifest.
    #[error("cache entry {} is damaged: {what}; remove it with `cargo xtask cache prune {}`", path.display(), entry_name(path))]
    Damaged {
        /// The entry.
        path: PathBuf,
        /// The first difference.
        what: String,
    },
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, or set FERROGRAFT_CACHE to a directory on another disk"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; set FERROGRAFT_CACHE to a directory that you may write"
        }
        _ => "",
    }
}

fn entry_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Hash of all inputs of an entry or a stage. Each field is preceded by its length, so different lists of inputs never
/// give the same bytes.
#[derive(Clone, Default)]
pub struct Key(Sha256);

impl Key {
    /// Key of one kind of work. `recipe` is the name and version of the work: increase the version if a code change
    /// changes the result.
    pub fn new(recipe: &str) -> Self {
        Self::default().with(recipe)
    }

    /// Adds one input.
    #[must_use]
    pub fn with(mut self, input: impl AsRef<[u8]>) -> Self {
        let input = input.as_ref();
        self.0.update((input.len() as u64).to_le_bytes());
        self.0.update(input);
        self
    }

    /// Adds the content of a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn with_file(self, path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(io_error("read", path))?;
        Ok(self.with(bytes))
    }

    /// Adds the content of a cache entry, by the digests in its manifest.
    ///
    /// # Errors
    /// The entry does not exist or cannot be read.
    pub fn with_entry(self, entry: &Path) -> Result<Self, Error> {
        self.with_file(&entry.join(MANIFEST))
    }

    /// Key as 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        hex(&self.0.clone().finalize())
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of bytes, as 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file, as 64 hexadecimal digits.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).map_err(io_error("open", path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let length = file.read(&mut buffer).map_err(io_error("read", path))?;
        if length == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..length]);
    }
}

/// Free space of the file system of a directory, in bytes.
///
/// # Errors
/// The file system cannot be queried.
pub fn free_space(dir: &Path) -> Result<u64, Error> {
    let found =
        rustix::fs::statvfs(dir).map_err(|errno| io_error("ask the free space of", dir)(errno.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    key: String,
    files: Vec<ManifestFile>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct ManifestFile {
    path: String,
    sha256: String,
}

/// Complete entry, for listings.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Kind of the entry: name of its parent directory.
    pub kind: String,
    /// Name of the entry.
    pub name: String,
    /// Directory of the entry.
    pub path: PathBuf,
    /// Total size of the files, in bytes.
    pub bytes: u64,
}

/// Cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Cache in the directory `root`, which is created on first use.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Cache of the user: `$FERROGRAFT_CACHE`, else `$XDG_CACHE_HOME/ferrograft`, else `~/.cache/ferrograft`.
    ///
    /// # Errors
    /// None of the three variables is set.
    pub fn from_env() -> Result<Self, Error> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("FERROGRAFT_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("ferrograft")))
            .or_else(|| set("HOME").map(|dir| dir.join(".cache/ferrograft")))
            .ok_or(Error::NoPlace)?;
        Ok(Self::new(std::path::absolute(&root).map_err(io_error("resolve", &root))?))
    }

    /// Root directory of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Complete entry `<kind>/<label>-<key>`, if present.
    pub fn find(&self, kind: &str, label: &str, key: &Key) -> Option<PathBuf> {
        let path = self.root.join(kind).join(entry_of(label, key));
        path.join(MANIFEST).is_file().then_some(path)
    }

    /// Finds or creates the entry `<kind>/<label>-<key>`: `make` fills an empty directory, which then becomes the entry.
    /// Of two concurrent callers, the second waits and finds the entry of the first.
    ///
    /// # Errors
    /// The error of `make`, or an error of the cache. The entry does not exist in both cases.
    pub fn entry<E: From<Error>>(
        &self,
        kind: &str,
        label: &str,
        key: &Key,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        if let Some(path) = self.find(kind, label, key) {
            return Ok(path);
        }
        let name = entry_of(label, key);
        let parent = self.root.join(kind);
        let path = parent.join(&name);
        fs::create_dir_all(&parent).map_err(io_error("make the directory", &parent))?;
        let _lock = lock(&parent.join(format!(".{name}.lock")))?;
        if path.join(MANIFEST).is_file() {
            return Ok(path);
        }
        let aside = Aside::new(parent.join(format!(".{name}.making")))?;
        make(&aside.0)?;
        finish(&aside.0, &path, key.hex())?;
        Ok(path)
    }

    /// Small result `<kind>/<label>-<key>`, if present and whole.
    pub fn find_small(&self, kind: &str, label: &str, key: &Key) -> Option<Vec<u8>> {
        fs::read(self.root.join(kind).join(entry_of(label, key))).ok().and_then(content_of_small)
    }

    /// Finds or makes a small result: one file `<kind>/<label>-<key>`, which begins with its SHA-256. It is not flushed to disk: a
    /// file that a crash cut is made again. For results that are made in a second, many at a time.
    ///
    /// # Errors
    /// The error of `make`, or an error of the cache.
    pub fn small<E: From<Error>>(
        &self,
        kind: &str,
        label: &str,
        key: &Key,
        make: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        if let Some(content) = self.find_small(kind, label, key) {
            return Ok(content);
        }
        let parent = self.root.join(kind);
        let path = parent.join(entry_of(label, key));
        let content = make()?;
        let bytes = [sha256(&content).as_bytes(), b"\n", &content].concat();
        let written = (|| {
            fs::create_dir_all(&parent)?;
            let aside = parent.join(format!(".{}.{}", entry_of(label, key), std::process::id()));
            fs::write(&aside, &bytes)?;
            fs::rename(&aside, &path)
        })();
        written.map_err(io_error("write", &path))?;
        Ok(content)
    }

    /// All complete entries, sorted by kind and name.
    ///
    /// # Errors
    /// A directory of the cache cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for kind in subdirectories(&self.root)? {
            for path in subdirectories(&kind)? {
                if path.join(MANIFEST).is_file() {
                    let bytes = walk(&path)?.iter().map(|file| file_size(file)).sum();
                    entries.push(Entry { kind: entry_name(&kind), name: entry_name(&path), path, bytes });
                }
            }
            for path in small_results(&kind)? {
                let bytes = file_size(&path);
                entries.push(Entry { kind: entry_name(&kind), name: entry_name(&path), path, bytes });
            }
        }
        Ok(entries)
    }

    /// Compares every file of an entry with its manifest.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the first difference.
    pub fn verify(&self, entry: &Entry) -> Result<(), Error> {
        let damaged = |what: String| Error::Damaged { path: entry.path.clone(), what };
        if entry.path.is_file() {
            let bytes = fs::read(&entry.path).map_err(io_error("read", &entry.path))?;
            let content = content_of_small(bytes);
            return content.map(|_| ()).ok_or_else(|| damaged("it is not what was put there".to_owned()));
        }
        let path = entry.path.join(MANIFEST);
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| damaged(format!("its list of files: {error}")))?;
        let found = list_files(&entry.path)?;
        for (expected, found) in manifest.files.iter().zip(&found) {
            if expected != found {
                return Err(damaged(format!("{} is not what was put there", expected.path)));
            }
        }
        if manifest.files.len() != found.len() {
            return Err(damaged(format!("{} files, {} were put there", found.len(), manifest.files.len())));
        }
        Ok(())
    }

    /// Removes an entry. A concurrent user keeps the files that it has open.
    ///
    /// # Errors
    /// The entry cannot be renamed or removed.
    pub fn remove(&self, entry: &Entry) -> Result<(), Error> {
        if entry.path.is_file() {
            return fs::remove_file(&entry.path).map_err(io_error("remove", &entry.path));
        }
        let parent = self.root.join(&entry.kind);
        let _lock = lock(&parent.join(format!(".{}.lock", entry.name)))?;
        let aside = parent.join(format!(".{}.making", entry.name));
        fs::rename(&entry.path, &aside).map_err(io_error("remove", &entry.path))?;
        fs::remove_dir_all(&aside).map_err(io_error("remove", &aside))
    }
}

/// Content of the file of a small result; `None` if it is not complete.
fn content_of_small(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    const HEAD: usize = 65;
    let content = if bytes.len() < HEAD { return None } else { bytes.split_off(HEAD) };
    (bytes.strip_suffix(b"\n")? == sha256(&content).as_bytes()).then_some(content)
}

/// Files of small results of a kind, sorted.
fn small_results(kind: &Path) -> Result<Vec<PathBuf>, Error> {
    let listing = fs::read_dir(kind).map_err(io_error("read", kind))?;
    let is_result = |path: &PathBuf| path.is_file() && !entry_name(path).starts_with('.');
    let mut files: Vec<PathBuf> =
        listing.filter_map(Result::ok).map(|item| item.path()).filter(is_result).collect();
    files.sort();
    Ok(files)
}

fn entry_of(label: &str, key: &Key) -> String {
    format!("{label}-{}", &key.hex()[..16])
}

/// Temporary directory; the drop removes it unless it was renamed.
struct Aside(PathBuf);

impl Aside {
    fn new(path: PathBuf) -> Result<Self, Error> {
        if path.exists() {
            fs::remove_dir_all(&path).map_err(io_error("remove the leftover", &path))?;
        }
        fs::create_dir(&path).map_err(io_error("make the directory", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.0.exists() {
            // Best effort: the next process removes leftovers, and a leftover is never used as an entry.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn finish(aside: &Path, path: &Path, key: String) -> Result<(), Error> {
    let manifest = Manifest { key, files: list_files(aside)? };
    let text = serde_json::to_vec(&manifest).map_err(|error| Error::Io {
        action: "list the files of",
        path: aside.to_owned(),
        source: error.into(),
    })?;
    write_durable(&aside.join(MANIFEST), &text)?;
    let directory = File::open(aside).map_err(io_error("open", aside))?;
    syncfs(&directory).map_err(|errno| io_error("flush", aside)(errno.into()))?;
    if path.exists() {
        // No manifest, so no entry: leftover of an interrupted removal by another program.
        fs::remove_dir_all(path).map_err(io_error("remove the leftover", path))?;
    }
    fs::rename(aside, path).map_err(io_error("put in place", path))?;
    sync_parent(path)
}

fn list_files(root: &Path) -> Result<Vec<ManifestFile>, Error> {
    let mut files = Vec::new();
    for path in walk(root)? {
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if relative == MANIFEST {
            continue;
        }
        let sha256 = if path.is_symlink() {
            let target = fs::read_link(&path).map_err(io_error("read", &path))?;
            sha256(target.to_string_lossy().as_bytes())
        } else {
            sha256_file(&path)?
        };
        files.push(ManifestFile { path: relative, sha256 });
    }
    Ok(files)
}

fn file_size(path: &Path) -> u64 {
    path.symlink_metadata().map_or(0, |data| data.len())
}

/// All files and symbolic links under `root`, sorted. Directories are entered, symbolic links are not followed.
///
/// # Errors
/// A directory cannot be read.
pub fn walk(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for item in fs::read_dir(&dir).map_err(io_error("read", &dir))? {
            let item = item.map_err(io_error("read", &dir))?;
            let kind = item.file_type().map_err(io_error("read", &item.path()))?;
            if kind.is_dir() { pending.push(item.path()) } else { files.push(item.path()) }
        }
    }
    files.sort();
    Ok(files)
}

fn subdirectories(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let listing = match fs::read_dir(root) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", root)(error)),
    };
    let mut dirs: Vec<PathBuf> = listing
        .filter_map(Result::ok)
        .map(|item| item.path())
        .filter(|path| path.is_dir() && !entry_name(path).starts_with('.'))
        .collect();
    dirs.sort();
    Ok(dirs)
}

/// Exclusive lock, held until the value is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "holds the lock")] File);

/// Waits for the lock file `path`, which is created if missing, and locks it.
///
/// # Errors
/// The file cannot be opened or locked.
pub fn lock(path: &Path) -> Result<Lock, Error> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(io_error("open the lock", path))?;
    flock(&file, FlockOperation::LockExclusive)
        .map_err(|errno| io_error("take the lock", path)(errno.into()))?;
    Ok(Lock(file))
}

/// Writes a file atomically: after a crash the file has either the old or the new content. Steps: write to a temporary
/// file, fsync, rename, fsync of the directory.
///
/// # Errors
/// One of these steps failed; the old content is still present.
pub fn write_durable(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
    name.push(format!(".{}.new", std::process::id()));
    let aside = path.with_file_name(name);
    let written = (|| {
        let mut file = File::create(&aside)?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    })();
    if let Err(error) = written {
        let _ = fs::remove_file(&aside);
        return Err(io_error("write", path)(error));
    }
    sync_parent(path)
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(io_error("flush", parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn make_file(dir: &Path) -> Result<(), Error> {
        write_durable(&dir.join("file"), b"content")
    }

    #[test]
    fn entry_is_made_once_and_survives_a_move() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("a"));
        let key = Key::new("test").with("1");
        let made = cache.entry("kind", "label", &key, make_file).unwrap();
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        let moved = Cache::new(dir.path().join("b"));
        let never = |_: &Path| -> Result<(), Error> { panic!("must be found") };
        let found = moved.entry("kind", "label", &key, never).unwrap();
        assert_eq!(made.file_name(), found.file_name());
        assert_eq!(fs::read(found.join("file")).unwrap(), b"content");
    }

    #[test]
    fn small_results_are_made_once_and_again_when_cut() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let key = Key::new("test");
        let made = AtomicUsize::new(0);
        let get = || {
            cache.small("kind", "label", &key, || {
                made.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Error>(b"content".to_vec())
            })
        };
        assert_eq!(get().unwrap(), b"content");
        assert_eq!(get().unwrap(), b"content");
        assert_eq!(made.load(Ordering::Relaxed), 1);
        let entry = cache.list().unwrap().remove(0);
        cache.verify(&entry).unwrap();
        let bytes = fs::read(&entry.path).unwrap();
        for cut in [0, 10, 65, bytes.len() - 1] {
            fs::write(&entry.path, &bytes[..cut]).unwrap();
            assert!(cache.verify(&entry).is_err(), "{cut}");
            assert_eq!(get().unwrap(), b"content");
        }
        assert_eq!(made.load(Ordering::Relaxed), 5);
        cache.remove(&entry).unwrap();
        assert!(cache.list().unwrap().is_empty());
    }

    #[test]
    fn failed_or_killed_maker_leaves_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let key = Key::new("test");
        let failing = |aside: &Path| {
            make_file(aside)?;
            Err(Error::NoPlace)
        };
        cache.entry("kind", "label", &key, failing).unwrap_err();
        assert!(cache.list().unwrap().is_empty());
        // Leftover of a killed process: an incomplete temporary directory.
        let name = format!("label-{}", &key.hex()[..16]);
        let leftover = dir.path().join("kind").join(format!(".{name}.making"));
        fs::create_dir_all(&leftover).unwrap();
        fs::write(leftover.join("half"), b"").unwrap();
        let path = cache.entry("kind", "label", &key, make_file).unwrap();
        assert!(!path.join("half").exists() && !leftover.exists());
    }

    #[test]
    fn concurrent_callers_make_an_entry_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache
                        .entry("kind", "label", &Key::new("test"), |aside| {
                            made.fetch_add(1, Ordering::SeqCst);
                            std::thread::sleep(std::time::Duration::from_millis(20));
                            make_file(aside)
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_changed_file_is_found_by_verify() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let path = cache.entry("kind", "label", &Key::new("test"), make_file).unwrap();
        let entry = cache.list().unwrap().remove(0);
        cache.verify(&entry).unwrap();
        fs::write(path.join("file"), b"CONTENT").unwrap();
        let error = cache.verify(&entry).unwrap_err().to_string();
        assert!(error.contains("file is not what was put there"), "{error}");
        cache.remove(&entry).unwrap();
        assert!(cache.list().unwrap().is_empty());
    }

    #[test]
    fn different_inputs_give_different_keys() {
        assert_ne!(Key::new("a").with("bc").hex(), Key::new("ab").with("c").hex());
    }

    #[test]
    fn full_disk_error_contains_advice() {
        let error = write_durable(Path::new("/dev/full/x"), b"").unwrap_err().to_string();
        assert!(error.contains("/dev/full/x"), "{error}");
        let full = io_error("write", Path::new("x"))(io::Error::from(io::ErrorKind::StorageFull)).to_string();
        assert!(full.contains("FERROGRAFT_CACHE"), "{full}");
    }
}
