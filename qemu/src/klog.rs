// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernel log in the format of the guest program: lines `<priority> <microseconds> <text>`.

/// Start of the kernel's message when it kills a task: x86, x86 before 6.10, arm64.
const OOPS: [&str; 3] = ["Oops: ", "invalid opcode: ", "Internal error: "];
/// Part of the first line of every oops: `die()` of both architectures counts them, as in `[#1]`.
const COUNT: &str = "[#";

/// Texts of the kernel messages in lines `<priority> <microseconds> <text>`. Programs write to the log with a facility
/// other than the kernel's, which is 0.
pub(crate) fn log_texts(log: &str) -> Vec<&str> {
    let own = |line: &str| line.split(' ').next()?.parse::<u32>().ok().filter(|priority| *priority < 8);
    log.lines().filter(|line| own(line).is_some()).filter_map(|line| line.splitn(3, ' ').nth(2)).collect()
}

/// Message of a killed task among the kernel messages `texts`.
pub(crate) fn oops(texts: &[&str]) -> Option<String> {
    texts.iter().find(|text| is_oops(text)).map(|text| (*text).to_owned())
}

fn is_oops(text: &str) -> bool {
    let counted = text.split(COUNT).skip(1).any(|rest| {
        rest.split_once(']')
            .is_some_and(|(count, _)| !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()))
    });
    counted || OOPS.iter().any(|words| text.contains(words))
}

/// [`oops`] of a log in the format of the guest program.
pub(crate) fn oops_in(log: &str) -> Option<String> {
    oops(&log_texts(log))
}

/// Log in the format of dmesg.
pub(crate) fn log_for_people(log: &str) -> String {
    let line = |line: &str| {
        let mut fields = line.splitn(3, ' ').skip(1);
        let micros: u64 = fields.next()?.parse().ok()?;
        Some(format!("[{:5}.{:06}] {}\n", micros / 1_000_000, micros % 1_000_000, fields.next()?))
    };
    log.lines().filter_map(line).collect()
}

/// Kernel messages with one of these prefixes.
pub(crate) fn filtered<'a>(log: &'a str, prefixes: &[String]) -> Vec<&'a str> {
    let wanted = |text: &&str| prefixes.iter().any(|prefix| text.starts_with(prefix.as_str()));
    log_texts(log).into_iter().filter(wanted).collect()
}
