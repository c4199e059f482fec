// SPDX-License-Identifier: GPL-2.0-or-later
//! Running machines, and the connection to their guest program.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use klp_base::events::Verdict;
use klp_guest::wire::checksum;
use klp_guest::{Hello, PROTOCOL, Reply, Request};

use crate::clock::Countdown;
use crate::console;
use crate::deadline::Deadlines;
use crate::error::Error;
use crate::exit::{End, GuestExit, diagnose};
use crate::guest::Kernel;
use crate::initramfs::Initramfs;
use crate::link::{Link, LinkError};
use crate::machine::{ConsoleMode, Machine, Memory};
use crate::qemu::{CONSOLE, Qemu, Scratch, cpu_of};
use crate::qmp::Monitor;
use crate::snapshot::Snapshot;

/// Bytes of file content per request.
const PIECE: usize = 1 << 18;

/// Machine whose guest program has sent Hello.
pub(crate) struct Vm {
    qemu: Qemu,
    link: Link,
    monitor: Option<Monitor>,
    deadlines: Deadlines,
    /// Hello of the guest program.
    pub(crate) hello: Hello,
    /// Time from QEMU's start to Hello.
    pub(crate) boot: Duration,
}

/// Machine that did not come up.
pub(crate) enum BootError {
    /// The host could not start the machine.
    Host(Error),
    /// The machine started, then ended or stayed silent.
    Exited(Box<GuestExit>),
}

impl<E: Into<Error>> From<E> for BootError {
    fn from(error: E) -> Self {
        Self::Host(error.into())
    }
}

impl BootError {
    /// Reason in one line.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Host(error) => klp_base::chain(error),
            Self::Exited(exit) => exit.reason.clone(),
        }
    }
}

/// Machine whose guest program has connected.
struct Connected {
    qemu: Qemu,
    link: Link,
    monitor: Option<Monitor>,
    countdown: Countdown,
}

impl Connected {
    fn start(machine: &Machine<'_>, scratch: Scratch, within: Duration) -> Result<Self, BootError> {
        let bind = |path: &Path| UnixListener::bind(path).map_err(Error::io("listen on", path));
        let (socket, monitor) = (scratch.path("port"), scratch.path("monitor"));
        let port_listener = bind(&socket)?;
        let monitor_listener = match machine.memory {
            Memory::Anonymous => None,
            Memory::Saved(_) | Memory::Restored(_) => Some(bind(&monitor)?),
        };
        let console = scratch.path(CONSOLE);
        let mode = ConsoleMode::Guest {
            console: &console,
            socket: &socket,
            monitor: monitor_listener.is_some().then_some(monitor.as_path()),
        };
        let mut qemu = Qemu::start(machine, scratch, &mode)?;
        qemu.asked_at = qemu.scratch.console_length();
        let countdown = qemu.clock.countdown(within);
        let connect = || {
            let link = Link::new(qemu.accept(&port_listener, &countdown)?)?;
            let stream = monitor_listener.map(|listener| qemu.accept(&listener, &countdown)).transpose()?;
            let monitor =
                stream.map(|stream| Monitor::new(stream, || qemu.clock.left(&countdown))).transpose()?;
            Ok((link, monitor))
        };
        match connect() {
            Ok((link, monitor)) => Ok(Self { qemu, link, monitor, countdown }),
            Err(error) => Err(lost(qemu, &error)),
        }
    }

    /// Receives the next reply, which must be Hello.
    fn greeting(&mut self, kernel: &Kernel) -> Result<Hello, LinkError> {
        let Self { qemu, link, countdown, .. } = self;
        let (reply, _) = link.receive(|| qemu.clock.left(countdown))?;
        greeting(reply, kernel)
    }

    /// Loads the state of a snapshot and requests a Hello, which must be that of the saved guest.
    fn resume(&mut self, kernel: &Kernel, snapshot: &Snapshot) -> Result<Hello, LinkError> {
        let Self { qemu, link, monitor, countdown } = self;
        let monitor = monitor.as_mut().ok_or(LinkError::Closed)?;
        monitor.restore(&snapshot.state(), || qemu.clock.left(countdown))?;
        link.send(&Request::Greet, b"", || qemu.clock.left(countdown))?;
        let hello = self.greeting(kernel)?;
        if hello.boot_id == snapshot.hello.boot_id {
            Ok(hello)
        } else {
            let (found, saved) = (&hello.boot_id, &snapshot.hello.boot_id);
            Err(LinkError::Unexpected(format!("as boot {found}, not as the saved boot {saved}")))
        }
    }

    fn finish(
        mut self,
        greeted: Result<Hello, LinkError>,
        deadlines: Deadlines,
        started: Instant,
    ) -> Result<Vm, BootError> {
        match greeted {
            Ok(hello) => {
                self.qemu.scratch.tidy();
                self.qemu.survived = self.qemu.asked_at;
                let Self { qemu, link, monitor, .. } = self;
                Ok(Vm { qemu, link, monitor, deadlines, hello, boot: started.elapsed() })
            }
            Err(error) => Err(lost(self.qemu, &error)),
        }
    }
}

impl Vm {
    /// Boots and waits for the guest's Hello, at most `within`.
    pub(crate) fn boot(
        machine: &Machine<'_>,
        root: &Initramfs,
        deadlines: Deadlines,
        within: Duration,
    ) -> Result<Self, BootError> {
        let started = Instant::now();
        let mut connected = Connected::start(machine, Scratch::new(Some(root), b"")?, within)?;
        let greeted = connected.greeting(machine.kernel);
        connected.finish(greeted, deadlines, started)
    }

