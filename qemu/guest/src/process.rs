// SPDX-License-Identifier: GPL-2.0-or-later
//! Programs that the host asks for, and the reaping that PID 1 owes all others.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use klp_guest::{Exit, Reply, Run, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process_group, pidfd_open,
    test_kill_process_group, wait,
};

use crate::port::Port;

const PATH: &str = "/bin:/sbin:/usr/bin:/usr/sbin";
/// Orphans are reaped at least this often while a program runs.
const TICK: Duration = Duration::from_millis(200);
/// How long a killed process group may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

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

/// Runs a program on the console to its end and asks for exit status 0.
pub(crate) fn foreground(argv: &[&str]) -> io::Result<()> {
    let status = command(argv)?.env("TERM", "linux").status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}

/// Reaps everything that ended; how `wanted` ended, when it was among them.
fn reap_for(wanted: Option<Pid>) -> Option<WaitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if Some(pid) == wanted {
            found = Some(status);
        }
    }
    found
}

/// Reaps every orphan that ended.
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

    /// Sends on what is there. The outer error is the port's.
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

/// Runs a program, sends its output on as it comes, and ends what it leaves behind in its process group. The outer
/// error is the port's, the inner one the program's.
pub(crate) fn run(port: &mut Port, run: &Run) -> io::Result<io::Result<Exit>> {
    let started = Instant::now();
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
    let deadline = started + Duration::from_millis(run.timeout_ms);
    let mut ended = None;
    let mut timed_out = false;
    while ended.is_none() && !timed_out {
        await_something(port, &pidfd, &pipes, deadline)?;
        for pipe in &mut pipes {
            pipe.forward(port)?;
        }
        ended = reap_for(Some(pid));
        timed_out = ended.is_none() && Instant::now() >= deadline;
    }
    if timed_out {
        port.send(&Reply::Output { stream: Stream::Stdout }, who_runs().as_bytes())?;
    }
    let killed = end_group(pid);
    for pipe in &mut pipes {
        pipe.forward(port)?;
    }
    let status = ended.or(killed);
    Ok(Ok(Exit {
        code: status.and_then(|status| status.exit_status()),
        signal: status.and_then(|status| status.terminating_signal()),
        timed_out,
    }))
}

fn await_something(port: &Port, pidfd: &OwnedFd, pipes: &[Pipe], deadline: Instant) -> io::Result<()> {
    let host = port.fd();
    let mut fds = vec![PollFd::new(&host, PollFlags::empty()), PollFd::new(pidfd, PollFlags::IN)];
    fds.extend(
        pipes
            .iter()
            .filter_map(|pipe| pipe.file.as_ref())
            .map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)),
    );
    let left = deadline.saturating_duration_since(Instant::now()).min(TICK);
    let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if fds.first().is_some_and(|fd| fd.revents().contains(PollFlags::HUP)) {
        return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
    }
    Ok(())
}

/// Kills what is left of a process group and waits until it is gone; how its leader ended, when it still ran.
fn end_group(group: Pid) -> Option<WaitStatus> {
    let started = Instant::now();
    let mut leader = None;
    // ESRCH says that nothing is left. A task that cannot be killed is the host's to report: the case left it.
    while kill_process_group(group, Signal::KILL).is_ok() && started.elapsed() < KILL_PATIENCE {
        leader = leader.or(reap_for(Some(group)));
        if test_kill_process_group(group).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    leader.or_else(|| reap_for(Some(group)))
}

/// Every process that is no kernel thread, with what it waits for, for people who wonder why the time was over.
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
