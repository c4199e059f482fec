// SPDX-License-Identifier: GPL-2.0-or-later
//! Child processes: arguments, working directory, environment, duration and CPU time. An error contains the command line,
//! the exit status, the last lines of stderr and the path of the log.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::sys;

/// Maximum number of stderr lines in an error.
const TAIL_LINES: usize = 20;

/// Error of a child process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("could not start `{command}` in {}: {source}{hint}", cwd.display())]
    Start {
        /// Command line, quoted for a shell.
        command: String,
        /// Working directory.
        cwd: PathBuf,
        /// Error of the system.
        source: io::Error,
        /// Remedy, with a leading line break; or empty.
        hint: String,
    },
    /// The exit status is not 0.
    #[error("`{command}` {} in {}{}{}", describe(status), cwd.display(), quote_tail(tail), quote_log(log.as_deref()))]
    Failed {
        /// Command line, quoted for a shell.
        command: String,
        /// Working directory.
        cwd: PathBuf,
        /// Exit status.
        status: ExitStatus,
        /// Last lines of stderr, or of stdout if stderr is empty.
        tail: String,
        /// File with the complete output.
        log: Option<PathBuf>,
    },
    /// An operation on the log or a pipe failed.
    #[error("could not {action} of `{command}`: {source}")]
    Io {
        /// Command line, quoted for a shell.
        command: String,
        /// The operation, as a verb.
        action: &'static str,
        /// Error of the system.
        source: io::Error,
    },
}

fn describe(status: &ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended without a status".to_owned(),
    }
}

fn quote_tail(tail: &str) -> String {
    if tail.trim().is_empty() {
        return "; it printed nothing".to_owned();
    }
    let lines: Vec<&str> = tail.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("\n    | {line}")).collect()
}

fn quote_log(log: Option<&Path>) -> String {
    log.map_or_else(String::new, |path| format!("\n    log: {}", path.display()))
}

/// Result of a finished child process.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status.
    pub status: ExitStatus,
    /// Complete standard output.
    pub stdout: Vec<u8>,
    /// Complete standard error.
    pub stderr: Vec<u8>,
    /// Elapsed wall time.
    pub wall: Duration,
    /// User and system CPU time, including reaped children of the child.
    pub cpu: Duration,
    /// Peak memory of the child or of one of its reaped children, in KiB.
    pub peak_kib: u64,
}

impl Output {
    /// Standard output as text; bytes that are not UTF-8 are replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text; bytes that are not UTF-8 are replaced.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Command to run.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    cwd: Option<PathBuf>,
    env: BTreeMap<OsString, Option<OsString>>,
    clear_env: bool,
    stdin: Vec<u8>,
    log: Option<PathBuf>,
    hint: Option<String>,
}

