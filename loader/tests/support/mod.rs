// SPDX-License-Identifier: GPL-2.0-or-later
//! Fake machine in a temporary directory: files, a clock that advances only when the loader waits, and a kernel with scripted
//! results.

mod module;
mod schema;

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use klp_format::ModuleName;
use kpatch::{BpfLink, Image, Kernel, System};
#[allow(unused_imports, reason = "some tests need only a part")]
pub use module::{manifest, module_named, module_with};
use rustix::io::Errno;
#[allow(unused_imports, reason = "some tests need only a part")]
pub use schema::assert_conforms;

pub const RELEASE: &str = "6.12.117+deb12-amd64";
/// Real module with the module name `cmdline_c`.
pub const MODULE: &[u8] = include_bytes!("../../../crates/klp-module/tests/data/cmdline_c.ko");

/// Effect of a system call on the machine's files, and its result.
type Answer = Box<dyn FnMut(&Files) -> Result<(), Errno>>;
/// Event at a set time.
enum Event {
    Files(Box<dyn FnOnce(&Files)>),
    Signal(i32),
}

/// Result of a command.
pub struct Ran {
    pub code: u8,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Messages without those about checks that a load could not make; most machines here have no tracefs.
    pub fn complaints(&self) -> String {
        self.err.split_inclusive('\n').filter(|line| !line.contains(": not checked: ")).collect()
    }
}

/// Files of the machine.
#[derive(Clone)]
pub struct Files(PathBuf);

impl Files {
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Content of a file, without white space at the end.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap().trim_end().to_owned()
    }

    pub fn remove(&self, path: &str) {
        fs::remove_dir_all(self.path(path)).unwrap();
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Adds a patch to the livepatch core, and its module.
    pub fn patch(&self, name: &str, enabled: bool, transition: bool) {
        let directory = format!("/sys/kernel/livepatch/{name}");
        self.write(&format!("{directory}/enabled"), if enabled { "1\n" } else { "0\n" });
        self.write(&format!("{directory}/transition"), if transition { "1\n" } else { "0\n" });
        self.module(name, "1");
    }

    /// Adds a loaded livepatch module.
    pub fn module(&self, name: &str, references: &str) {
        self.write(&format!("/sys/module/{name}/refcnt"), format!("{references}\n"));
        self.write(&format!("/sys/module/{name}/taint"), "OEK\n");
    }

    /// Completes the disabling of a patch.
    pub fn disabled(&self, name: &str) {
        self.remove(&format!("/sys/kernel/livepatch/{name}"));
        self.write(&format!("/sys/module/{name}/refcnt"), "0\n");
    }

    pub fn task(&self, process: u32, tid: u32, name: &str, state: &str, stack: &str) {
        let directory = format!("/proc/{process}/task/{tid}");
        self.write(&format!("{directory}/comm"), format!("{name}\n"));
        self.write(&format!("{directory}/patch_state"), format!("{state}\n"));
        self.write(&format!("{directory}/stack"), stack);
    }

    /// Adds a line to the kernel's log.
    pub fn log(&self, line: &str) {
        self.log_at(0, line);
    }

    /// Adds lines to the kernel's log, at a time in seconds since the boot.
    pub fn log_at(&self, time: u64, lines: &str) {
        use std::io::Write;
        let mut file = File::options().append(true).open(self.path("/dev/kmsg")).unwrap();
        for line in lines.lines() {
            writeln!(file, "6,100,{time}012345,-;{line}").unwrap();
        }
    }
}

struct MachineState {
    files: Files,
    time: Cell<Duration>,
    events: RefCell<Vec<(Duration, Event)>>,
    insert: RefCell<Answer>,
    remove: RefCell<Answer>,
    calls: RefCell<Vec<String>>,
    signal: Cell<Option<i32>>,
    systemctl: RefCell<Result<(), String>>,
    bpf: RefCell<Result<Vec<BpfLink>, Errno>>,
}

struct Fake(Rc<MachineState>);

impl Kernel for Fake {
    fn insert(&self, module: Image<'_>) -> Result<(), Errno> {
        self.0.calls.borrow_mut().push("insert".to_owned());
        match module {
            Image::File(file) => assert!(file.metadata().unwrap().is_file()),
            Image::Bytes(bytes) => assert!(bytes.starts_with(b"\x7fELF")),
        }
        (self.0.insert.borrow_mut())(&self.0.files)
    }

    fn remove(&self, module: &ModuleName) -> Result<(), Errno> {
        self.0.calls.borrow_mut().push(format!("remove {module}"));
        let answer = (self.0.remove.borrow_mut())(&self.0.files);
        if answer.is_ok() {
            self.0.files.remove(&format!("/sys/module/{module}"));
        }
        answer
    }

    fn now(&self) -> Duration {
        self.0.time.get()
    }

    fn sleep(&self, time: Duration) {
        assert!(time <= Duration::from_secs(2), "no wait may be longer than the busy interval");
        let now = self.0.time.get() + time;
        self.0.time.set(now);
        let (due, later) = self.0.events.take().into_iter().partition(|(at, _)| *at <= now);
        self.0.events.replace(later);
        let due: Vec<(Duration, Event)> = due;
        for (_, event) in due {
            match event {
                Event::Files(event) => event(&self.0.files),
                Event::Signal(number) => self.0.signal.set(Some(number)),
            }
        }
    }

