// SPDX-License-Identifier: GPL-2.0-or-later
//! Programs that the host starts, and the reaping of orphans by PID 1.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use klp_guest::{Exit, Reply, Request, Run, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process_group, pidfd_open,
    test_kill_process_group, wait,
};

use crate::port::Port;
use crate::state::UserLines;

const PATH: &str = "/bin:/sbin:/usr/bin:/usr/sbin";
/// Maximum time between two reaps of orphans while a program runs.
const TICK: Duration = Duration::from_millis(200);
/// Time limit for the end of a killed process group; shorter than the host's grace period after a stop.
const KILL_PATIENCE: Duration = Duration::from_secs(8);

fn command(argv: &[impl AsRef<str>]) -> io::Result<Command> {
    let (program, args) = argv.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    #[allow(
        clippy::disallowed_methods,
        reason = "the wrapper of klp-base is for the host; this is the guest's"
    )]
    let mut command = Command::new(program.as_ref());
    command.args(args.iter().map(AsRef::as_ref)).env_clear().env("PATH", PATH).env("HOME", "/");
    Ok(command)
}

/// Runs a program on the console to its end. An exit status other than 0 is an error.
pub(crate) fn foreground(argv: &[&str]) -> io::Result<()> {
    let status = command(argv)?.env("TERM", "linux").status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}

/// Reaps all processes that ended. Returns the status of `wanted` if it is one of them.
fn reap_for(wanted: Option<Pid>) -> Option<WaitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if Some(pid) == wanted {
            found = Some(status);
        }
    }
    found
}

/// Reaps all orphans that ended.
pub(crate) fn reap() {
    reap_for(None);
}

struct Pipe {
    file: Option<File>,
    stream: Stream,
}

impl Pipe {
    fn new(end: Option<impl Into<OwnedFd>>, stream: Stream) -> io::Result<Self> {
        let fd: OwnedFd = end.ok_or_else(|| io::Error::other("no pipe"))?.into();
        fcntl_setfl(&fd, OFlags::NONBLOCK)?;
        Ok(Self { file: Some(File::from(fd)), stream })
    }

    /// Forwards the available output. Errors are those of the port.
    fn forward(&mut self, port: &mut Port) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 14];
        while let Some(file) = &mut self.file {
            match file.read(&mut buffer) {
                Ok(0) => self.file = None,
                Ok(length) => {
                    let body = buffer.get(..length).unwrap_or_default();
                    port.send(&Reply::Output { stream: self.stream }, body)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.file = None,
            }
        }
        Ok(())
    }
}

/// Runs a program, forwards its output as it arrives, and kills the rest of its process group. The outer error is the
/// port's, the inner one the program's.
pub(crate) fn run(port: &mut Port, run: &Run) -> io::Result<io::Result<Exit>> {
    // Without it, no line can be attributed to a program, and all lines count as the kernel's.
    let mut lines = UserLines::open().ok();
    let spawned = command(&run.argv).and_then(|mut command| {
        command.envs(run.env.iter().map(|(name, value)| (name, value))).current_dir(&run.cwd);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let pipes = [
            Pipe::new(child.stdout.take(), Stream::Stdout)?,
            Pipe::new(child.stderr.take(), Stream::Stderr)?,
        ];
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok((pid, pidfd, pipes))
    });
    let (pid, pidfd, mut pipes) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => return Ok(Err(error)),
    };
    let mut ended = None;
    let mut stopped = false;
    while ended.is_none() && !stopped {
        let asked = await_something(port, &pidfd, &pipes, lines.as_ref())?;
        forward_lines(port, &mut lines)?;
        for pipe in &mut pipes {
            pipe.forward(port)?;
        }
        ended = reap_for(Some(pid));
        stopped = asked && must_stop(port)? && ended.is_none();
    }
    if stopped {
        port.send(&Reply::Output { stream: Stream::Stdout }, who_runs().as_bytes())?;
    }
    let killed = end_group(pid);
    forward_lines(port, &mut lines)?;
    for pipe in &mut pipes {
        pipe.forward(port)?;
    }
    let status = ended.or(killed);
    Ok(Ok(Exit {
        code: status.and_then(|status| status.exit_status()),
        signal: status.and_then(|status| status.terminating_signal()),
        stopped,
    }))
}

fn forward_lines(port: &mut Port, lines: &mut Option<UserLines>) -> io::Result<()> {
    for line in lines.iter_mut().flat_map(UserLines::take) {
        port.send(&Reply::UserLine, line.as_bytes())?;
    }
    Ok(())
}

/// Receives a request: true for [`Request::Stop`], an error for any other.
fn must_stop(port: &mut Port) -> io::Result<bool> {
    match port.receive()? {
        Some((Request::Stop, _)) => Ok(true),
        Some((other, _)) => {
            Err(io::Error::other(format!("the host asks for {other:?} while a program runs")))
        }
        None => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
    }
}

/// Waits for output, the end of the program, a line in the kernel log, or the host. Returns true if the host sent a
/// request.
fn await_something(
    port: &Port,
    pidfd: &OwnedFd,
    pipes: &[Pipe],
    lines: Option<&UserLines>,
) -> io::Result<bool> {
    let host = port.fd();
    let mut fds = vec![PollFd::new(&host, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
    fds.extend(lines.map(|lines| PollFd::from_borrowed_fd(lines.fd(), PollFlags::IN)));
    fds.extend(
        pipes
            .iter()
            .filter_map(|pipe| pipe.file.as_ref())
            .map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)),
    );
    let timeout = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let host = fds.first().map(PollFd::revents).unwrap_or(PollFlags::empty());
    if host.contains(PollFlags::HUP) {
        return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
    }
    Ok(host.contains(PollFlags::IN))
}

/// Kills the rest of a process group and waits for its end. Returns the status of the leader if it still ran.
fn end_group(group: Pid) -> Option<WaitStatus> {
    let started = Instant::now();
    let mut leader = None;
    // ESRCH means that no process is left. A task that cannot be killed is left to the host, which reports it with the
    // case.
    while kill_process_group(group, Signal::KILL).is_ok() && started.elapsed() < KILL_PATIENCE {
        leader = leader.or(reap_for(Some(group)));
        if test_kill_process_group(group).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    leader.or_else(|| reap_for(Some(group)))
}

/// List of all processes except kernel threads, with their kernel stacks, to explain a timeout.
fn who_runs() -> String {
    let mut text = String::from("# the time is over; what still runs:\n");
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let words = read("cmdline").replace('\0', " ");
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) || words.is_empty() || pid == "1" {
            continue;
        }
        let stat = read("stat");
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
        text.push_str(&format!("#   {pid} {state} {words}\n"));
        text.extend(read("stack").lines().map(|line| format!("#       {line}\n")));
    }
    text
}
