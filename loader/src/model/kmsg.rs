// SPDX-License-Identifier: GPL-2.0-or-later
//! Reader of kernel log records, from `/dev/kmsg` (`Documentation/ABI/testing/dev-kmsg`).

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::model::system::System;

/// Limit of returned lines; the last ones are returned.
const LINES_MAX: usize = 20;
/// Limit of records to read, so that reading ends even if the log grows faster: more than a kernel buffer of 32 MiB holds.
const RECORDS_MAX: usize = 1 << 20;
/// Buffer size in bytes; the kernel's longest record (`CONSOLE_EXT_LOG_MAX`) has 8 KiB.
const RECORD_SIZE: usize = 16 * 1024;

/// Record of the kernel, not of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Time since boot.
    pub(crate) time: Duration,
    pub(crate) text: String,
}

/// Kernel log at a position.
pub(crate) struct Log(io::Result<File>);

impl Log {
    /// Opens the log at its current end.
    pub(crate) fn from_here(system: &System) -> Self {
        let log = Self::from_start(system);
        Self(log.0.and_then(|mut file| file.seek(SeekFrom::End(0)).map(|_| file)))
    }

    /// Opens the log at its oldest record.
    pub(crate) fn from_start(system: &System) -> Self {
        let path = system.path("/dev/kmsg");
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        Self(File::options().read(true).custom_flags(nonblocking).open(path))
    }

    /// New messages of the kernel, without those of programs; the last ones if there are many.
    ///
    /// # Errors
    /// Message of the I/O error.
    pub(crate) fn kernel_lines(&mut self) -> Result<Vec<String>, String> {
        let mut lines: Vec<String> = self.records()?.into_iter().map(|record| record.text).collect();
        lines.drain(..lines.len().saturating_sub(LINES_MAX));
        Ok(lines)
    }

    /// New records of the kernel, without those of programs.
    ///
    /// # Errors
    /// Message of the I/O error.
    pub(crate) fn records(&mut self) -> Result<Vec<Record>, String> {
        let file = self.0.as_mut().map_err(|error| error.to_string())?;
        let mut records = Vec::new();
        let mut buffer = vec![0; RECORD_SIZE];
        for _ in 0..RECORDS_MAX {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    records.extend(text.lines().filter_map(record));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // EPIPE: records were overwritten; the next read continues after the gap.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(records)
    }
}

/// Record of the kernel (facility 0) in a line `priority,sequence,time,flags[,...];text`; `None` for records of programs and
/// for continuation lines with keys and values. The time is in microseconds.
fn record(line: &str) -> Option<Record> {
    let (head, text) = line.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let time = fields.nth(1)?.parse().ok()?;
    (priority >> 3 == 0).then(|| Record { time: Duration::from_micros(time), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_skips_records_of_programs() {
        assert_eq!(
            record("3,1234,5678,-,caller=T1;livepatch: symbol 'x' not found; sorry"),
            Some(Record {
                time: Duration::from_micros(5678),
                text: "livepatch: symbol 'x' not found; sorry".to_owned()
            })
        );
        assert_eq!(record("30,1235,5679,-;systemd[1]: started"), None);
        assert_eq!(record(" SUBSYSTEM=module"), None);
        assert_eq!(record(""), None);
    }
}
