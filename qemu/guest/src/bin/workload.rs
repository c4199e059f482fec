// SPDX-License-Identifier: GPL-2.0-or-later
//! Workload generator for cases: threads repeat one operation until a file appears, and count its results.
//!
//! `workload [--nice <0 to 19>] [--rest <microseconds>] <threads> <stop file> <work>`; values of `<work>`:
//! - `getpid`: calls getpid();
//! - `read <file>`: opens a file and reads it;
//! - `count <file> <text>`: reads an open file from its start again and again. The number after the text must be 1 the
//!   first time and one more each time after that, until the text is gone;
//! - `run <program>`: starts a program and waits for its end (fork and exit);
//! - `fentry <function>`, `fexit <function>`, `fmod_ret <function>`: attaches a BPF program to a kernel function; that
//!   of `fmod_ret` returns EACCES, and the function does not run.
//!
//! `--nice` lowers the priority (nice(2)). After each turn (16 steps, one for `run`) a thread sleeps for `--rest`, by
//! default not at all. At the end, one line is printed per result, with its count.

#![allow(clippy::disallowed_methods, reason = "it runs in the guest, and starting programs is its load")]

#[path = "workload/sys.rs"]
mod sys;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Results with their counts.
type Seen = BTreeMap<String, u64>;

/// One step of a thread's work; returns its result.
type Step<'a> = Box<dyn FnMut() -> Result<String, String> + Send + 'a>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(seen) => {
            seen.iter().for_each(|(what, times)| println!("{times} {what}"));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("workload: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<Seen, String> {
    let usage = || {
        "usage: workload [--nice <0 to 19>] [--rest <microseconds>] <threads> <stop file> \
         getpid | read <file> | count <file> <text> | run <program> | fentry <function> | fexit <function> | \
         fmod_ret <function>"
            .to_owned()
    };
    let number = |text: &str| text.parse::<u32>().map_err(|_| usage());
    let words = match words {
        ["--nice", nice, words @ ..] => {
            let nice = number(nice)?.try_into().map_err(|_| usage())?;
            rustix::process::nice(nice).map_err(|error| format!("nice({nice}): {error}"))?;
            words
        }
        _ => words,
    };
    let (rest, words) = match words {
        ["--rest", time, words @ ..] => (Duration::from_micros(number(time)?.into()), words),
        _ => (Duration::ZERO, words),
    };
    let [threads, stop, work @ ..] = words else { return Err(usage()) };
    let stop = Path::new(stop);
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for _ in 0..number(threads)? {
            let step = step(work)?.ok_or_else(usage)?;
            // A lookup of the file costs more than most steps.
            let turn = if work.first() == Some(&"run") { 1 } else { 16 };
            running.push(scope.spawn(move || repeat(stop, rest, turn, step)));
        }
        let mut all = Seen::new();
        for thread in running {
            for (what, times) in thread.join().map_err(|_| "a thread panicked".to_owned())?? {
                *all.entry(what).or_default() += times;
            }
        }
        Ok(all)
    })
}

/// Work from the arguments; `None` if they are invalid.
fn step<'a>(work: &[&'a str]) -> Result<Option<Step<'a>>, String> {
    Ok(Some(match *work {
        ["getpid"] => Box::new(|| Ok(getpid())),
        ["read", file] => Box::new(move || {
            std::fs::read_to_string(file)
                .map(|text| text.trim_end().to_owned())
                .map_err(|error| format!("{file}: {error}"))
        }),
        ["count", file, text] => {
            let open = File::open(file).map_err(|error| format!("{file}: {error}"))?;
            let mut last = None;
            Box::new(move || {
                let now = number_behind(&open, text).map_err(|error| format!("{file}: {error}"))?;
                let before = std::mem::replace(&mut last, now);
                Ok(match (before, now) {
                    (_, None) => "no number".to_owned(),
                    (None, Some(1)) => "the first number".to_owned(),
                    (Some(before), Some(now)) if now == before + 1 => "the next number".to_owned(),
                    (before, Some(now)) => format!("LOST: {now} after {}", before.unwrap_or_default()),
                })
            })
        }
        ["run", program] => Box::new(move || start(program)),
        ["fentry", function] => attached(FENTRY, function, 0)?,
        ["fexit", function] => attached(FEXIT, function, 0)?,
        ["fmod_ret", function] => attached(MODIFY_RETURN, function, -EACCES)?,
        _ => return Ok(None),
    }))
}

