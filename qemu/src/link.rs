// SPDX-License-Identifier: GPL-2.0-or-later
//! Host end of the virtio-serial port.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use klp_guest::wire::{Decoder, WireError, encode};
use klp_guest::{Reply, Request};

/// Errors of the connection to a guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// No answer, although the host gave the guest this time.
    #[error("no answer within {:.0} s", .0.as_secs_f64())]
    Deadline(Duration),
    /// No answer, and the host gave the guest too little time to call it hung.
    #[error(
        "no answer, but the host is too busy to say that the guest hangs: in {:.0} s it gave the guest {:.1} s of the {:.0} s \
         that it may take; try again with less load on the host",
        passed.as_secs_f64(), given.as_secs_f64(), limit.as_secs_f64()
    )]
    Starved {
        /// Limit.
        limit: Duration,
        /// Time given to the guest.
        given: Duration,
        /// Wall time.
        passed: Duration,
    },
    /// QEMU ended.
    #[error("the machine ended")]
    Closed,
    /// The received bytes are not a reply.
    #[error("the guest program does not speak our protocol: {0}")]
    Wire(#[from] WireError),
    /// The reply does not match the request.
    #[error("the guest program answered {0}")]
    Unexpected(String),
    /// The monitor refused a command.
    #[error("QEMU's monitor answered {0}")]
    Monitor(String),
    /// I/O error of the socket.
    #[error("the connection to QEMU failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Connection to the guest program.
pub(crate) struct Link {
    stream: UnixStream,
    decoder: Decoder,
}

impl Link {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        Ok(Self { stream, decoder: Decoder::default() })
    }

    /// Sends a request. `left` returns the time until its next call, or ends the wait.
    pub(crate) fn send(
        &mut self,
        request: &Request,
        body: &[u8],
        mut left: impl FnMut() -> Result<Duration, LinkError>,
    ) -> Result<(), LinkError> {
        let frame = encode(request, body)?;
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(left()?))?;
            match self.stream.write(rest) {
                Ok(length) => rest = rest.get(length..).unwrap_or_default(),
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives the next reply. `left` as in [`Link::send`].
    pub(crate) fn receive(
        &mut self,
        mut left: impl FnMut() -> Result<Duration, LinkError>,
    ) -> Result<(Reply, Vec<u8>), LinkError> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(frame) = self.decoder.take()? {
                return Ok(frame);
            }
            self.stream.set_read_timeout(Some(left()?))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(length) => self.decoder.push(buffer.get(..length).unwrap_or_default()),
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_end_and_noise_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut link = Link::new(ours).unwrap();
        let short = Duration::from_millis(1);
        let mut asked = 0;
        let silent = link.receive(|| {
            asked += 1;
            if asked < 3 { Ok(short) } else { Err(LinkError::Deadline(short)) }
        });
        assert!(matches!(silent, Err(LinkError::Deadline(_))));
        (&theirs).write_all(&encode(&Reply::Done, b"").unwrap()).unwrap();
        assert_eq!(link.receive(|| Ok(short)).unwrap().0, Reply::Done);
        drop(theirs);
        assert!(matches!(link.receive(|| Ok(short)), Err(LinkError::Closed)));
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(&[255; 64]).unwrap();
        assert!(matches!(Link::new(ours).unwrap().receive(|| Ok(short)), Err(LinkError::Wire(_))));
    }
}
