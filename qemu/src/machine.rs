// SPDX-License-Identifier: GPL-2.0-or-later
//! QEMU's command line, and a machine that runs.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use klp_base::events::Verdict;
use klp_base::process::{Cmd, Running, find_program};
use klp_guest::{Hello, PORT, PROTOCOL, Reply, Request};
use tempfile::TempDir;

use crate::accel::Backend;
use crate::clock::{Clock, Countdown};
use crate::console::{self, Console};
use crate::deadline::Deadlines;
use crate::error::Error;
use crate::initramfs::Initramfs;
use crate::judge;
use crate::link::{Link, LinkError};
use crate::target::Kernel;

/// TCP port on which QEMU waits for a debugger.
pub(crate) const GDB_PORT: u16 = 1234;

/// The kernel's watchdogs go by the guest's clock, which goes on while the host gives the guest no CPU: those that complain
/// after seconds are off, the others wait for minutes. The host finds what hangs.
const LOAD_PROOF: &str = "nowatchdog rcupdate.rcu_cpu_stall_timeout=300 workqueue.watchdog_thresh=0 \
    sysctl.kernel.hung_task_timeout_secs=1200";

/// What to boot, and how.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) backend: Backend,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    /// More words for the kernel's command line.
    pub(crate) append: &'a str,
    /// The processor that is emulated; the plain one where there is none. Acceleration has the host's.
    pub(crate) cpu_model: Option<&'a str>,
    /// Stop before the first instruction and wait for a debugger.
    pub(crate) gdb: bool,
    /// A disk image (qcow2) with a full system.
    pub(crate) disk: Option<&'a Path>,
}

/// Where the serial console goes, and whether there is a port for the guest program.
pub(crate) enum Wiring<'a> {
    /// Console to a file.
    Console(&'a Path),
    /// Console to a file, the guest's port to a socket on which the host listens.
    Guest { console: &'a Path, socket: &'a Path },
    /// Console to this process's terminal.
    Terminal,
}

impl Machine<'_> {
    /// The command that boots it.
    ///
    /// `setpriv` asks the kernel to kill QEMU when the thread that started it ends, however this process dies.
    /// `panic=-1` with `-no-reboot` makes a panic end QEMU at once. An oops does not panic: the case sees its effects,
    /// and is judged by the kernel's log. CPUs are separate sockets, which kernels without ACPI understand too.
    pub(crate) fn cmd(&self, initrd: &Path, wiring: &Wiring<'_>) -> Result<Cmd, Error> {
        let arch = self.kernel.arch.table();
        let hint = format!("{} is not installed (Debian: apt-get install {})", arch.qemu, arch.package);
        if find_program(arch.qemu).is_none() {
            let source = std::io::Error::new(ErrorKind::NotFound, hint);
            return Err(Error::io("start", Path::new(arch.qemu))(source));
        }
        let cpu = match self.backend {
            Backend::Tcg | Backend::Counted => self.cpu_model.unwrap_or(arch.tcg_cpu),
            Backend::Kvm => "host",
        };
        let append = format!(
            "console={} rdinit=/init panic=-1 {LOAD_PROOF} loglevel=7 printk.time=1 {} {}",
            arch.console, arch.append, self.append
        );
        let cpus = self.cpus;
        let mut cmd = Cmd::new("setpriv")
            .hint("setpriv is part of util-linux (Debian: apt-get install util-linux)")
            .args(["--pdeathsig", "KILL", "--", arch.qemu])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-machine", arch.machine, "-accel", self.backend.argument(), "-cpu", cpu])
            .args(self.backend.more())
            .args(["-m", &self.memory_mib.to_string(), "-smp", &format!("{cpus},sockets={cpus},cores=1")])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", append.trim_end()]);
        cmd = match wiring {
            Wiring::Console(path) => cmd.args(serial(path)),
            Wiring::Guest { console, socket } => cmd.args(serial(console)).args(port(socket)),
            Wiring::Terminal => {
                cmd.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            }
        };
        if let Some(disk) = self.disk {
            // What the host loses in a crash is of no use to anybody: nothing is flushed to it.
            let drive = format!("if=none,id=disk,format=qcow2,cache=unsafe,file={}", escaped(disk));
            cmd = cmd.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]);
        }
        if self.gdb {
            cmd = cmd.args(["-S", "-gdb", &format!("tcp:127.0.0.1:{GDB_PORT}")]);
        }
        Ok(cmd)
    }
}

/// QEMU reads commas in these options as separators; doubled they are part of the value.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

fn serial(console: &Path) -> [String; 4] {
    let chardev = format!("file,id=console,path={}", escaped(console));
    ["-chardev".to_owned(), chardev, "-serial".to_owned(), "chardev:console".to_owned()]
}

