// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel's log, modules and taint.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};

use klp_guest::State;
use klp_guest::wire::BODY_MAX;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// A reader of `/dev/kmsg` that remembers where it was.
pub(crate) struct KernelLog(File);

impl KernelLog {
    /// Opens the log at its end.
    pub(crate) fn open() -> io::Result<Self> {
        open_at_end().map(Self)
    }

    /// Modules and taint, and the lines of the log since the last call, cut at what one frame holds.
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
        // One read gives one record; the kernel's limit for it is 8 KiB.
        let mut record = vec![0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    text.push_str(&lines(&String::from_utf8_lossy(record.get(..length).unwrap_or_default())));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Records were overwritten before they were read; the next read goes on with the oldest.
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

/// The lines that programs write to the kernel's log, from the moment of opening on.
pub(crate) struct UserLines(File);

impl UserLines {
    /// Begins at the log's end.
    pub(crate) fn open() -> io::Result<Self> {
        open_at_end().map(Self)
    }

    /// For poll(2).
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The lines since the last call.
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
                // Records that were overwritten: the state's reader tells the host.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => {}
                Ok(0) | Err(_) => return found,
            }
        }
    }
}

/// The text of a line `priority microseconds text` whose facility is not the kernel's.
fn user_text(line: &str) -> Option<&str> {
    let (priority, rest) = line.split_once(' ')?;
    let text = rest.split_once(' ')?.1;
    (priority.parse::<u32>().ok()? >> 3 != 0).then_some(text)
}

/// A record `priority,sequence,microseconds,flags;text` (Documentation/ABI/testing/dev-kmsg) as lines
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
