// SPDX-License-Identifier: GPL-2.0-or-later
//! Reader of new kernel log records, from `/dev/kmsg` (`Documentation/ABI/testing/dev-kmsg`).

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::model::system::System;

/// Limit of returned lines; the last ones are returned.
const LINES_MAX: usize = 20;
/// Limit of records to read, so that reading ends even if the log grows faster.
const RECORDS_MAX: usize = 10_000;
/// Buffer size in bytes; the kernel's longest record (`CONSOLE_EXT_LOG_MAX`) has 8 KiB.
const RECORD_SIZE: usize = 16 * 1024;

/// Kernel log, positioned at its end at the time of construction.
pub(crate) struct Log(io::Result<File>);

impl Log {
    /// Opens the log at its current end.
    pub(crate) fn from_here(system: &System) -> Self {
        let path = system.path("/dev/kmsg");
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let opened = File::options().read(true).custom_flags(nonblocking).open(path);
        Self(opened.and_then(|mut file| file.seek(SeekFrom::End(0)).map(|_| file)))
    }

    /// New messages of the kernel, without those of programs.
    ///
    /// # Errors
    /// Message of the I/O error.
    pub(crate) fn kernel_lines(&mut self) -> Result<Vec<String>, String> {
        let file = self.0.as_mut().map_err(|error| error.to_string())?;
        let mut lines = Vec::new();
        let mut buffer = vec![0; RECORD_SIZE];
        for _ in 0..RECORDS_MAX {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    lines.extend(text.lines().filter_map(message).map(str::to_owned));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // EPIPE: records were overwritten; the next read continues after the gap.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        lines.drain(..lines.len().saturating_sub(LINES_MAX));
        Ok(lines)
    }
}

/// Text of a record `priority,sequence,time,flags[,...];text` of the kernel (facility 0); `None` for records of programs and
/// for continuation lines with keys and values.
fn message(line: &str) -> Option<&str> {
    let (head, text) = line.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    (priority >> 3 == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn message_skips_records_of_programs() {
        assert_eq!(
            message("3,1234,5678,-;livepatch: symbol 'x' not found; sorry"),
            Some("livepatch: symbol 'x' not found; sorry")
        );
        assert_eq!(message("30,1235,5679,-;systemd[1]: started"), None);
        assert_eq!(message(" SUBSYSTEM=module"), None);
        assert_eq!(message(""), None);
    }
}