    /// Restores a guest from a snapshot of `machine`.
    pub(crate) fn restore(
        machine: &Machine<'_>,
        snapshot: &Snapshot,
        deadlines: Deadlines,
    ) -> Result<Self, BootError> {
        let started = Instant::now();
        let (memory, console) = (snapshot.memory(), snapshot.console());
        let console = fs::read(&console).map_err(Error::io("read", &console))?;
        let machine = Machine { memory: Memory::Restored(&memory), ..*machine };
        let mut connected = Connected::start(&machine, Scratch::new(None, &console)?, deadlines.boot)?;
        let greeted = connected.resume(machine.kernel, snapshot);
        connected.finish(greeted, deadlines, started)
    }

    /// Saves a guest with [`Memory::Saved`], except its memory, to `file`, and ends the machine.
    pub(crate) fn save(mut self, file: &Path) -> Result<End, BootError> {
        let countdown = self.countdown(self.deadlines.shutdown);
        let Self { qemu, monitor, .. } = &mut self;
        let saved = monitor.as_mut().ok_or(LinkError::Closed).and_then(|monitor| {
            monitor.save(file, || qemu.clock.left(&countdown))?;
            monitor.quit(|| qemu.clock.left(&countdown))
        });
        match saved.and_then(|()| self.qemu.await_end(self.deadlines.shutdown)) {
            Ok(()) => Ok(self.qemu.end()),
            Err(error) => Err(lost(self.qemu, &error)),
        }
    }

    /// Writes a file in the guest, in pieces with checksums.
    pub(crate) fn put(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), LinkError> {
        let mut pieces: Vec<&[u8]> = content.chunks(PIECE).collect();
        if pieces.is_empty() {
            pieces.push(b"");
        }
        for (number, piece) in pieces.into_iter().enumerate() {
            let request =
                Request::Put { path: path.to_owned(), mode, append: number > 0, checksum: checksum(piece) };
            self.send_with(&request, piece)?;
            match self.answer()? {
                (Reply::Done, _) => {}
                (other, _) => return Err(LinkError::Unexpected(format!("{other:?} when given {path}"))),
            }
        }
        Ok(())
    }

    /// Wait that begins now, in time that the host gives the guest.
    pub(crate) fn countdown(&mut self, limit: Duration) -> Countdown {
        self.qemu.clock.countdown(limit)
    }

    pub(crate) fn send(&mut self, request: &Request) -> Result<(), LinkError> {
        self.send_with(request, b"")
    }

    fn send_with(&mut self, request: &Request, body: &[u8]) -> Result<(), LinkError> {
        self.qemu.asked_at = self.qemu.scratch.console_length();
        let countdown = self.countdown(self.deadlines.shutdown);
        let clock = &mut self.qemu.clock;
        self.link.send(request, body, || clock.left(&countdown))
    }

    /// Receives the next reply within the countdown.
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

    /// Receives the reply to a short request.
    pub(crate) fn answer(&mut self) -> Result<(Reply, Vec<u8>), LinkError> {
        let countdown = self.countdown(self.deadlines.shutdown);
        self.receive(&countdown)
    }

    /// Process id of QEMU.
    pub(crate) fn pid(&self) -> u32 {
        self.qemu.running.pid()
    }

    /// CPU time of QEMU so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.qemu.running.pid())
    }

    /// Console text so far.
    pub(crate) fn console(&self) -> String {
        console::read(&self.qemu.scratch.console)
    }

    /// Requests a shutdown of the guest and waits for the end of QEMU.
    pub(crate) fn power_off(mut self) -> Result<End, Box<GuestExit>> {
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
                    Some(line) => Err(Box::new(GuestExit {
                        verdict: Verdict::Panicked,
                        reason: line,
                        starved: false,
                        end,
                    })),
                    None => Ok(end),
                }
            }
            Err(error) => Err(Box::new(diagnose(self.qemu.end_after(&error), &error, true))),
        }
    }

    /// Kills the machine.
    pub(crate) fn kill(self) -> End {
        self.qemu.end()
    }

    /// Ends the machine after a missing answer and diagnoses the cause.
    pub(crate) fn diagnose(self, error: &LinkError) -> GuestExit {
        diagnose(self.qemu.end_after(error), error, true)
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

fn lost(qemu: Qemu, error: &LinkError) -> BootError {
    BootError::Exited(Box::new(diagnose(qemu.end_after(error), error, false)))
}

/// Boots with a script as `init` and waits until QEMU ends by itself.
pub(crate) fn run_bare(machine: &Machine<'_>, root: &Initramfs, within: Duration) -> Result<End, BootError> {
    let scratch = Scratch::new(Some(root), b"")?;
    let console = scratch.path(CONSOLE);
    let mut qemu = Qemu::start(machine, scratch, &ConsoleMode::Console(&console))?;
    match qemu.await_end(within) {
        Ok(()) => {
            let end = qemu.end();
            if end.status.is_some_and(|status| status.success()) && end.console.was_reset() {
                Ok(end)
            } else {
                Err(BootError::Exited(Box::new(diagnose(end, &LinkError::Closed, false))))
            }
        }
        Err(error) => Err(lost(qemu, &error)),
    }
}

/// Boots with this process's terminal as the guest's console, until QEMU ends.
pub(crate) fn run_terminal(machine: &Machine<'_>, root: &Initramfs) -> Result<(), Error> {
    let scratch = Scratch::new(Some(root), b"")?;
    Ok(machine.cmd(scratch.initramfs().as_deref(), &ConsoleMode::Terminal)?.run_inherited()?)
}