impl Cmd {
    /// Command that runs `program`, which is searched in PATH if it contains no slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            cwd: None,
            env: BTreeMap::new(),
            clear_env: false,
            stdin: Vec::new(),
            log: None,
            hint: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Clears the environment except PATH and the variables of [`Cmd::env`], so the output does not depend on the user.
    #[must_use]
    pub fn clean_env(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// Sets the bytes of standard input; the default is empty.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Appends the command line and the output to a log file.
    #[must_use]
    pub fn log(mut self, path: impl AsRef<Path>) -> Self {
        self.log = Some(path.as_ref().to_owned());
        self
    }

    /// Remedy for a missing program, for the text of the error.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Command line, quoted for a shell.
    pub fn typed(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for (name, value) in &self.env {
            if let Some(value) = value {
                words.push(format!("{}={}", name.to_string_lossy(), shell_quote(value)));
            }
        }
        words.push(shell_quote(&self.program));
        words.extend(self.args.iter().map(|arg| shell_quote(arg)));
        words.join(" ")
    }

    fn shown_cwd(&self) -> PathBuf {
        self.cwd.clone().unwrap_or_else(|| PathBuf::from("."))
    }

    fn io_error(&self, action: &'static str) -> impl Fn(io::Error) -> Error + '_ {
        move |source| Error::Io { command: self.typed(), action, source }
    }

    fn command(&self) -> Command {
        #[allow(clippy::disallowed_methods, reason = "this is the one wrapper")]
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        if self.clear_env {
            command.env_clear();
            if let Some(path) = std::env::var_os("PATH") {
                command.env("PATH", path);
            }
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn start_error(&self, source: io::Error) -> Error {
        let hint = match (&self.hint, source.kind()) {
            (Some(hint), io::ErrorKind::NotFound) => format!("\n    {hint}"),
            _ => String::new(),
        };
        Error::Start { command: self.typed(), cwd: self.shown_cwd(), source, hint }
    }

    /// Runs the command to its end and accepts any exit status.
    ///
    /// # Errors
    /// The command cannot be started, or a pipe or the log failed.
    pub fn output(&self) -> Result<Output, Error> {
        self.output_by_line(&mut |_| {})
    }

    fn output_by_line(&self, on_line: &mut dyn FnMut(&[u8])) -> Result<Output, Error> {
        let mut running = self.spawn()?;
        let stdin = running.stdin.take();
        let bytes = self.stdin.clone();
        let writer = std::thread::spawn(move || {
            if let Some(mut pipe) = stdin {
                // A child may exit before it reads all input; its exit status is more useful than EPIPE.
                let _ = pipe.write_all(&bytes);
            }
        });
        let stderr = running.stderr.take().map(drain);
        let stdout = running.stdout.take().map(|pipe| read_lines(pipe, on_line)).transpose();
        let stdout = stdout.map_err(self.io_error("read the output"))?.unwrap_or_default();
        let stderr = collect(stderr).map_err(self.io_error("read the output"))?;
        let _ = writer.join();
        let (status, cpu) = running.wait()?;
        let peak_kib = running.peak_kib;
        let output = Output { status, stdout, stderr, wall: running.started.elapsed(), cpu, peak_kib };
        if let Some(path) = &self.log {
            self.append_log(path, &output).map_err(self.io_error("write the log"))?;
        }
        Ok(output)
    }

    fn append_log(&self, path: &Path, output: &Output) -> io::Result<()> {
        let mut file = File::options().create(true).append(true).open(path)?;
        writeln!(file, "$ cd {} && {}", self.shown_cwd().display(), self.typed())?;
        file.write_all(&output.stdout)?;
        file.write_all(&output.stderr)?;
        writeln!(
            file,
            "[{}, {:.2} s, {:.2} CPU s]",
            describe(&output.status),
            output.wall.as_secs_f64(),
            output.cpu.as_secs_f64()
        )
    }

    /// Runs the command and requires exit status 0.
    ///
    /// # Errors
    /// As [`Cmd::output`], and [`Error::Failed`] for any other exit status.
    pub fn run(&self) -> Result<Output, Error> {
        self.run_by_line(&mut |_| {})
    }

    /// Like [`Cmd::run`], but passes each line of standard output, without its line break, to `on_line` immediately. For
    /// long commands.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub fn run_by_line(&self, on_line: &mut dyn FnMut(&[u8])) -> Result<Output, Error> {
        let output = self.output_by_line(on_line)?;
        if output.status.success() { Ok(output) } else { Err(self.failed(&output)) }
    }

    /// Error for an output with an exit status that the caller does not accept.
    pub fn failed(&self, output: &Output) -> Error {
        let tail = if output.stderr.is_empty() { output.stdout_text() } else { output.stderr_text() };
        Error::Failed {
            command: self.typed(),
            cwd: self.shown_cwd(),
            status: output.status,
            tail,
            log: self.log.clone(),
        }
    }

    /// Runs the command, requires exit status 0, and returns standard output without trailing white space.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub fn read(&self) -> Result<String, Error> {
        Ok(self.run()?.stdout_text().trim_end().to_owned())
    }

    /// Runs the command on the terminal of this process (inherited standard streams), and requires exit status 0.
    ///
    /// # Errors
    /// The command cannot be started, or its exit status is not 0.
    pub fn run_inherited(&self) -> Result<(), Error> {
        let mut command = self.command();
        let mut child = command.spawn().map_err(|source| self.start_error(source))?;
        let status = child.wait().map_err(self.io_error("wait for the end"))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            command: self.typed(),
            cwd: self.shown_cwd(),
            status,
            tail: "its output is above".to_owned(),
            log: None,
        })
    }

    /// Starts the command in a new process group with three pipes, which the caller reads and writes.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn spawn(&self) -> Result<Running, Error> {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let started = Instant::now();
        let mut child = command.spawn().map_err(|source| self.start_error(source))?;
        Ok(Running {
            command: self.typed(),
            pid: child.id(),
            started,
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            ended: None,
            peak_kib: 0,
        })
    }
}

/// Running child process. The drop kills its process group.
#[derive(Debug)]
pub struct Running {
    command: String,
    pid: u32,
    started: Instant,
    /// Standard input of the child.
    pub stdin: Option<ChildStdin>,
    /// Standard output of the child.
    pub stdout: Option<ChildStdout>,
    /// Standard error of the child.
    pub stderr: Option<ChildStderr>,
    ended: Option<(ExitStatus, Duration)>,
    peak_kib: u64,
}

