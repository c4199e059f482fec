// SPDX-License-Identifier: GPL-2.0-or-later
//! Load for cases: threads that do one thing without a pause until a file appears, and what they saw.
//!
//! `klp-load <threads> <stop file> getpid` calls getpid(), `... read <file>` reads a file, `... run <program>` starts a
//! program and waits for it, as fork and exit do. One line for each thing that was seen, with how often, at the end.

#![allow(clippy::disallowed_methods, reason = "it runs in the guest, and starting programs is its load")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// What was seen, with how often.
type Seen = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(seen) => {
            seen.iter().for_each(|(what, times)| println!("{times} {what}"));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("klp-load: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<Seen, String> {
    let usage = || "usage: klp-load <threads> <stop file> getpid | read <file> | run <program>".to_owned();
    let [threads, stop, work @ ..] = words else { return Err(usage()) };
    let threads: u32 = threads.parse().map_err(|_| usage())?;
    let stop = Path::new(stop);
    let step: Box<dyn Fn() -> Result<String, String> + Sync> = match *work {
        ["getpid"] => Box::new(|| Ok(getpid())),
        ["read", file] => Box::new(move || {
            std::fs::read_to_string(file)
                .map(|text| text.trim_end().to_owned())
                .map_err(|error| format!("{file}: {error}"))
        }),
        ["run", program] => Box::new(move || start(program)),
        _ => return Err(usage()),
    };
    let step = &*step;
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(move || repeat(stop, step))).collect();
        let mut all = Seen::new();
        for thread in running {
            for (what, times) in thread.join().map_err(|_| "a thread panicked".to_owned())?? {
                *all.entry(what).or_default() += times;
            }
        }
        Ok(all)
    })
}

fn repeat(stop: &Path, step: &dyn Fn() -> Result<String, String>) -> Result<Seen, String> {
    let mut seen = Seen::new();
    loop {
        // Looking for the file costs more than most steps.
        for _ in 0..16 {
            *seen.entry(step()?).or_default() += 1;
        }
        if stop.exists() {
            return Ok(seen);
        }
    }
}

/// Whether getpid() gives what the process was given when it began.
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
