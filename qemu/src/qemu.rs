// SPDX-License-Identifier: GPL-2.0-or-later
//! The QEMU process.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use klp_base::process::Running;
use tempfile::TempDir;

use crate::clock::{Clock, Countdown};
use crate::console::{self, Console};
use crate::error::Error;
use crate::exit::End;
use crate::initramfs::Initramfs;
use crate::link::LinkError;
use crate::machine::{ConsoleMode, Machine};

const INITRAMFS: &str = "initramfs";
pub(crate) const CONSOLE: &str = "console";

/// Files that QEMU opens at its start.
pub(crate) struct Scratch {
    dir: Option<TempDir>,
    /// Opened before QEMU writes to it, so that it stays readable after the directory is removed.
    pub(crate) console: File,
}

impl Scratch {
    /// Creates the files for a boot of `root`, or for a restored guest with the earlier text `console`.
    pub(crate) fn new(root: Option<&Initramfs>, console: &[u8]) -> Result<Self, Error> {
        let temp = std::env::temp_dir();
        let dir = tempfile::Builder::new()
            .prefix("ferrograft-vm-")
            .tempdir()
            .map_err(Error::io("make a directory in", &temp))?;
        if let Some(root) = root {
            let initramfs = dir.path().join(INITRAMFS);
            let archive = root.archive().map_err(Error::io("make", &initramfs))?;
            fs::write(&initramfs, archive).map_err(Error::io("write", &initramfs))?;
        }
        let path = dir.path().join(CONSOLE);
        fs::write(&path, console).map_err(Error::io("write", &path))?;
        let console = File::open(&path).map_err(Error::io("open", &path))?;
        Ok(Self { dir: Some(dir), console })
    }

    /// Path of the initramfs, if there is one.
    pub(crate) fn initramfs(&self) -> Option<PathBuf> {
        Some(self.path(INITRAMFS)).filter(|path| path.exists())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.as_ref().map(|dir| dir.path().join(name)).unwrap_or_default()
    }

    pub(crate) fn console_length(&self) -> u64 {
        // An unknown length counts as 0: the whole console may then concern the end of the machine.
        self.console.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Removes the directory once QEMU has opened the files, so that a killed run leaves no files.
    pub(crate) fn tidy(&mut self) {
        self.dir = None;
    }
}

/// Running QEMU process.
pub(crate) struct Qemu {
    pub(crate) running: Running,
    pub(crate) scratch: Scratch,
    pub(crate) started: Instant,
    pub(crate) clock: Clock,
    /// Length of the console at the last request, and at the last request with an answer.
    pub(crate) asked_at: u64,
    pub(crate) survived: u64,
    pub(crate) user_lines: console::UserLines,
    stderr: Arc<Mutex<Vec<u8>>>,
    drains: Vec<JoinHandle<()>>,
}

impl Qemu {
    pub(crate) fn start(
        machine: &Machine<'_>,
        scratch: Scratch,
        mode: &ConsoleMode<'_>,
    ) -> Result<Self, Error> {
        let mut running = machine.cmd(scratch.initramfs().as_deref(), mode)?.spawn()?;
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

    pub(crate) fn accept(
        &mut self,
        listener: &UnixListener,
        countdown: &Countdown,
    ) -> Result<UnixStream, LinkError> {
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

    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.running.try_wait(), Ok(None))
    }

    pub(crate) fn await_end(&mut self, within: Duration) -> Result<(), LinkError> {
        let countdown = self.clock.countdown(within);
        while !self.ended() {
            self.clock.left(&countdown)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends QEMU. After a closed connection, QEMU first gets time to exit by itself, with a useful status.
    pub(crate) fn end_after(mut self, error: &LinkError) -> End {
        if matches!(error, LinkError::Closed) {
            // Without an exit in time, the next step kills QEMU.
            let _ = self.await_end(Duration::from_secs(5));
        }
        self.end()
    }

    /// Kills QEMU if it still runs.
    pub(crate) fn end(mut self) -> End {
        let status = match self.running.try_wait() {
            Ok(Some((status, _))) => Some(status),
            _ => None,
        };
        self.running.kill();
        let cpu = self.running.wait().map(|(_, cpu)| cpu).unwrap_or_default();
        let wall = self.started.elapsed();
        for drain in self.drains {
            // A panic of the reader only leaves its text incomplete.
            let _ = drain.join();
        }
        let stderr = self.stderr.lock().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (text, survived) = console::read_parted(&self.scratch.console, self.survived);
        let console = Console { text, survived, user: self.user_lines };
        End { status, cpu, wall, console, stderr: stderr.unwrap_or_default() }
    }
}

fn drain(mut pipe: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    /// QEMU prints little; a device that complains without end must not fill the memory.
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

/// User and system time of a process with its threads (proc(5), fields 14 and 15).
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / per_second)
}
