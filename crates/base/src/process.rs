// SPDX-License-Identifier: GPL-2.0-or-later
//! Child processes: argv, working directory, environment, duration, CPU time; and when one fails, the command as
//! typed, the exit status, the last lines of stderr and the log's path.

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

/// Lines of stderr that an error shows.
const TAIL_LINES: usize = 20;

/// Why a child process did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("could not start `{command}` in {}: {source}{hint}", cwd.display())]
    Start {
        /// The command as typed in a shell.
        command: String,
        /// Where it was to run.
        cwd: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do about it, with a leading line break; or empty.
        hint: String,
    },
    /// It ran and did not exit with 0.
    #[error("`{command}` {} in {}{}{}", describe(status), cwd.display(), quote_tail(tail), quote_log(log.as_deref()))]
    Failed {
        /// The command as typed in a shell.
        command: String,
        /// Where it ran.
        cwd: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote to stderr (stdout where stderr is empty).
        tail: String,
        /// File that holds all of its output.
        log: Option<PathBuf>,
    },
    /// Its log or its pipes failed.
    #[error("could not {action} of `{command}`: {source}")]
    Io {
        /// The command as typed in a shell.
        command: String,
        /// What was being done.
        action: &'static str,
        /// What the system said.
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

/// What a finished child left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// From start to end.
    pub wall: Duration,
    /// User and system time, of its own reaped children too.
    pub cpu: Duration,
    /// The most memory that it or one of its reaped children held, in KiB.
    pub peak_kib: u64,
}

impl Output {
    /// Standard output as text, bytes that are not UTF-8 replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, bytes that are not UTF-8 replaced.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A command to run.
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
    /// A command that runs `program`, found in PATH when it holds no slash.
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

    /// Runs it in `dir`.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Takes a variable out of its environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Starts it with an empty environment but for PATH and what [`Cmd::env`] sets: what it makes must not depend on
    /// who runs it.
    #[must_use]
    pub fn clean_env(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// Gives it these bytes on standard input (nothing otherwise).
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Appends the command and its output to this file too.
    #[must_use]
    pub fn log(mut self, path: impl AsRef<Path>) -> Self {
        self.log = Some(path.as_ref().to_owned());
        self
    }

    /// What to do where the program is missing, for the error's text.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The command as one would type it in a shell.
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

    /// Runs it to its end, whatever its exit status.
    ///
    /// # Errors
    /// It could not be started, or its pipes or its log failed.
    pub fn output(&self) -> Result<Output, Error> {
        self.output_by_line(&mut |_| {})
    }

    fn output_by_line(&self, on_line: &mut dyn FnMut(&[u8])) -> Result<Output, Error> {
        let mut running = self.spawn()?;
        let stdin = running.stdin.take();
        let bytes = self.stdin.clone();
        let writer = std::thread::spawn(move || {
            if let Some(mut pipe) = stdin {
                // A child may end without reading all of it; its exit status tells more than EPIPE.
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

    /// Runs it and asks for exit status 0.
    ///
    /// # Errors
    /// As [`Cmd::output`], and [`Error::Failed`] for any other exit status.
    pub fn run(&self) -> Result<Output, Error> {
        self.run_by_line(&mut |_| {})
    }

    /// As [`Cmd::run`], and gives each line of standard output away as soon as it is there, without its line break:
    /// for work that takes minutes.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub fn run_by_line(&self, on_line: &mut dyn FnMut(&[u8])) -> Result<Output, Error> {
        let output = self.output_by_line(on_line)?;
        if output.status.success() { Ok(output) } else { Err(self.failed(&output)) }
    }

    /// The error for an output whose exit status is not one that the caller can use.
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

    /// Runs it, asks for exit status 0 and gives its standard output without the trailing line break.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub fn read(&self) -> Result<String, Error> {
        Ok(self.run()?.stdout_text().trim_end().to_owned())
    }

    /// Runs it on this process's own terminal (standard streams inherited) and asks for exit status 0.
    ///
    /// # Errors
    /// It could not be started or ended otherwise.
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

    /// Starts it in a process group of its own, all three streams piped. The caller reads them.
    ///
    /// # Errors
    /// It could not be started.
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

/// A child that was started and not yet waited for. Dropping it kills its process group.
#[derive(Debug)]
pub struct Running {
    command: String,
    pid: u32,
    started: Instant,
    /// The child's standard input.
    pub stdin: Option<ChildStdin>,
    /// The child's standard output.
    pub stdout: Option<ChildStdout>,
    /// The child's standard error.
    pub stderr: Option<ChildStderr>,
    ended: Option<(ExitStatus, Duration)>,
    peak_kib: u64,
}

impl Running {
    /// Process id of the child.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end: exit status, CPU time.
    ///
    /// # Errors
    /// The system could not tell.
    pub fn wait(&mut self) -> Result<(ExitStatus, Duration), Error> {
        loop {
            if let Some(ended) = self.poll(true)? {
                return Ok(ended);
            }
        }
    }

    /// Exit status and CPU time, once it has ended.
    ///
    /// # Errors
    /// The system could not tell.
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

    /// Kills it and every process of its group.
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

/// One word as a POSIX shell would read it back.
pub fn shell_quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Where `program` stands in PATH.
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
        // Only a host that is busy needs more than one look.
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
