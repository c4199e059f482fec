// SPDX-License-Identifier: GPL-2.0-or-later
//! What the guest's console says.

use std::fs;
use std::path::Path;

/// Lines of the console that a report shows.
const TAIL: usize = 40;
const PANIC: &str = "Kernel panic - not syncing";

/// The console's text without carriage returns and other control characters (also those of escape sequences).
pub(crate) fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect()
}

/// Its last lines.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
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
    }
}
