// SPDX-License-Identifier: GPL-2.0-or-later
//! Access to the machine: files below a root directory, and system calls that have no file interface. Tests use another root
//! and another [`Kernel`].

use std::cell::{OnceCell, RefCell};
use std::fs::{self, File, FileType};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use klp_format::{KernelRelease, ModuleName};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::model::error::Error;
use crate::model::sys::{self, BpfLink};

/// Image of a module to insert.
#[derive(Clone, Copy)]
pub enum Image<'a> {
    /// Open file; security policies for files apply to it.
    File(&'a File),
    /// Decompressed content of a compressed file.
    Bytes(&'a [u8]),
}

/// Operations without a file interface: module insertion and removal, signals, services, time.
pub trait Kernel {
    /// Inserts a module without parameters (`finit_module(2)`, `init_module(2)`).
    ///
    /// # Errors
    /// Error number of the system call.
    fn insert(&self, module: Image<'_>) -> Result<(), Errno>;

    /// Removes a module without waiting (`delete_module(2)` with `O_NONBLOCK`).
    ///
    /// # Errors
    /// Error number of the system call; `EAGAIN` if the module is in use.
    fn remove(&self, module: &ModuleName) -> Result<(), Errno>;

    /// Monotonic time since a fixed moment.
    fn now(&self) -> Duration;

    /// Wall-clock time.
    fn clock(&self) -> SystemTime;

    /// Suspends this program for a time.
    fn sleep(&self, time: Duration);

    /// Installs handlers for SIGINT, SIGTERM and SIGHUP: from now on these signals are recorded and do not end this program.
    fn heed_signals(&self);

    /// Number of the received termination signal; `None` if there was none.
    fn interrupted(&self) -> Option<i32>;

    /// Enables a unit of systemd below `root` (`systemctl enable`).
    ///
    /// # Errors
    /// Message if systemctl is missing or failed.
    fn enable_unit(&self, unit: &str, root: &Path) -> Result<(), String>;

    /// True if standard error is a terminal, so that progress is shown.
    fn shows_progress(&self) -> bool;

    /// BPF links that attach programs to kernel functions (bpf(2)).
    ///
    /// # Errors
    /// Error number of the system call: `ENOSYS` for a kernel without BPF, `EPERM` without CAP_SYS_ADMIN.
    fn bpf_tracing_links(&self) -> Result<Vec<BpfLink>, Errno> {
        Err(Errno::NOSYS)
    }
}

/// [`Kernel`] that runs this program.
#[derive(Debug)]
pub struct Linux {
    start: Instant,
    signal: Arc<AtomicUsize>,
}

impl Linux {
    /// Starts the clock of [`Kernel::now`].
    pub fn new() -> Self {
        Self { start: Instant::now(), signal: Arc::default() }
    }
}

impl Default for Linux {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel for Linux {
    fn insert(&self, module: Image<'_>) -> Result<(), Errno> {
        match module {
            Image::File(file) => rustix::system::finit_module(file, c"", 0),
            Image::Bytes(bytes) => rustix::system::init_module(bytes, c""),
        }
    }

    fn remove(&self, module: &ModuleName) -> Result<(), Errno> {
        // A ModuleName has no NUL byte.
        let name = std::ffi::CString::new(module.as_str()).map_err(|_| Errno::INVAL)?;
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(|_| Errno::INVAL)?;
        rustix::system::delete_module(&name, flags)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn clock(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn heed_signals(&self) {
        for number in [SIGHUP, SIGINT, SIGTERM] {
            let value = usize::try_from(number).unwrap_or(0);
            // Without a handler the signal ends the program.
            let _ = signal_hook::flag::register_usize(number, Arc::clone(&self.signal), value);
        }
    }

    fn interrupted(&self) -> Option<i32> {
        i32::try_from(self.signal.load(Ordering::Relaxed)).ok().filter(|number| *number != 0)
    }

    fn enable_unit(&self, unit: &str, root: &Path) -> Result<(), String> {
        #[allow(
            clippy::disallowed_methods,
            reason = "klp-base is a crate for build hosts; systemctl is the only child process of the loader"
        )]
        let mut systemctl = std::process::Command::new("systemctl");
        if root != Path::new("/") {
            systemctl.arg("--root").arg(root);
        }
        match systemctl.args(["enable", unit]).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("systemctl enable {unit} ended with {status}")),
            Err(error) => Err(format!("systemctl could not be run: {error}")),
        }
    }

    fn shows_progress(&self) -> bool {
        io::stderr().is_terminal()
    }

    fn bpf_tracing_links(&self) -> Result<Vec<BpfLink>, Errno> {
        sys::bpf_tracing_links()
    }
}

/// Machine that a command works on.
pub struct System {
    root: PathBuf,
    kernel: Box<dyn Kernel>,
    running: bool,
    lock: RefCell<Option<File>>,
    release: OnceCell<KernelRelease>,
}

impl System {
    /// Machine that this program runs on.
    pub fn running() -> Self {
        Self::new(PathBuf::from("/"), Box::new(Linux::new()))
    }

    /// Machine with its files (`/sys`, `/proc`, `/dev`, `/var/lib/kpatch`) below `root` and with the kernel `kernel`.
    pub fn new(root: PathBuf, kernel: Box<dyn Kernel>) -> Self {
        Self { root, kernel, running: true, lock: RefCell::default(), release: OnceCell::new() }
    }

    /// Machine with its files below `root` and without a running kernel, for `--root`.
    pub fn offline(root: PathBuf) -> Self {
        Self { running: false, ..Self::new(root, Box::new(Linux::new())) }
    }

    /// True if the machine's kernel runs, so that modules can be inserted.
    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    /// Root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Stores the lock file, which is locked as long as it is open; `None` releases the lock.
    pub(crate) fn keep_lock(&self, lock: Option<File>) {
        *self.lock.borrow_mut() = lock;
    }

    pub(crate) fn kernel(&self) -> &dyn Kernel {
        &*self.kernel
    }

    /// Path on this host of an absolute path of the machine.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Kernel's id of this boot; empty if it cannot be read.
    pub(crate) fn boot_id(&self) -> String {
        let text = self.read_line("/proc/sys/kernel/random/boot_id").ok().flatten().unwrap_or_default();
        text.trim_end().to_owned()
    }

    /// Kernel release of the machine.
    pub(crate) fn release(&self) -> Result<KernelRelease, Error> {
        if let Some(known) = self.release.get() {
            return Ok(known.clone());
        }
        // uname(2) instead of the file for the running kernel: a live patch may replace the file's show function.
        let text = if self.root == Path::new("/") {
            rustix::system::uname().release().to_string_lossy().into_owned()
        } else {
            let path = "/proc/sys/kernel/osrelease";
            self.read(path)?.ok_or_else(|| Error::file("read", path, Errno::NOENT.into()))?
        };
        let release = KernelRelease::new(text.trim_end()).map_err(|reason| Error::Release { reason })?;
        Ok(self.release.get_or_init(|| release).clone())
    }

    /// Content of a text file, with invalid UTF-8 replaced; `None` if the file, or the object it describes in sysfs or procfs,
    /// does not exist.
    pub(crate) fn read(&self, path: &str) -> Result<Option<String>, Error> {
        match fs::read(self.path(path)) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if is_gone(path, &error) => Ok(None),
            Err(source) => Err(Error::file("read", path, source)),
        }
    }

    /// Same as [`System::read`] for the one-line files of sysfs and procfs, with a single read of up to 256 bytes.
    pub(crate) fn read_line(&self, path: &str) -> Result<Option<String>, Error> {
        let mut buffer = [0; 256];
        // Not through the standard library: with musl its open takes one more system call, and there are many such files.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let read = rustix::fs::open(self.path(path), flags, Mode::empty())
            .and_then(|file| rustix::io::read(&file, &mut buffer))
            .map_err(io::Error::from);
        match read {
            Ok(length) => {
                Ok(Some(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned()))
            }
            Err(error) if is_gone(path, &error) => Ok(None),
            Err(source) => Err(Error::file("read", path, source)),
        }
    }

    /// Same as [`System::read`], as bytes.
    pub(crate) fn read_bytes(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match fs::read(self.path(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_gone(path, &error) => Ok(None),
            Err(source) => Err(Error::file("read", path, source)),
        }
    }

    /// Writes to an existing file, such as one of sysfs.
    pub(crate) fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).open(self.path(path))?;
        io::Write::write_all(&mut file, text.as_bytes())
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Names in a directory, sorted, without hidden ones; empty if the directory does not exist.
    pub(crate) fn names(&self, directory: &str) -> Result<Vec<String>, Error> {
        let all = self.entries(directory)?;
        Ok(all.into_iter().map(|entry| entry.name).filter(|name| !name.starts_with('.')).collect())
    }

    /// Entries of a directory, sorted by name, with hidden ones; empty if the directory does not exist.
    pub(crate) fn entries(&self, directory: &str) -> Result<Vec<Entry>, Error> {
        let error = |source| Error::file("list", directory, source);
        let found = match fs::read_dir(self.path(directory)) {
            Ok(found) => found,
            Err(source) if is_gone(directory, &source) => return Ok(Vec::new()),
            Err(source) => return Err(error(source)),
        };
        let mut entries = Vec::new();
        for entry in found {
            match entry {
                Ok(entry) => entries.push(Entry {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    is_utf8: entry.file_name().to_str().is_some(),
                    // The directory entry has the type; no system call is needed.
                    kind: entry.file_type().ok(),
                }),
                Err(source) if is_gone(directory, &source) => break,
                Err(source) => return Err(error(source)),
            }
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }
}

/// Entry of a directory.
pub(crate) struct Entry {
    /// Name, with invalid UTF-8 replaced.
    pub(crate) name: String,
    /// True if the name is valid UTF-8; only then a path with it leads to the entry.
    pub(crate) is_utf8: bool,
    /// File type, of the link itself for a symbolic link; `None` if unknown.
    pub(crate) kind: Option<FileType>,
}

/// True if an error means that a file does not exist. For a file that vanished while it was open, sysfs returns ENODEV
/// and procfs ESRCH; on other file systems these are real errors.
pub(crate) fn is_gone(path: &str, error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    let volatile = ["/sys/", "/proc/"].iter().any(|top| path.starts_with(top)) || path == "/proc";
    errno == Some(Errno::NOENT) || (volatile && [Some(Errno::NODEV), Some(Errno::SRCH)].contains(&errno))
}

/// Exponential backoff: wait steps of one millisecond, doubled up to a tenth of a second.
pub(crate) struct Backoff<'a> {
    kernel: &'a dyn Kernel,
    start: Duration,
    limit: Duration,
    step: Duration,
}

impl<'a> Backoff<'a> {
    const FIRST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(100);

    pub(crate) fn new(system: &'a System, limit: Duration) -> Self {
        let kernel = system.kernel();
        Self { kernel, start: kernel.now(), limit, step: Self::FIRST }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.kernel.now().saturating_sub(self.start)
    }

    /// Waits one step. Returns `false` without waiting when the limit is reached.
    pub(crate) fn step(&mut self) -> bool {
        let left = self.limit.saturating_sub(self.elapsed());
        if left.is_zero() {
            return false;
        }
        self.kernel.sleep(self.step.min(left));
        self.step = (self.step * 2).min(Self::LONGEST);
        true
    }
}