impl Running {
    /// Process id of the child.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end of the child: exit status and CPU time.
    ///
    /// # Errors
    /// The system call failed.
    pub fn wait(&mut self) -> Result<(ExitStatus, Duration), Error> {
        loop {
            if let Some(ended) = self.poll(true)? {
                return Ok(ended);
            }
        }
    }

    /// Exit status and CPU time if the child has ended.
    ///
    /// # Errors
    /// The system call failed.
    pub fn try_wait(&mut self) -> Result<Option<(ExitStatus, Duration)>, Error> {
        self.poll(false)
    }

    fn poll(&mut self, block: bool) -> Result<Option<(ExitStatus, Duration)>, Error> {
        if self.ended.is_none() {
            let reaped = sys::wait(self.pid, block).map_err(|source| Error::Io {
                command: self.command.clone(),
                action: "wait for the end",
                source,
            })?;
            self.peak_kib = reaped.as_ref().map_or(0, |reaped| reaped.peak_kib);
            self.ended = reaped.map(|reaped| (ExitStatus::from_raw(reaped.status), reaped.cpu));
        }
        Ok(self.ended)
    }

    /// Kills the process group of the child.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            sys::kill_group(self.pid);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
            let _ = self.poll(true);
        }
    }
}

fn read_lines(pipe: impl Read, on_line: &mut dyn FnMut(&[u8])) -> io::Result<Vec<u8>> {
    let mut pipe = io::BufReader::new(pipe);
    let mut bytes = Vec::new();
    loop {
        let from = bytes.len();
        if io::BufRead::read_until(&mut pipe, b'\n', &mut bytes)? == 0 {
            return Ok(bytes);
        }
        let line = bytes.get(from..).unwrap_or_default();
        on_line(line.strip_suffix(b"\n").unwrap_or(line));
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

fn collect(reader: Option<JoinHandle<io::Result<Vec<u8>>>>) -> io::Result<Vec<u8>> {
    reader.map_or_else(
        || Ok(Vec::new()),
        |reader| reader.join().unwrap_or_else(|_| Err(io::Error::other("reader ended"))),
    )
}

/// Quotes one word for a POSIX shell.
pub fn shell_quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Path of `program`, from a search in PATH.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_command_status_and_tail() {
        let error = Cmd::new("sh").args(["-c", "echo why >&2; exit 3"]).run().unwrap_err().to_string();
        assert!(error.contains("`sh -c 'echo why >&2; exit 3'` ended with exit status 3"), "{error}");
        assert!(error.contains("| why"), "{error}");
    }

    #[test]
    fn lines_come_one_by_one_and_all_of_them_stay() {
        let mut lines = Vec::new();
        let output = Cmd::new("printf")
            .arg("one\\n\\ntwo")
            .run_by_line(&mut |line| lines.push(String::from_utf8_lossy(line).into_owned()))
            .unwrap();
        assert_eq!(lines, ["one", "", "two"]);
        assert_eq!(output.stdout, b"one\n\ntwo");
    }

    #[test]
    fn missing_program_shows_the_hint() {
        let error = Cmd::new("no-such-program-at-all").hint("install it").run().unwrap_err().to_string();
        assert!(error.contains("no-such-program-at-all") && error.contains("install it"), "{error}");
    }

    #[test]
    fn large_input_and_output_do_not_block_each_other() {
        let bytes = vec![b'x'; 1 << 20];
        let output = Cmd::new("cat").stdin(bytes.clone()).run().unwrap();
        assert_eq!(output.stdout.len(), bytes.len());
    }

    #[test]
    fn dropping_a_running_child_ends_its_group() {
        let mut running = Cmd::new("sh").args(["-c", "sleep 600 & echo $!; wait"]).spawn().unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(running.stdout.take().unwrap()), &mut line).unwrap();
        drop(running);
        let stat = PathBuf::from(format!("/proc/{}/stat", line.trim()));
        // Repeated only on a busy host.
        for _ in 0..6000 {
            let state = std::fs::read_to_string(&stat).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the grandchild still runs");
    }

    #[test]
    fn quoting_survives_a_shell() {
        for word in ["a b", "it's", "", "$HOME", "x=1"] {
            let echoed = Cmd::new("sh")
                .arg("-c")
                .arg(format!("printf %s {}", shell_quote(OsStr::new(word))))
                .read()
                .unwrap();
            assert_eq!(echoed, word);
        }
    }
}
