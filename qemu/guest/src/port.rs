// SPDX-License-Identifier: GPL-2.0-or-later
//! Guest end of the virtio-serial port.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use klp_guest::wire::{Decoder, encode};
use klp_guest::{PORT, Reply, Request};

use crate::error::Error;

/// Maximum number of lookups of the port, 10 ms apart. A number, not a time limit: the clock continues while the host
/// gives the guest no CPU.
const LOOKS: u32 = 1000;

/// Open port.
pub(crate) struct Port {
    file: File,
    decoder: Decoder,
}

impl Port {
    /// Finds and opens the port with the name [`PORT`].
    pub(crate) fn open() -> Result<Self, Error> {
        let path = find()?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| Error::new(format!("open {}", path.display()), error))?;
        Ok(Self { file, decoder: Decoder::default() })
    }

    /// Receives the next request; `None` if the host has disconnected.
    pub(crate) fn receive(&mut self) -> io::Result<Option<(Request, Vec<u8>)>> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(frame) = self.decoder.take().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => self.decoder.push(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one reply.
    pub(crate) fn send(&mut self, reply: &Reply, body: &[u8]) -> io::Result<()> {
        self.file.write_all(&encode(reply, body).map_err(io::Error::other)?)
    }

    /// Descriptor for poll(2); a hang-up means that the host has disconnected.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn find() -> Result<PathBuf, Error> {
    let ports = "/sys/class/virtio-ports";
    for _ in 0..LOOKS {
        for entry in fs::read_dir(ports).into_iter().flatten().flatten() {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim_end() == PORT {
                return Ok(PathBuf::from("/dev").join(entry.file_name()));
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let what = format!(
        "find the port {PORT} in {ports} (the kernel needs CONFIG_VIRTIO_PCI and CONFIG_VIRTIO_CONSOLE, built in or loaded from /modules)"
    );
    Err(Error::new(what, io::Error::from(io::ErrorKind::NotFound)))
}