    fn clock(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_521_600) + self.0.time.get()
    }

    fn heed_signals(&self) {}

    fn interrupted(&self) -> Option<i32> {
        self.0.signal.get()
    }

    fn enable_unit(&self, unit: &str, _: &Path) -> Result<(), String> {
        self.0.calls.borrow_mut().push(format!("enable {unit}"));
        self.0.systemctl.borrow().clone()
    }

    fn shows_progress(&self) -> bool {
        false
    }

    fn bpf_tracing_links(&self) -> Result<Vec<BpfLink>, Errno> {
        self.0.bpf.borrow().clone()
    }
}

pub struct Machine {
    _root: tempfile::TempDir,
    pub files: Files,
    state: Rc<MachineState>,
    system: System,
}

impl Machine {
    /// Same as [`Machine::new`], with lists in tracefs and debugfs that have nothing about a patch, and with the kernel's build id, so that all checks can be
    /// made.
    pub fn quiet() -> Self {
        let machine = Self::new();
        machine.files.write("/sys/kernel/tracing/enabled_functions", "another_function (1)\n");
        machine.files.write("/sys/kernel/debug/kprobes/list", "");
        let note = [4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, 0xab, 1, 0, 0];
        machine.files.write("/sys/kernel/notes", note);
        machine
    }

    /// Machine with live patching and without modules. Its kernel accepts every module and enables the patch `cmdline_c` at once.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let files = Files(root.path().to_owned());
        fs::create_dir_all(files.path("/sys/kernel/livepatch")).unwrap();
        files.write("/proc/sys/kernel/osrelease", format!("{RELEASE}\n"));
        files.write("/proc/sys/kernel/random/boot_id", "boot-1\n");
        files.write("/proc/uptime", "1000.00 900.00\n");
        files.write("/dev/kmsg", "");
        let state = Rc::new(MachineState {
            files: files.clone(),
            time: Cell::default(),
            events: RefCell::default(),
            insert: RefCell::new(Box::new(|files| {
                files.patch("cmdline_c", true, false);
                Ok(())
            })),
            remove: RefCell::new(Box::new(|_| Ok(()))),
            calls: RefCell::default(),
            signal: Cell::default(),
            systemctl: RefCell::new(Ok(())),
            bpf: RefCell::new(Err(Errno::PERM)),
        });
        let system = System::new(root.path().to_owned(), Box::new(Fake(state.clone())));
        Self { _root: root, files, state, system }
    }

    pub fn on_insert(&self, answer: impl FnMut(&Files) -> Result<(), Errno> + 'static) {
        *self.state.insert.borrow_mut() = Box::new(answer);
    }

    pub fn on_remove(&self, answer: impl FnMut(&Files) -> Result<(), Errno> + 'static) {
        *self.state.remove.borrow_mut() = Box::new(answer);
    }

    /// Schedules an event after this total wait time.
    pub fn after(&self, time: Duration, event: impl FnOnce(&Files) + 'static) {
        self.state.events.borrow_mut().push((time, Event::Files(Box::new(event))));
    }

    /// Schedules a signal after this total wait time.
    pub fn signal_after(&self, time: Duration, number: i32) {
        self.state.events.borrow_mut().push((time, Event::Signal(number)));
    }

    /// Sets the result of systemctl.
    pub fn systemctl(&self, answer: Result<(), String>) {
        *self.state.systemctl.borrow_mut() = answer;
    }

    /// Sets the BPF links that bpf(2) returns.
    pub fn bpf(&self, links: Result<Vec<BpfLink>, Errno>) {
        *self.state.bpf.borrow_mut() = links;
    }

    /// Reboots the machine: no module is loaded.
    pub fn reboot(&self, boot_id: &str) {
        for directory in ["/sys/kernel/livepatch", "/sys/module", "/run"] {
            if self.files.exists(directory) {
                self.files.remove(directory);
            }
        }
        fs::create_dir_all(self.files.path("/sys/kernel/livepatch")).unwrap();
        self.files.write("/proc/sys/kernel/random/boot_id", format!("{boot_id}\n"));
        self.state.signal.set(None);
    }

    /// Same machine for another process.
    pub fn again(self) -> Self {
        let system = System::new(self.files.path("/"), Box::new(Fake(self.state.clone())));
        Self { system, ..self }
    }

    /// Writes a module file outside of the store and returns its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        self.files.write(&format!("/tmp/{name}"), bytes);
        self.files.path(&format!("/tmp/{name}")).to_str().unwrap().to_owned()
    }

    pub fn install(&self, release: &str, file: &str) {
        self.files.write(&format!("/var/lib/kpatch/{release}/{file}"), MODULE);
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        let arguments = std::iter::once("kpatch").chain(arguments.iter().copied()).map(OsString::from);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = kpatch::main(arguments, &self.system, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(self.root(), "");
        Ran { code, out: text(out), err: text(err) }
    }

    /// Runs a command with a closed standard output.
    pub fn run_closed(&self, arguments: &[&str]) -> (u8, String) {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let arguments = std::iter::once("kpatch").chain(arguments.iter().copied()).map(OsString::from);
        let mut err = Vec::new();
        let code = kpatch::main(arguments, &self.system, &mut Closed, &mut err);
        (code, String::from_utf8(err).unwrap())
    }

    /// Insertions and removals so far.
    pub fn calls(&self) -> Vec<String> {
        self.state.calls.borrow().clone()
    }

    /// Total wait time of the loader.
    pub fn waited(&self) -> Duration {
        self.state.time.get()
    }

    fn root(&self) -> &str {
        Path::to_str(&self.files.0).unwrap()
    }
}
