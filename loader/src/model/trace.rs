// SPDX-License-Identifier: GPL-2.0-or-later
//! Stack frames and bug reports in the kernel's log: WARN, BUG, oops, and the reports of the kernel's checkers.
//!
//! Sources: `kernel/panic.c`, `lib/bug.c`, `arch/x86/kernel/dumpstack.c`, `arch/arm64/kernel/traps.c`, `mm/kasan/report.c`,
//! `kernel/watchdog.c` of Linux 6.1 to 6.14.

use std::fmt;
use std::time::Duration;

use klp_format::VMLINUX;

use crate::model::error::Error;
use crate::model::kmsg::Record;
use crate::model::livepatch;
use crate::model::system::System;

/// Prefix of the entry functions of Ferrograft's modules: `livepatch_<function>`.
const ENTRY: &str = "livepatch_";
/// Line before the title of most reports.
const CUT_HERE: &str = "------------[ cut here ]------------";
/// Beginning of the last line of most reports.
const END: &str = "---[ end trace";
/// Beginnings of the titles of reports.
const TITLES: [&str; 16] = [
    "WARNING: ",
    "BUG: ",
    "BUG ",
    "kernel BUG at ",
    "Oops: ",
    "Oops - ",
    "Unable to handle kernel ",
    "Internal error: ",
    "general protection fault",
    "invalid opcode: ",
    "divide error: ",
    "stack segment: ",
    "int3: ",
    "watchdog: BUG: ",
    "traps: PANIC",
    "UBSAN: ",
];
/// Longest pause within a report. Slow consoles delay the lines of a report; unrelated lines come later.
const PAUSE: Duration = Duration::from_secs(5);

/// Taint flags that a bug sets, with their letters (`Documentation/admin-guide/tainted-kernels.rst`).
const BUG_TAINTS: [(u32, char); 5] = [(4, 'M'), (5, 'B'), (7, 'D'), (9, 'W'), (14, 'L')];

/// Taint flags of the kernel; `None` if there is no such file.
pub(crate) fn taint(system: &System) -> Result<Option<u64>, Error> {
    let text = system.read_line("/proc/sys/kernel/tainted")?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// Letters of the taint flags that a bug has set between two values.
pub(crate) fn new_bug_taints(before: u64, now: u64) -> String {
    let set = |bit: u32| (now & !before) >> bit & 1 == 1;
    BUG_TAINTS.iter().filter(|(bit, _)| set(*bit)).map(|(_, letter)| letter).collect()
}

/// Function in a line of a stack trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) name: &'a str,
    /// Module of the function, or `vmlinux`.
    pub(crate) object: &'a str,
}

impl<'a> Frame<'a> {
    /// Parses a line with `name+0xoffset/0xsize`, followed by `[module]` for a function of a module: lines of
    /// `/proc/<pid>/stack`, `RIP:` and `pc :` lines, titles of warnings. `None` for other lines, and for entries with `?`, which
    /// the kernel found on the stack and does not trust.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let mut before = "";
        let symbol = loop {
            let word = words.next()?;
            if word.contains("+0x") && word.contains("/0x") {
                break word;
            }
            before = word;
        };
        if before == "?" {
            return None;
        }
        // `RIP: 0010:name+0x1/0x2`.
        let name = symbol.split('+').next()?.rsplit(':').next()?;
        // `[module]`, or `[module build-id]`.
        let object = words.next().and_then(|word| word.strip_prefix('['));
        let object = object.map_or(VMLINUX, |word| word.trim_end_matches(']'));
        Some(Self { name, object })
    }
}

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object {
            VMLINUX => f.write_str(self.name),
            module => write!(f, "{} [{module}]", self.name),
        }
    }
}

/// Names by which a report blames a patch.
pub(crate) struct Names {
    module: String,
    /// Replaced functions, as `(object, function)`.
    functions: Vec<(String, String)>,
}

impl Names {
    /// Names of a loaded patch.
    pub(crate) fn of(system: &System, module: &str) -> Result<Self, Error> {
        Ok(Self { module: module.to_owned(), functions: livepatch::replaced_by(system, module)? })
    }

    /// True for a function of the module, an entry function, and a replaced function.
    fn have(&self, frame: Frame<'_>) -> bool {
        let replaced = frame.name.strip_prefix(ENTRY).unwrap_or(frame.name);
        let object = |object: &str| frame.object == object || replaced != frame.name;
        frame.object == self.module
            || self.functions.iter().any(|(its, function)| function == replaced && object(its))
    }
}

/// Bug report of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) lines: Vec<String>,
}

impl Report {
    /// First line that says what happened.
    pub(crate) fn title(&self) -> &str {
        let title = self.lines.iter().find(|line| is_title(line)).or(self.lines.first());
        title.map_or("", String::as_str)
    }

    /// First function of the report that blames a patch.
    pub(crate) fn function(&self, names: &Names) -> Option<String> {
        let mut frames = self.lines.iter().filter_map(|line| Frame::parse(line));
        frames.find(|frame| names.have(*frame)).map(|frame| frame.to_string())
    }

    /// Removes lines after the end of a report without [`END`]: they are others' messages.
    fn trimmed(mut self) -> Self {
        let is_part = |line: &String| {
            line.starts_with(END) || line.trim_start().starts_with("</") || Frame::parse(line).is_some()
        };
        let length = self.lines.iter().rposition(is_part).map_or(1, |last| last + 1);
        self.lines.truncate(length);
        self
    }
}

fn is_title(line: &str) -> bool {
    TITLES.iter().any(|title| line.starts_with(title))
}

/// True for a line that begins a report.
pub(crate) fn begins(line: &str) -> bool {
    line == CUT_HERE || is_title(line)
}

