// SPDX-License-Identifier: GPL-2.0-or-later
//! Machines that run, and the connection to their guest program.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use klp_base::events::Verdict;
use klp_guest::{Hello, PROTOCOL, Reply, Request};

use crate::clock::Countdown;
use crate::console;
use crate::deadline::Deadlines;
use crate::error::Error;
use crate::exit::{End, GuestExit, diagnose};
use crate::guest::Kernel;
use crate::initramfs::Initramfs;
use crate::link::{Link, LinkError};
use crate::machine::{ConsoleMode, Machine};
use crate::qemu::{CONSOLE, INITRAMFS, Qemu, Scratch, cpu_of};

/// A machine whose guest program has greeted.
pub(crate) struct Vm {
    qemu: Qemu,
    link: Link,
    deadlines: Deadlines,
    /// Time from QEMU's start to the Hello.
    pub(crate) boot: Duration,
}

/// A machine that did not come up.
pub(crate) enum BootError {
    /// The host could not start it.
    Host(Error),
    /// It started and ended, or stayed silent.
    Exited(Box<GuestExit>),
}

impl<E: Into<Error>> From<E> for BootError {
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
    ) -> Result<Self, BootError> {
        let started = Instant::now();
        let scratch = Scratch::new(root)?;
        let socket = scratch.path("port");
        let listener = UnixListener::bind(&socket).map_err(Error::io("listen on", &socket))?;
        let console = scratch.path(CONSOLE);
        let mode = ConsoleMode::Guest { console: &console, socket: &socket };
        let mut qemu = Qemu::start(machine, scratch, &mode)?;
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

    /// Ends it at once.
    pub(crate) fn kill(self) -> End {
        self.qemu.end()
    }

    /// Ends it after the guest gave no answer, and says what happened.
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

fn died(qemu: Qemu, error: &LinkError) -> BootError {
    BootError::Exited(Box::new(diagnose(qemu.end_after(error), error, false)))
}

/// Boots with a script as `init` and waits until QEMU has ended by itself.
pub(crate) fn run_bare(machine: &Machine<'_>, root: &Initramfs, within: Duration) -> Result<End, BootError> {
    let scratch = Scratch::new(root)?;
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
        Err(error) => Err(died(qemu, &error)),
    }
}

/// Boots with this process's terminal as the guest's console, until QEMU ends.
pub(crate) fn run_terminal(machine: &Machine<'_>, root: &Initramfs) -> Result<(), Error> {
    let scratch = Scratch::new(root)?;
    Ok(machine.cmd(&scratch.path(INITRAMFS), &ConsoleMode::Terminal)?.run_inherited()?)
}
