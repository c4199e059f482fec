// SPDX-License-Identifier: GPL-2.0-or-later
//! Client of QEMU's monitor (QMP, docs/interop/qmp-spec.txt of QEMU): JSON objects, one per line.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use klp_base::process::shell_quote;
use serde_json::{Value, json};

use crate::link::{LinkError, is_timeout};

/// Maximum length of a line, in bytes.
const LINE_MAX: usize = 1 << 20;
/// Interval between two queries for the state of a migration.
const POLL: Duration = Duration::from_millis(2);

/// Connection to the monitor, in command mode.
pub(crate) struct Monitor {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Monitor {
    /// Takes over a new connection from QEMU. `left` as in [`crate::link::Link::send`].
    pub(crate) fn new(
        stream: UnixStream,
        mut left: impl FnMut() -> Result<Duration, LinkError>,
    ) -> Result<Self, LinkError> {
        stream.set_nonblocking(false)?;
        let mut monitor = Self { stream, bytes: Vec::new() };
        let greeting = monitor.line(&mut left)?;
        if greeting.get("QMP").is_none() {
            return Err(LinkError::Monitor(greeting.to_string()));
        }
        monitor.command("qmp_capabilities", &json!({}), &mut left)?;
        Ok(monitor)
    }

    /// Writes the state of devices and CPUs to `file`. The guest's memory stays in its backing file
    /// (`x-ignore-shared`). The machine is stopped afterwards.
    pub(crate) fn save(
        &mut self,
        file: &Path,
        mut left: impl FnMut() -> Result<Duration, LinkError>,
    ) -> Result<(), LinkError> {
        self.leave_memory_out(&mut left)?;
        let uri = format!("exec:cat > {}", shell_quote(file.as_os_str()));
        self.command("migrate", &json!({ "uri": uri }), &mut left)?;
        self.await_migration(&mut left)
    }

    /// Reads the state of devices and CPUs from `file`; the guest then runs. QEMU ends if the state is unreadable.
    pub(crate) fn restore(
        &mut self,
        file: &Path,
        mut left: impl FnMut() -> Result<Duration, LinkError>,
    ) -> Result<(), LinkError> {
        self.leave_memory_out(&mut left)?;
        let uri = format!("exec:cat {}", shell_quote(file.as_os_str()));
        self.command("migrate-incoming", &json!({ "uri": uri }), &mut left)?;
        self.await_migration(&mut left)
    }

    /// Ends QEMU.
    pub(crate) fn quit(
        &mut self,
        left: impl FnMut() -> Result<Duration, LinkError>,
    ) -> Result<(), LinkError> {
        match self.command("quit", &json!({}), left) {
            Ok(_) | Err(LinkError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn leave_memory_out(
        &mut self,
        left: impl FnMut() -> Result<Duration, LinkError>,
    ) -> Result<(), LinkError> {
        let capabilities = json!([{ "capability": "x-ignore-shared", "state": true }]);
        self.command("migrate-set-capabilities", &json!({ "capabilities": capabilities }), left).map(drop)
    }

    fn await_migration(
        &mut self,
        mut left: impl FnMut() -> Result<Duration, LinkError>,
    ) -> Result<(), LinkError> {
        loop {
            let answer = self.command("query-migrate", &json!({}), &mut left)?;
            match answer.get("status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => return Err(LinkError::Monitor(answer.to_string())),
                _ => std::thread::sleep(POLL),
            }
        }
    }

    /// Runs a command and returns its value. Events are skipped.
    fn command(
        &mut self,
        name: &str,
        arguments: &Value,
        mut left: impl FnMut() -> Result<Duration, LinkError>,
    ) -> Result<Value, LinkError> {
        let line = format!("{}\n", json!({ "execute": name, "arguments": arguments }));
        // A command fits into the socket's buffer, so the write does not block.
        self.stream.write_all(line.as_bytes())?;
        loop {
            let mut answer = self.line(&mut left)?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(LinkError::Monitor(format!("{error} to {name}")));
            }
        }
    }

    fn line(&mut self, mut left: impl FnMut() -> Result<Duration, LinkError>) -> Result<Value, LinkError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = self.bytes.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map_err(|_| LinkError::Monitor(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.bytes.len() > LINE_MAX {
                return Err(LinkError::Monitor(format!("a line of more than {LINE_MAX} bytes")));
            }
            self.stream.set_read_timeout(Some(left()?))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(length) => self.bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io::Error::into(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monitor whose peer has written `lines`.
    fn monitor(lines: &str) -> (Result<Monitor, LinkError>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(lines.as_bytes()).unwrap();
        let within = Duration::from_millis(1);
        (Monitor::new(ours, || Ok(within)), theirs)
    }

    #[test]
    fn events_are_skipped_and_errors_are_quoted() {
        let (made, theirs) = monitor("{\"QMP\":{}}\n{\"event\":\"RESUME\"}\n{\"return\":{}}\n");
        let mut made = made.unwrap();
        (&theirs).write_all(b"{\"error\":{\"desc\":\"no such file\"}}\n").unwrap();
        let error = made.restore(Path::new("/x"), || Ok(Duration::from_millis(1))).unwrap_err().to_string();
        assert!(error.contains("no such file") && error.contains("migrate-set-capabilities"), "{error}");
        drop(theirs);
        assert!(made.quit(|| Ok(Duration::from_millis(1))).is_ok());
    }

    #[test]
    fn another_greeting_is_refused() {
        let (made, _theirs) = monitor("{\"hello\":1}\n");
        assert!(matches!(made.err(), Some(LinkError::Monitor(_))));
        let (made, _theirs) = monitor("no JSON\n");
        assert!(matches!(made.err(), Some(LinkError::Monitor(_))));
    }
}
