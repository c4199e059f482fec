// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernel log, modules and taint.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};

use klp_guest::State;
use klp_guest::wire::BODY_MAX;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Reader of `/dev/kmsg`, with its position.
pub(crate) struct KernelLog(File);

impl KernelLog {
    /// Opens the log at its end.
    pub(crate) fn open() -> io::Result<Self> {
        open_at_end().map(Self)
    }

    /// Modules, taint, and the log lines since the last call, limited to the size of one frame.
    pub(crate) fn state(&mut self) -> io::Result<(State, Vec<u8>)> {
        let (text, lost) = self.read()?;
        let mut modules: Vec<String> = fs::read_to_string("/proc/modules")
            .or_else(
                |error| if error.kind() == ErrorKind::NotFound { Ok(String::new()) } else { Err(error) },
            )?
            .lines()
            .filter_map(|line| line.split(' ').next().map(ToOwned::to_owned))
            .collect();
        modules.sort();
        let taint = fs::read_to_string("/proc/sys/kernel/tainted")?;
        let taint = taint.trim_end().parse().map_err(io::Error::other)?;
        Ok((State { modules, taint, lost }, text))
    }

    fn read(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let (mut text, mut lost) = (String::new(), false);
        // One read returns one record; the kernel limits a record to 8 KiB.
        let mut record = vec![0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    text.push_str(&lines(&String::from_utf8_lossy(record.get(..length).unwrap_or_default())));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Records were overwritten before they were read; the next read continues with the oldest record.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => lost = true,
                Err(error) => return Err(error),
            }
            if text.len() > BODY_MAX {
                lost = true;
                text.clear();
            }
        }
        Ok((text.into_bytes(), lost))
    }
}

fn open_at_end() -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open("/dev/kmsg", flags, rustix::fs::Mode::empty())?);
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// Reader of the lines that programs write to the kernel log, from its opening on.
pub(crate) struct UserLines(File);

impl UserLines {
    /// Opens the log at its end.
    pub(crate) fn open() -> io::Result<Self> {
        open_at_end().map(Self)
    }

    /// Descriptor for poll(2).
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Lines since the last call.
    pub(crate) fn take(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        let mut record = vec![0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(length @ 1..) => {
                    let text = lines(&String::from_utf8_lossy(record.get(..length).unwrap_or_default()));
                    found.extend(text.lines().filter_map(user_text).map(ToOwned::to_owned));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Overwritten records: `KernelLog` reports the loss to the host.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => {}
                Ok(0) | Err(_) => return found,
            }
        }
    }
}

/// Text of a line `priority microseconds text` with a facility other than the kernel's.
fn user_text(line: &str) -> Option<&str> {
    let (priority, rest) = line.split_once(' ')?;
    let text = rest.split_once(' ')?.1;
    (priority.parse::<u32>().ok()? >> 3 != 0).then_some(text)
}

/// Converts a record `priority,sequence,microseconds,flags;text` (Documentation/ABI/testing/dev-kmsg) to lines
/// `priority microseconds text`. Lines that begin with a space hold properties and are left out.
fn lines(record: &str) -> String {
    let (head, rest) = record.split_once(';').unwrap_or(("", record));
    let mut fields = head.split(',');
    let priority: u32 = fields.next().and_then(|field| field.parse().ok()).unwrap_or_default();
    let time: u64 = fields.nth(1).and_then(|field| field.parse().ok()).unwrap_or_default();
    let text = rest.lines().next().unwrap_or_default().replace("\\x0a", "\n");
    text.lines().map(|line| format!("{priority} {time} {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{lines, user_text};

    #[test]
    fn records_become_lines() {
        assert_eq!(lines("4,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n"), "4 5140900 NET: Registered\n");
        assert_eq!(lines("30,1,7,-;two\\x0alines\n"), "30 7 two\n30 7 lines\n");
        assert_eq!(lines("no record"), "0 0 no record\n");
    }

    #[test]
    fn a_line_of_a_program_has_another_facility_than_the_kernels() {
        assert_eq!(user_text("12 5 WARNING: x"), Some("WARNING: x"));
        assert_eq!(user_text("4 5 WARNING: x"), None);
        assert_eq!(user_text(""), None);
    }
}