fn port(socket: &Path) -> [String; 6] {
    [
        "-chardev".to_owned(),
        format!("socket,id=guest,path={},server=off", escaped(socket)),
        "-device".to_owned(),
        "virtio-serial-pci".to_owned(),
        "-device".to_owned(),
        format!("virtserialport,chardev=guest,name={PORT}"),
    ]
}

/// How a machine ended.
#[derive(Debug)]
pub(crate) struct End {
    /// QEMU's exit status; `None` when we killed it.
    pub(crate) status: Option<ExitStatus>,
    /// CPU time of QEMU.
    pub(crate) cpu: Duration,
    /// From QEMU's start to its end.
    pub(crate) wall: Duration,
    /// The console.
    pub(crate) console: Console,
    /// What QEMU itself said.
    pub(crate) stderr: String,
}

/// A machine that ended before it was asked to.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
    /// The host gave it too little time to come to anything.
    pub(crate) starved: bool,
    pub(crate) end: End,
}

/// A machine whose guest program has greeted.
pub(crate) struct Vm {
    qemu: Qemu,
    link: Link,
    deadlines: Deadlines,
    /// Time from QEMU's start to the Hello.
    pub(crate) boot: Duration,
}

/// A machine that did not come up.
pub(crate) enum NoVm {
    /// The host could not start it.
    Host(Error),
    /// It started and ended, or stayed silent.
    Died(Box<Death>),
}

impl<E: Into<Error>> From<E> for NoVm {
    fn from(error: E) -> Self {
        Self::Host(error.into())
    }
}

impl Vm {
    /// Boots and waits for the guest's Hello, no longer than `within`.
    pub(crate) fn boot(
        machine: &Machine<'_>,
        root: &Initramfs,
        deadlines: Deadlines,
        within: Duration,
    ) -> Result<Self, NoVm> {
        let started = Instant::now();
        let scratch = Scratch::new(root)?;
        let socket = scratch.path("port");
        let listener = UnixListener::bind(&socket).map_err(Error::io("listen on", &socket))?;
        let console = scratch.path(CONSOLE);
        let wiring = Wiring::Guest { console: &console, socket: &socket };
        let mut qemu = Qemu::start(machine, scratch, &wiring)?;
        let countdown = qemu.clock.countdown(within);
        let connected =
            qemu.accept(&listener, &countdown).and_then(|stream| Link::new(stream).map_err(Into::into));
        let mut link = match connected {
            Ok(link) => link,
            Err(error) => return Err(died(qemu, &error)),
        };
        let clock = &mut qemu.clock;
        let greeted = link.receive(|| clock.left(&countdown));
        match greeted.and_then(|(reply, _)| greeting(reply, machine.kernel)) {
            Ok(_) => {
                qemu.scratch.tidy();
                Ok(Self { qemu, link, deadlines, boot: started.elapsed() })
            }
            Err(error) => Err(died(qemu, &error)),
        }
    }

    /// A wait that begins now, by the time that the host gives the guest.
    pub(crate) fn countdown(&mut self, limit: Duration) -> Countdown {
        self.qemu.clock.countdown(limit)
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, request: &Request) -> Result<(), LinkError> {
        self.qemu.asked_at = self.qemu.scratch.console_length();
        let countdown = self.countdown(self.deadlines.shutdown);
        let clock = &mut self.qemu.clock;
        self.link.send(request, b"", || clock.left(&countdown))
    }

    /// The next reply, waiting for it no longer than the countdown says.
    pub(crate) fn receive(&mut self, countdown: &Countdown) -> Result<(Reply, Vec<u8>), LinkError> {
        loop {
            let clock = &mut self.qemu.clock;
            let (reply, body) = self.link.receive(|| clock.left(countdown))?;
            if reply == Reply::UserLine {
                let line = String::from_utf8_lossy(&body).trim_end().to_owned();
                *self.qemu.user_lines.entry(line).or_default() += 1;
                continue;
            }
            if !matches!(reply, Reply::Output { .. }) {
                self.qemu.survived = self.qemu.asked_at;
            }
            return Ok((reply, body));
        }
    }

    /// The next reply to a short question.
    pub(crate) fn answer(&mut self) -> Result<(Reply, Vec<u8>), LinkError> {
        let countdown = self.countdown(self.deadlines.shutdown);
        self.receive(&countdown)
    }