/// Bug reports in the records of the kernel, oldest first. A report whose beginning is not there is none.
pub(crate) fn reports(records: &[Record]) -> Vec<Report> {
    let mut found = Vec::new();
    let mut open: Option<(Report, Duration)> = None;
    for Record { time, text } in records {
        // A new report begins before the last one has ended, or the last one has no line that ends it.
        let is_over = |report: &Report, last: Duration| {
            (text == CUT_HERE && report.lines.len() > 1) || time.saturating_sub(last) > PAUSE
        };
        if let Some((report, _)) = open.take_if(|(report, last)| is_over(report, *last)) {
            found.push(report.trimmed());
        }
        match &mut open {
            Some((report, last)) => {
                report.lines.push(text.clone());
                *last = *time;
            }
            None if begins(text) => open = Some((Report { lines: vec![text.clone()] }, *time)),
            None => {}
        }
        if text.starts_with(END) {
            found.extend(open.take().map(|(report, _)| report));
        }
    }
    found.extend(open.map(|(report, _)| report.trimmed()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OOPS: &str = "\
BUG: kernel NULL pointer dereference, address: 0000000000000000
#PF: supervisor read access in kernel mode
Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
CPU: 0 UID: 0 PID: 7 Comm: cat Tainted: G           OE K    6.12.117+deb12-amd64 #1
RIP: 0010:livepatch_show+0x1d/0x40 [kpatch_x]
Call Trace:
 <TASK>
 ? __die_body.cold+0x19/0x27
 seq_read_iter+0x123/0x480
 </TASK>
Modules linked in: kpatch_x(OEK) ext4(E)
---[ end trace 0000000000000000 ]---
systemd[1]: later";
    const WARNING: &str = "\
------------[ cut here ]------------
WARNING: CPU: 1 PID: 9 at mm/slab.c:12 kfree+0x1/0x2
Modules linked in: kpatch_x(OEK)
Call Trace:
 ? livepatch_show+0x5/0x40 [kpatch_x]
 vfs_read+0xab/0x300
---[ end trace 0000000000000000 ]---";
    const ATOMIC: &str = "\
BUG: scheduling while atomic: cat/7/0x00000002
Call Trace:
 <TASK>
 dump_stack_lvl+0x5d/0x80
 ext4_open+0x5/0x7 [ext4 aa11bb22]
 </TASK>
eth0: link up";
    const ARM64: &str = "\
Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008
Internal error: Oops: 0000000096000004 [#1] SMP
pc : show+0x10/0x20
lr : seq_read_iter+0x1/0x2
---[ end trace 0000000000000000 ]---";

    fn records(text: &str) -> Vec<Record> {
        text.lines().map(|line| Record { time: Duration::ZERO, text: line.to_owned() }).collect()
    }

    fn names() -> Names {
        let functions =
            [("vmlinux".to_owned(), "show".to_owned()), ("ext4".to_owned(), "ext4_open".to_owned())];
        Names { module: "kpatch_x".to_owned(), functions: functions.to_vec() }
    }

    #[test]
    fn report_blames_the_functions_of_a_patch() {
        for (text, title, function) in [
            (
                OOPS,
                "BUG: kernel NULL pointer dereference, address: 0000000000000000",
                Some("livepatch_show [kpatch_x]"),
            ),
            // Neither the list of modules nor an entry that the kernel does not trust counts.
            (WARNING, "WARNING: CPU: 1 PID: 9 at mm/slab.c:12 kfree+0x1/0x2", None),
            (ATOMIC, "BUG: scheduling while atomic: cat/7/0x00000002", Some("ext4_open [ext4]")),
            (
                ARM64,
                "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
                Some("show"),
            ),
        ] {
            let found = reports(&records(text));
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].title(), found[0].function(&names()).as_deref()), (title, function));
            let last = found[0].lines.last().unwrap();
            assert!(last.starts_with(END) || last == " </TASK>", "{last}");
        }
        let show = "WARNING: CPU: 1 PID: 9 at a.c:1 show+0x1/0x2 [other]";
        assert_eq!(reports(&records(show))[0].function(&names()), None, "the same name in another module");
    }

    #[test]
    fn reports_are_separated() {
        let found = reports(&records(&[OOPS, WARNING, "x", ATOMIC, WARNING].join("\n")));
        let lengths: Vec<usize> = found.iter().map(|report| report.lines.len()).collect();
        assert_eq!(lengths, [12, 7, 6, 7]);
        // The end of a report whose beginning was overwritten.
        assert_eq!(reports(&records(" show+0x1/0x2\n---[ end trace 0 ]---")), []);
        let mut late = records(ATOMIC);
        late.push(Record { time: Duration::from_secs(60), text: " show+0x1/0x2".to_owned() });
        assert_eq!(reports(&late)[0].lines.len(), 6);
    }

    #[test]
    fn frame_parses_the_lines_of_traces() {
        for (line, frame) in [
            ("[<0>] x_y+0x1/0x20 [older]", Some(("x_y", "older"))),
            ("RIP: 0010:show+0x1d/0x40", Some(("show", "vmlinux"))),
            (" vfs_read+0xab/0x300 [m 00ff]", Some(("vfs_read", "m"))),
            (" ? vfs_read+0xab/0x300", None),
            ("Modules linked in: m(OEK)", None),
            ("", None),
        ] {
            assert_eq!(Frame::parse(line).map(|frame| (frame.name, frame.object)), frame, "{line}");
        }
    }

    #[test]
    fn new_bug_taints_ignores_those_of_modules() {
        // Before: P and W. Now: also O, E, K, D.
        assert_eq!(new_bug_taints(0x201, 0x201 | 0xb000 | 0x80), "D");
        assert_eq!(new_bug_taints(0, 0xb000), "");
    }
}
