// SPDX-License-Identifier: GPL-2.0-or-later
//! The guest's console and the kernel messages in it. Programs can also write to the console, and to the kernel log,
//! which goes to the console too.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Number of console lines in a report without a kernel complaint.
const TAIL: usize = 40;
/// Number of console lines in a report from the first kernel complaint on.
const FROM_COMPLAINT: usize = 60;
const COMPLAINTS: [&str; 4] = ["BUG:", "Oops", "WARNING:", "Kernel panic"];
const PANIC: &str = "Kernel panic - not syncing";
/// Kernel messages at an orderly reset or power-off. A panic prints none of them.
const RESETS: [&str; 4] =
    ["reboot: Restarting system", "reboot: Power down", "reboot: machine restart", "reboot: System halted"];

/// Console of a machine that has ended, with facts about its lines.
#[derive(Debug, Default)]
pub(crate) struct Console {
    /// Complete text.
    pub(crate) text: String,
    /// Length in bytes of the part of `text` before an answer of the guest program: nothing in it ended the machine.
    pub(crate) survived: usize,
    /// Lines that programs wrote to the kernel log, with their counts.
    pub(crate) user: UserLines,
}

/// Lines that programs wrote to the kernel log, with their counts.
pub(crate) type UserLines = BTreeMap<String, usize>;

impl Console {
    /// Kernel messages that may concern the end of the machine, without time stamps.
    pub(crate) fn last_words(&self) -> Vec<&str> {
        let mut user = self.user.clone();
        let mut own = |line: &&str| match user.get_mut(*line) {
            Some(times @ 1..) => {
                *times -= 1;
                false
            }
            _ => true,
        };
        let (before, after) = self.text.split_at_checked(self.survived).unwrap_or(("", &self.text));
        before.lines().filter_map(after_the_time).for_each(|line| {
            own(&line);
        });
        after.lines().filter_map(after_the_time).filter(own).collect()
    }

    /// Message of a kernel panic that is not followed by an orderly reset.
    pub(crate) fn panic(&self) -> Option<String> {
        let words = self.last_words();
        let at = words.iter().position(|line| line.starts_with(PANIC))?;
        let reset = words.iter().skip(at).any(|line| RESETS.contains(line));
        (!reset).then(|| words.get(at).unwrap_or(&"").to_string())
    }

    /// True if the guest itself reset the machine or powered it off in an orderly way.
    pub(crate) fn was_reset(&self) -> bool {
        self.last_words().iter().rev().take(TAIL).any(|line| RESETS.iter().any(|words| line.contains(words)))
    }
}

/// Text after the time stamp of a kernel message: `[    1.500000] text`, or with the caller `[    1.500000][   T77]
/// text`. Output of a program may precede the time stamp.
fn after_the_time(line: &str) -> Option<&str> {
    line.match_indices('[').find_map(|(at, _)| {
        let (time, rest) = line.get(at + 1..)?.split_once(']')?;
        let (seconds, micros) = time.trim_start().split_once('.')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(seconds) || micros.len() != 6 || !digits(micros) {
            return None;
        }
        let speaker = |rest: &str| rest.starts_with('[').then(|| rest.find(']')).flatten();
        let rest = speaker(rest).map_or(Some(rest), |end| rest.get(end + 1..))?;
        rest.strip_prefix(' ').map(str::trim_end)
    })
}

/// Console text without carriage returns and other control characters, including those of escape sequences.
pub(crate) fn read(file: &File) -> String {
    read_parted(file, 0).0
}

/// Console text as from [`read`], and the length of the text in the first `length` bytes of the file.
pub(crate) fn read_parted(file: &File, length: u64) -> (String, usize) {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 1 << 16];
    // A read error ends the text: the caller then finds no panic and reports its other facts.
    while let Ok(length @ 1..) = file.read_at(&mut piece, bytes.len() as u64) {
        bytes.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
    let at = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
    let (first, rest) = bytes.split_at(at);
    let mut text = plain(first);
    let parted = text.len();
    text.push_str(&plain(rest));
    (text, parted)
}

fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect()
}

/// Excerpt for a report: the last lines, or the lines from the first kernel complaint on. The trace after a panic can
/// be longer than the excerpt, and its first line is the important one.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let usual = lines.len().saturating_sub(TAIL);
    let complaint = lines.iter().position(|line| COMPLAINTS.iter().any(|words| line.contains(words)));
    let from = complaint.map_or(usual, |at| at.min(usual));
    let to = lines.len().min(from + FROM_COMPLAINT);
    let mut shown = lines[from..to].join("\n");
    if to < lines.len() {
        shown.push_str(&format!("\n({} more lines)", lines.len() - to));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[    1.000000] x\n[    2.000000] Kernel panic - not syncing: sysrq triggered crash\n\
        [    2.100000] CPU: 0\n";

    fn console(text: &str, survived: &str, user: &[&str]) -> Console {
        let user = user.iter().map(|line| ((*line).to_owned(), 1)).collect();
        Console { text: format!("{survived}{text}"), survived: survived.len(), user }
    }

    #[test]
    fn a_panic_is_quoted_without_the_time() {
        let words = Some("Kernel panic - not syncing: sysrq triggered crash".to_owned());
        assert_eq!(console(CONSOLE, "", &[]).panic(), words);
        for prefix in ["output of a program", "[x] [1.5] ", "\n"] {
            assert_eq!(console(&format!("{prefix}{CONSOLE}"), "", &[]).panic(), words, "{prefix}");
        }
        let spoken = CONSOLE.replace("] ", "][   T77] ");
        assert_eq!(console(&spoken, "", &[]).panic(), words);
        assert_eq!(console("[    1.000000] all is well\n", "", &[]).panic(), None);
        assert!(!console(CONSOLE, "", &[]).was_reset());
        assert!(console("[    2.000000] reboot: Restarting system\n", "", &[]).was_reset());
    }

    #[test]
    fn the_kernels_own_lines_alone_make_a_panic() {
        let words = "Kernel panic - not syncing: sysrq triggered crash";
        // No panic: text of a program on the console; in the kernel log; before an answer of the guest program; before
        // an orderly reset.
        assert_eq!(console(&format!("{words}\n"), "", &[]).panic(), None);
        assert_eq!(console(CONSOLE, "", &[words]).panic(), None);
        assert_eq!(console("[    3.000000] all is well\n", CONSOLE, &[]).panic(), None);
        assert_eq!(
            console(&format!("{CONSOLE}[    3.000000] reboot: Restarting system\n"), "", &[]).panic(),
            None
        );
        assert_eq!(
            console(&format!("[    3.000000] {words} or not\n"), "", &[&format!("{words} or not")]).panic(),
            None
        );
        // A panic message with the same text as a line that a program wrote before.
        assert_eq!(console(&format!("{CONSOLE}{CONSOLE}"), "", &[words]).panic().as_deref(), Some(words));
        assert_eq!(console(CONSOLE, CONSOLE, &[words]).panic().as_deref(), Some(words));
    }

    #[test]
    fn the_tail_is_the_end() {
        let text: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert_eq!(tail(&text).lines().count(), TAIL);
        assert!(tail(&text).ends_with("99"));
        assert_eq!(tail(CONSOLE).lines().count(), 3);
    }

    #[test]
    fn a_long_trace_is_shown_from_its_first_line() {
        let trace: String = (0..100).map(|line| format!("frame {line}\n")).collect();
        let shown = tail(&format!("boot\n{CONSOLE}{trace}"));
        assert!(shown.starts_with("[    2.000000] Kernel panic"), "{shown}");
        assert!(shown.ends_with("(42 more lines)"), "{shown}");
    }

    #[test]
    fn control_characters_do_not_reach_a_report() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"\x1bc[ 0.1] a\r\nb\xff\n").unwrap();
        assert_eq!(read(&file), "c[ 0.1] a\nb\u{fffd}\n");
    }
}