    /// CPU time of QEMU so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.qemu.running.pid())
    }

    /// All of the console so far.
    pub(crate) fn console(&self) -> String {
        console::read(&self.qemu.scratch.console)
    }

    /// Asks the guest to end and waits for it.
    pub(crate) fn power_off(mut self) -> Result<End, Box<Death>> {
        let within = self.deadlines.shutdown;
        let asked = self.send(&Request::PowerOff).and_then(|()| self.answer());
        let ended = match asked {
            Ok((Reply::Bye, _)) => self.qemu.await_end(within),
            Ok((other, _)) => Err(LinkError::Unexpected(format!("{other:?} when asked to end"))),
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => {
                let end = self.qemu.end();
                match end.console.panic() {
                    Some(line) => {
                        Err(Box::new(Death { verdict: Verdict::Panicked, reason: line, starved: false, end }))
                    }
                    None => Ok(end),
                }
            }
            Err(error) => Err(Box::new(judge_death(self.qemu.end_after(&error), &error, true))),
        }
    }

    /// Ends it at once.
    pub(crate) fn kill(self) -> End {
        self.qemu.end()
    }

    /// Ends it after the guest gave no answer, and says what happened.
    pub(crate) fn autopsy(self, error: &LinkError) -> Death {
        judge_death(self.qemu.end_after(error), error, true)
    }
}

fn greeting(reply: Reply, kernel: &Kernel) -> Result<Hello, LinkError> {
    let wrong = |what: String| Err(LinkError::Unexpected(what));
    match reply {
        Reply::Hello(hello) if hello.protocol != PROTOCOL => {
            wrong(format!("protocol {}, not {PROTOCOL}: rebuild the guest program", hello.protocol))
        }
        Reply::Hello(hello) if hello.release != kernel.release => {
            wrong(format!("release {}, but {} is said to be {}", hello.release, kernel.id, kernel.release))
        }
        Reply::Hello(hello) => Ok(hello),
        other => wrong(format!("{other:?} instead of a greeting")),
    }
}

fn died(qemu: Qemu, error: &LinkError) -> NoVm {
    NoVm::Died(Box::new(judge_death(qemu.end_after(error), error, false)))
}

/// What the end of a machine means. Before the greeting a reset without a panic is the guest program's refusal or the
/// host's fault; after it, the case's or the kernel's.
fn judge_death(end: End, error: &LinkError, greeted: bool) -> Death {
    let when = if greeted { "" } else { " while booting" };
    let (verdict, reason) = if let Some(line) = end.console.panic() {
        (Verdict::Panicked, format!("{line}{when}"))
    } else {
        let words = end.console.last_words();
        match (error, end.status) {
            (LinkError::Deadline(_), _) => match judge::oops(&words) {
                // What is silent since is so because of it: a task of the kernel died with what it held.
                Some(oops) => {
                    (Verdict::Failed, format!("the kernel killed a task: `{oops}`; then {error}{when}"))
                }
                None => (Verdict::Hung, format!("{error}{when}")),
            },
            (LinkError::Closed, Some(status)) if status.success() && greeted => {
                if end.console.was_reset() {
                    (Verdict::Failed, "the machine was reset from inside".to_owned())
                } else {
                    (Verdict::Panicked, "the machine reset without a word (a triple fault?)".to_owned())
                }
            }
            (LinkError::Closed, Some(status)) => {
                let said = if end.stderr.trim().is_empty() {
                    said_by_guest(&end.console.text)
                } else {
                    end.stderr.trim()
                };
                (Verdict::NotAble, format!("QEMU ended{when} ({status}): {said}"))
            }
            _ => (Verdict::NotAble, format!("{error}{when}")),
        }
    };
    Death { verdict, reason, starved: matches!(error, LinkError::Starved { .. }), end }
}

fn said_by_guest(console: &str) -> &str {
    let ours = console.lines().rev().find_map(|line| line.find("klp-guest: ").map(|at| &line[at..]));
    ours.unwrap_or("it said nothing; the console's end may tell")
}

const INITRAMFS: &str = "initramfs";
const CONSOLE: &str = "console";

/// Files that QEMU opens when it starts.
struct Scratch {
    dir: Option<TempDir>,
    /// Opened before QEMU writes to it, so that it can be read after the directory is gone.
    console: File,
}

impl Scratch {
    fn new(root: &Initramfs) -> Result<Self, Error> {
        let temp = std::env::temp_dir();
        let dir = tempfile::Builder::new()
            .prefix("ferrograft-vm-")
            .tempdir()
            .map_err(Error::io("make a directory in", &temp))?;
        let initramfs = dir.path().join(INITRAMFS);
        let archive = root.archive().map_err(Error::io("make", &initramfs))?;
        fs::write(&initramfs, archive).map_err(Error::io("write", &initramfs))?;
        let console = dir.path().join(CONSOLE);
        let options = || File::options().create(true).truncate(true).read(true).write(true).open(&console);
        let file = options().map_err(Error::io("make", &console))?;
        Ok(Self { dir: Some(dir), console: file })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.as_ref().map(|dir| dir.path().join(name)).unwrap_or_default()
    }

