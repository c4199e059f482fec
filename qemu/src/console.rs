// SPDX-License-Identifier: GPL-2.0-or-later
//! What the guest's console says.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Lines of the console that a report shows where the kernel did not complain.
const TAIL: usize = 40;
/// Lines that it shows from the kernel's first complaint on.
const FROM_COMPLAINT: usize = 60;
const COMPLAINTS: [&str; 4] = ["BUG:", "Oops", "WARNING:", "Kernel panic"];
const PANIC: &str = "Kernel panic - not syncing";

/// The console's text without carriage returns and other control characters (also those of escape sequences).
pub(crate) fn read(file: &File) -> String {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 1 << 16];
    // What cannot be read is not there to be judged: the caller then finds no panic and says what else it knows.
    while let Ok(length @ 1..) = file.read_at(&mut piece, bytes.len() as u64) {
        bytes.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&bytes);
    text.chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect()
}

/// What a report shows of it: the last lines, or where the kernel complained, what it said from there on. The trace
/// after a panic can be longer than a tail, and its first line is the one that matters.
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

/// The kernel's words when it panicked, without the time.
pub(crate) fn panic_line(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.find(PANIC).map(|at| line[at..].trim_end()))
}

/// Whether the machine was reset or switched off in the orderly way, by someone in it.
pub(crate) fn was_reset(text: &str) -> bool {
    text.lines().rev().take(TAIL).any(|line| {
        [
            "reboot: Restarting system",
            "reboot: Power down",
            "reboot: machine restart",
            "reboot: System halted",
        ]
        .iter()
        .any(|words| line.contains(words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str =
        "[    1.0] x\n[    2.0] Kernel panic - not syncing: sysrq triggered crash\n[    2.1] CPU: 0\n";

    #[test]
    fn a_panic_is_quoted_without_the_time() {
        assert_eq!(panic_line(CONSOLE), Some("Kernel panic - not syncing: sysrq triggered crash"));
        assert_eq!(panic_line("[ 1.0] all is well\n"), None);
        assert!(!was_reset(CONSOLE) && was_reset("[    2.0] reboot: Restarting system\n"));
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
        assert!(shown.starts_with("[    2.0] Kernel panic"), "{shown}");
        assert!(shown.ends_with("(42 more lines)"), "{shown}");
    }

    #[test]
    fn control_characters_do_not_reach_a_report() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"\x1bc[ 0.1] a\r\nb\xff\n").unwrap();
        assert_eq!(read(&file), "c[ 0.1] a\nb\u{fffd}\n");
    }
}
