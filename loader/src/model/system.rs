// SPDX-License-Identifier: GPL-2.0-or-later
//! The machine: its files below one root directory, and the calls that are no files. Tests put another root and other
//! calls in their place.

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

/// A module's image on its way into the kernel.
#[derive(Clone, Copy)]
pub enum Image<'a> {
    /// A file that holds it, open for reading: what security policies on files can judge.
    File(&'a File),
    /// Its bytes, where the file is compressed.
    Bytes(&'a [u8]),
}

/// A BPF program that is attached to a function of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfLink {
    /// The link's id.
    pub id: u32,
    /// The program's id.
    pub program: u32,
    /// `enum bpf_attach_type`.
    pub attach_type: u32,
    /// The function: BTF object and type.
    pub target: (u32, u32),
}

/// What cannot be done through files: insertion, removal, signals, services and time.
pub trait Kernel {
    /// Inserts a module without parameters (`finit_module(2)`, `init_module(2)`).
    ///
    /// # Errors
    /// What the kernel answers.
    fn insert(&self, module: Image<'_>) -> Result<(), Errno>;

    /// Removes a module without waiting (`delete_module(2)` with `O_NONBLOCK`).
    ///
    /// # Errors
    /// What the kernel answers; `EAGAIN` when the module is in use.
    fn remove(&self, module: &ModuleName) -> Result<(), Errno>;

    /// Time since some fixed moment; it never goes back.
    fn now(&self) -> Duration;

    /// The time of day.
    fn clock(&self) -> SystemTime;

    /// Waits.
    fn sleep(&self, time: Duration);

    /// From now on SIGINT, SIGTERM and SIGHUP do not end this program but are remembered.
    fn heed_signals(&self);

    /// The signal that asked this program to end, if one did.
    fn interrupted(&self) -> Option<i32>;

    /// Asks systemd to start a unit at each boot (`systemctl enable`) below `root`.
    ///
    /// # Errors
    /// There is no systemctl, or it refused: what it said.
    fn enable_unit(&self, unit: &str, root: &Path) -> Result<(), String>;

    /// Whether a person sees the standard error, and with it progress.
    fn shows_progress(&self) -> bool;

    /// The BPF links by which programs are attached to functions of the kernel (bpf(2)).
    ///
    /// # Errors
    /// What the kernel answers; `ENOSYS` where it has no BPF, `EPERM` without CAP_SYS_ADMIN.
    fn bpf_tracing_links(&self) -> Result<Vec<BpfLink>, Errno> {
        Err(Errno::NOSYS)
    }
}

/// The running kernel.
#[derive(Debug)]
pub struct Linux {
    start: Instant,
    signal: Arc<AtomicUsize>,
}

impl Linux {
    /// The running kernel.
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
        // A ModuleName has no byte that a C string could not hold.
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
            // Should the kernel refuse a handler, the signal ends the program, as without one.
            let _ = signal_hook::flag::register_usize(number, Arc::clone(&self.signal), value);
        }
    }

    fn interrupted(&self) -> Option<i32> {
        i32::try_from(self.signal.load(Ordering::Relaxed)).ok().filter(|number| *number != 0)
    }

    fn enable_unit(&self, unit: &str, root: &Path) -> Result<(), String> {
        #[allow(
            clippy::disallowed_methods,
            reason = "the wrapper of klp-base is for hosts that build; this is the only program that the loader starts"
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
        crate::model::sys::bpf_tracing_links()
    }
}

/// The machine that is worked on.
pub struct System {
    root: PathBuf,
    kernel: Box<dyn Kernel>,
    running: bool,
    lock: RefCell<Option<File>>,
    release: OnceCell<KernelRelease>,
}

impl System {
    /// The one that this program runs on.
    pub fn running() -> Self {
        Self::new(PathBuf::from("/"), Box::new(Linux::new()))
    }

    /// One whose files (`/sys`, `/proc`, `/dev`, `/var/lib/kpatch`) lie below `root`, and whose kernel is `kernel`.
    pub fn new(root: PathBuf, kernel: Box<dyn Kernel>) -> Self {
        Self { root, kernel, running: true, lock: RefCell::default(), release: OnceCell::new() }
    }