// `enum bpf_attach_type`.
const FENTRY: u32 = 24;
const FEXIT: u32 = 25;
const MODIFY_RETURN: u32 = 26;
const EACCES: i32 = 13;

/// Attaches a BPF program to a kernel function for the duration of the work.
fn attached<'a>(attach_type: u32, function: &str, answer: i32) -> Result<Step<'a>, String> {
    const BTF: &str = "/sys/kernel/btf/vmlinux";
    let types = std::fs::read(BTF).map_err(|error| format!("{BTF}: {error}"))?;
    let id = function_id(&types, function).ok_or_else(|| format!("{BTF} has no function {function}"))?;
    let files =
        sys::attach(attach_type, id, answer).map_err(|error| format!("bpf(2), {function}: {error}"))?;
    Ok(Box::new(move || {
        // The step holds program and link.
        let _ = &files;
        std::thread::sleep(Duration::from_millis(5));
        Ok("attached".to_owned())
    }))
}

/// Id of a function in BTF (`include/uapi/linux/btf.h`).
fn function_id(btf: &[u8], wanted: &str) -> Option<u32> {
    let word = |at: usize| Some(u32::from_le_bytes(btf.get(at..at + 4)?.try_into().ok()?));
    let place = |at: usize| usize::try_from(word(at)?).ok();
    let header = place(4)?;
    let (mut at, types, strings) = (header + place(8)?, place(12)?, header + place(16)?);
    let end = at + types;
    let mut id = 0;
    while at < end {
        id += 1;
        let (name, info) = (strings + place(at)?, word(at + 4)?);
        let length = usize::try_from(info & 0xffff).ok()?;
        let kind = info >> 24 & 0x1f;
        if kind == 12 && btf.get(name..)?.starts_with(&[wanted.as_bytes(), b"\0"].concat()) {
            return Some(id);
        }
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * length,
                6 | 13 => 8 * length,
                _ => 0,
            };
    }
    None
}

fn repeat(stop: &Path, rest: Duration, turn: u32, mut step: Step<'_>) -> Result<Seen, String> {
    let mut seen = Seen::new();
    loop {
        for _ in 0..turn {
            *seen.entry(step()?).or_default() += 1;
        }
        if stop.exists() {
            return Ok(seen);
        }
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }
}

/// Number after a text in a file, which is read from its start; `None` without the text.
fn number_behind(file: &File, text: &str) -> Result<Option<u64>, String> {
    let mut page = [0; 4096];
    let length = file.read_at(&mut page, 0).map_err(|error| error.to_string())?;
    let content = String::from_utf8_lossy(&page[..length]);
    let Some((_, behind)) = content.split_once(text) else { return Ok(None) };
    let digits: String = behind.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().map(Some).map_err(|_| format!("no number behind `{text}` in:\n{content}"))
}

/// Compares getpid() with its first result.
fn getpid() -> String {
    static FIRST: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let now = std::process::id();
    let first = *FIRST.get_or_init(|| now);
    if now == first { "right".to_owned() } else { format!("wrong: {now} instead of {first}") }
}

fn start(program: &str) -> Result<String, String> {
    let status = Command::new(program).stdin(Stdio::null()).stdout(Stdio::null()).status();
    status.map(|status| format!("{program}: {status}")).map_err(|error| format!("{program}: {error}"))
}