    fn console_length(&self) -> u64 {
        // Where it cannot be told, all of the console could have to do with the machine's end.
        self.console.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Removes the files by name once QEMU holds them open, so that a run that is killed leaves none behind.
    fn tidy(&mut self) {
        self.dir = None;
    }
}

/// QEMU, running.
struct Qemu {
    running: Running,
    scratch: Scratch,
    started: Instant,
    clock: Clock,
    /// Length of the console when the last request was sent, and when the last one was sent that was answered.
    asked_at: u64,
    survived: u64,
    user_lines: console::UserLines,
    stderr: Arc<Mutex<Vec<u8>>>,
    drains: Vec<JoinHandle<()>>,
}

impl Qemu {
    fn start(machine: &Machine<'_>, scratch: Scratch, wiring: &Wiring<'_>) -> Result<Self, Error> {
        let mut running = machine.cmd(&scratch.path(INITRAMFS), wiring)?.spawn()?;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let mut drains = Vec::new();
        drains.extend(running.stdout.take().map(|pipe| drain(pipe, Arc::clone(&stderr))));
        drains.extend(running.stderr.take().map(|pipe| drain(pipe, Arc::clone(&stderr))));
        let clock = Clock::of(running.pid());
        Ok(Self {
            running,
            scratch,
            started: Instant::now(),
            clock,
            asked_at: 0,
            survived: 0,
            user_lines: console::UserLines::new(),
            stderr,
            drains,
        })
    }

    fn accept(&mut self, listener: &UnixListener, countdown: &Countdown) -> Result<UnixStream, LinkError> {
        listener.set_nonblocking(true)?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if self.ended() {
                return Err(LinkError::Closed);
            }
            self.clock.left(countdown)?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ended(&mut self) -> bool {
        !matches!(self.running.try_wait(), Ok(None))
    }

    fn await_end(&mut self, within: Duration) -> Result<(), LinkError> {
        let countdown = self.clock.countdown(within);
        while !self.ended() {
            self.clock.left(&countdown)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Its end; where the connection closed, QEMU is about to end by itself, with a status worth knowing.
    fn end_after(mut self, error: &LinkError) -> End {
        if matches!(error, LinkError::Closed) {
            // Whatever comes of it, the next step ends it.
            let _ = self.await_end(Duration::from_secs(5));
        }
        self.end()
    }

    /// Ends it where it still runs.
    fn end(mut self) -> End {
        let status = match self.running.try_wait() {
            Ok(Some((status, _))) => Some(status),
            _ => None,
        };
        self.running.kill();
        let cpu = self.running.wait().map(|(_, cpu)| cpu).unwrap_or_default();
        let wall = self.started.elapsed();
        for drain in self.drains {
            // A reader that panicked leaves its text incomplete, no more.
            let _ = drain.join();
        }
        let stderr = self.stderr.lock().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (text, survived) = console::read_parted(&self.scratch.console, self.survived);
        let console = Console { text, survived, user: self.user_lines };
        End { status, cpu, wall, console, stderr: stderr.unwrap_or_default() }
    }
}

fn drain(mut pipe: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    /// QEMU says little; a device that complains without end must not fill the memory.
    const LIMIT: usize = 1 << 16;
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if let Ok(mut bytes) = into.lock() {
                let room = LIMIT.saturating_sub(bytes.len()).min(length);
                bytes.extend_from_slice(&buffer[..room]);
            }
        }
    })
}

/// User and system time of a process and its threads (proc(5), fields 14 and 15).
fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / per_second)
}

/// Boots with a script as `init` and waits until QEMU has ended by itself.
pub(crate) fn run_bare(machine: &Machine<'_>, root: &Initramfs, within: Duration) -> Result<End, NoVm> {
    let scratch = Scratch::new(root)?;
    let console = scratch.path(CONSOLE);
    let mut qemu = Qemu::start(machine, scratch, &Wiring::Console(&console))?;
    match qemu.await_end(within) {
        Ok(()) => {
            let end = qemu.end();
            if end.status.is_some_and(|status| status.success()) && end.console.was_reset() {
                Ok(end)
            } else {
                Err(NoVm::Died(Box::new(judge_death(end, &LinkError::Closed, false))))
            }
        }
        Err(error) => Err(died(qemu, &error)),
    }
}

/// Boots with this process's terminal as the guest's console, until QEMU ends.
pub(crate) fn run_terminal(machine: &Machine<'_>, root: &Initramfs) -> Result<(), Error> {
    let scratch = Scratch::new(root)?;
    Ok(machine.cmd(&scratch.path(INITRAMFS), &Wiring::Terminal)?.run_inherited()?)
}