    /// One whose files lie below `root` and whose kernel does not run: what `--root` asks for.
    pub fn offline(root: PathBuf) -> Self {
        Self { running: false, ..Self::new(root, Box::new(Linux::new())) }
    }

    /// Whether its kernel is the one that runs, so that modules can be inserted.
    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Keeps the lock that [`crate::act::lock::take`] made.
    pub(crate) fn keep_lock(&self, lock: Option<File>) {
        *self.lock.borrow_mut() = lock;
    }

    pub(crate) fn kernel(&self) -> &dyn Kernel {
        &*self.kernel
    }

    /// Where an absolute path of the machine really is.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The id of this boot; empty where the kernel does not say.
    pub(crate) fn boot_id(&self) -> String {
        let text = self.read_line("/proc/sys/kernel/random/boot_id").ok().flatten().unwrap_or_default();
        text.trim_end().to_owned()
    }

    /// The release of its kernel.
    pub(crate) fn release(&self) -> Result<KernelRelease, Error> {
        if let Some(known) = self.release.get() {
            return Ok(known.clone());
        }
        // The file's function can be replaced like any other; the running kernel is asked without it.
        let text = if self.root == Path::new("/") {
            rustix::system::uname().release().to_string_lossy().into_owned()
        } else {
            let path = "/proc/sys/kernel/osrelease";
            self.read(path)?.ok_or_else(|| Error::file("read", path, Errno::NOENT.into()))?
        };
        let release = KernelRelease::new(text.trim_end()).map_err(|reason| Error::Release { reason })?;
        Ok(self.release.get_or_init(|| release).clone())
    }

    /// A small text file, such as those of sysfs and procfs; `None` when there is none, or when what it is about has
    /// gone. Bytes that are no UTF-8 are replaced.
    pub(crate) fn read(&self, path: &str) -> Result<Option<String>, Error> {
        match fs::read(self.path(path)) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if is_gone(path, &error) => Ok(None),
            Err(source) => Err(Error::file("read", path, source)),
        }
    }

    /// As [`System::read`], for the one-line files of sysfs and procfs: one read gives all of it.
    pub(crate) fn read_line(&self, path: &str) -> Result<Option<String>, Error> {
        let mut buffer = [0; 256];
        // Not by the standard library, whose way to open files makes one more system call under musl: of these files are
        // many.
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

    /// As [`System::read`], the bytes as they are.
    pub(crate) fn read_bytes(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match fs::read(self.path(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_gone(path, &error) => Ok(None),
            Err(source) => Err(Error::file("read", path, source)),
        }
    }

    /// Writes to a file that is there, as those of sysfs are.
    pub(crate) fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).open(self.path(path))?;
        io::Write::write_all(&mut file, text.as_bytes())
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The names in a directory, hidden ones left out, in order; none when there is no such directory.
    pub(crate) fn names(&self, directory: &str) -> Result<Vec<String>, Error> {
        let all = self.entries(directory)?;
        Ok(all.into_iter().map(|entry| entry.name).filter(|name| !name.starts_with('.')).collect())
    }

    /// All that is in a directory, hidden entries too, in the order of their names; nothing when there is no such directory.
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
                    // The type comes with the name, without a system call; it is unknown where the file has gone since.
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

/// An entry of a directory.
pub(crate) struct Entry {
    /// Its name; bytes that are no UTF-8 are replaced.
    pub(crate) name: String,
    /// Whether the name is UTF-8, so that a path with it leads to the entry.
    pub(crate) is_utf8: bool,
    /// What it is, a link not followed.
    pub(crate) kind: Option<FileType>,
}

/// Whether a file is not there, or no longer: sysfs answers ENODEV to who has it open, procfs ESRCH; of other file systems
/// these are faults.
pub(crate) fn is_gone(path: &str, error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    let volatile = ["/sys/", "/proc/"].iter().any(|top| path.starts_with(top)) || path == "/proc";
    errno == Some(Errno::NOENT) || (volatile && [Some(Errno::NODEV), Some(Errno::SRCH)].contains(&errno))
}

/// Waiting in steps that begin at a millisecond and double up to a tenth of a second.
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

    /// Time since the waiting began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.kernel.now().saturating_sub(self.start)
    }

    /// Waits one step. `false`: the time is over, and nothing was waited.
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
