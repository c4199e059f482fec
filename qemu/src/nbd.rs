// SPDX-License-Identifier: GPL-2.0-or-later
//! Server of a [`Disk`] for one QEMU: the network block device protocol (NBD, doc/proto.md of NetworkBlockDevice/nbd), fixed
//! newstyle handshake and simple replies. It can cut the power at a request of the guest: it then kills QEMU and answers
//! nothing more.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::volatile::Disk;

const GREETING: u64 = 0x4e42_444d_4147_4943;
const OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// Handshake: fixed newstyle, no zeroes after the reply to EXPORT_NAME.
const HANDSHAKE_FLAGS: u16 = 3;
/// Transmission: the flags are valid; FLUSH and FUA work.
const FLAGS: u16 = 1 | 4 | 8;
const FUA: u16 = 1;
/// Maximum length of an option or of a request, in bytes.
const LENGTH_MAX: u32 = 64 << 20;

mod option {
    pub(super) const EXPORT_NAME: u32 = 1;
    pub(super) const ABORT: u32 = 2;
    pub(super) const INFO: u32 = 6;
    pub(super) const GO: u32 = 7;
}

mod reply {
    pub(super) const ACK: u32 = 1;
    pub(super) const INFO: u32 = 3;
    pub(super) const UNSUPPORTED: u32 = 1 << 31 | 1;
}

mod command {
    pub(super) const READ: u16 = 0;
    pub(super) const WRITE: u16 = 1;
    pub(super) const DISCONNECT: u16 = 2;
    pub(super) const FLUSH: u16 = 3;
}

/// EINVAL and EIO of the protocol.
const INVALID: u32 = 22;
const IO: u32 = 5;

/// Moment of a power cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Number of the write or flush, from 1, that the disk does not do any more.
    pub(crate) at: u64,
    /// Process to kill.
    pub(crate) pid: u32,
}

/// A disk at the end of its QEMU.
pub(crate) struct Served {
    pub(crate) disk: Disk,
}

/// Thread that serves a disk to one QEMU.
pub(crate) struct Server {
    thread: JoinHandle<io::Result<Served>>,
    orders: Sender<Option<Cut>>,
    /// Writes and flushes since the last [`Server::count_from_here`].
    requests: Arc<AtomicU64>,
    was_cut: Arc<AtomicBool>,
}

impl Server {
    /// Serves the disk to the first client of the listener, until it disconnects.
    pub(crate) fn start(disk: Disk, listener: UnixListener) -> Self {
        let (orders, received) = channel();
        let requests = Arc::new(AtomicU64::new(0));
        let was_cut = Arc::new(AtomicBool::new(false));
        let (counted, told) = (Arc::clone(&requests), Arc::clone(&was_cut));
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            let served = Served { disk };
            let session =
                Session { stream, served, orders: received, requests: counted, was_cut: told, cut: None };
            session.serve()
        });
        Self { thread, orders, requests, was_cut }
    }

    /// Counts writes and flushes anew from the next request on, and cuts the power at the given one.
    pub(crate) fn count_from_here(&self, cut: Option<Cut>) {
        self.requests.store(0, Ordering::SeqCst);
        // The thread has ended if QEMU has; the caller then learns of it from its own connection.
        let _ = self.orders.send(cut);
    }

    /// Writes and flushes since the last [`Server::count_from_here`].
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// True if the server cut the power.
    pub(crate) fn was_cut(&self) -> bool {
        self.was_cut.load(Ordering::SeqCst)
    }

    /// The disk, after the end of QEMU.
    pub(crate) fn end(self) -> io::Result<Served> {
        self.thread.join().map_err(|_| io::Error::other("the thread that serves the disk panicked"))?
    }
}

struct Session {
    stream: UnixStream,
    served: Served,
    orders: Receiver<Option<Cut>>,
    requests: Arc<AtomicU64>,
    was_cut: Arc<AtomicBool>,
    cut: Option<Cut>,
}

impl Session {
    fn serve(mut self) -> io::Result<Served> {
        match self.handshake().and_then(|()| self.transmit()) {
            Ok(()) => Ok(self.served),
            // QEMU was killed, or ended without a word.
            Err(error) if is_end(&error) => Ok(self.served),
            Err(error) => Err(error),
        }
    }

    fn handshake(&mut self) -> io::Result<()> {
        self.stream.write_all(&[&GREETING.to_be_bytes()[..], &OPTION.to_be_bytes()].concat())?;
        self.stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
        self.u32()?;
        loop {
            if self.u64()? != OPTION {
                return Err(io::Error::other("the client sent no option"));
            }
            let (number, length) = (self.u32()?, self.u32()?);
            self.bytes(length)?;
            match number {
                option::EXPORT_NAME => {
                    let size = self.served.disk.size();
                    return self.stream.write_all(&[&size.to_be_bytes()[..], &FLAGS.to_be_bytes()].concat());
                }
                option::GO | option::INFO => {
                    let size = self.served.disk.size().to_be_bytes();
                    // Information NBD_INFO_EXPORT has number 0.
                    let info = [&[0; 2][..], &size, &FLAGS.to_be_bytes()].concat();
                    self.option_reply(number, reply::INFO, &info)?;
                    self.option_reply(number, reply::ACK, b"")?;
                    if number == option::GO {
                        return Ok(());
                    }
                }
                option::ABORT => return Err(ErrorKind::UnexpectedEof.into()),
                _ => self.option_reply(number, reply::UNSUPPORTED, b"")?,
            }
        }
    }

    fn option_reply(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let length = u32::try_from(data.len()).map_err(io::Error::other)?;
        let head = [option, kind, length].map(u32::to_be_bytes).concat();
        self.stream.write_all(&[&OPTION_REPLY.to_be_bytes()[..], &head, data].concat())
    }

    fn transmit(&mut self) -> io::Result<()> {
        loop {
            if self.u32()? != REQUEST {
                return Err(io::Error::other("the client sent no request"));
            }
            let (flags, command, cookie) = (self.u16()?, self.u16()?, self.u64()?);
            let (offset, length) = (self.u64()?, self.u32()?);
            let content = if command == command::WRITE { self.bytes(length)? } else { Vec::new() };
            if command == command::DISCONNECT {
                return Ok(());
            }
            if matches!(command, command::WRITE | command::FLUSH) && self.is_cut() {
                return Ok(());
            }
            let mut answer = Vec::new();
            let done = match command {
                command::READ if length <= LENGTH_MAX => {
                    answer.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
                    self.served.disk.read(offset, &mut answer).map_err(|_| IO)
                }
                command::WRITE => self.served.disk.write(offset, &content).map_err(|_| IO),
                command::FLUSH => Ok(()),
                _ => Err(INVALID),
            };
            if done.is_ok() && (command == command::FLUSH || flags & FUA != 0) {
                self.served.disk.flush();
            }
            let error = done.err().unwrap_or_default();
            if error != 0 {
                answer.clear();
            }
            let head = [REPLY, error].map(u32::to_be_bytes).concat();
            self.stream.write_all(&[head.as_slice(), &cookie.to_be_bytes(), &answer].concat())?;
        }
    }

    /// Counts a write or flush. True if the power is cut at this one: QEMU is then killed.
    fn is_cut(&mut self) -> bool {
        if let Some(order) = self.orders.try_iter().last() {
            self.cut = order;
        }
        let requests = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let Some(cut) = self.cut.filter(|cut| requests >= cut.at) else {
            return false;
        };
        let pid = i32::try_from(cut.pid).ok().and_then(rustix::process::Pid::from_raw);
        self.was_cut.store(true, Ordering::SeqCst);
        // A QEMU that has ended by itself needs no end.
        let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        true
    }

    fn bytes(&mut self, length: u32) -> io::Result<Vec<u8>> {
        if length > LENGTH_MAX {
            return Err(io::Error::other(format!("the client announces {length} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u16(&mut self) -> io::Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use klp_base::process::Cmd;

    use super::*;

    struct Client(UnixStream);

    impl Client {
        /// Connects and negotiates as QEMU does: an option that the server does not have, then GO.
        fn new(socket: &std::path::Path, size: u64) -> Self {
            let mut client = Self(UnixStream::connect(socket).unwrap());
            assert_eq!(client.read(18)[..8], GREETING.to_be_bytes());
            client.0.write_all(&3_u32.to_be_bytes()).unwrap();
            client.option(8, b"");
            assert_eq!(client.read(20)[8..16], [8, reply::UNSUPPORTED].map(u32::to_be_bytes).concat());
            client.option(option::GO, &[0; 6]);
            let info = client.read(20 + 12);
            assert_eq!(info[22..30], size.to_be_bytes());
            assert_eq!(client.read(20)[8..16], [option::GO, reply::ACK].map(u32::to_be_bytes).concat());
            client
        }

        fn option(&mut self, number: u32, data: &[u8]) {
            let head = [number, data.len() as u32].map(u32::to_be_bytes).concat();
            self.0.write_all(&[&OPTION.to_be_bytes()[..], &head, data].concat()).unwrap();
        }

        fn request(&mut self, command: u16, offset: u64, length: u32, data: &[u8]) {
            let head = [&REQUEST.to_be_bytes()[..], &[0, 0], &command.to_be_bytes(), b"8 bytes."].concat();
            let place = [&offset.to_be_bytes()[..], &length.to_be_bytes()].concat();
            self.0.write_all(&[&head[..], &place, data].concat()).unwrap();
        }

        /// Error of the reply.
        fn error(&mut self) -> u32 {
            let head = self.read(16);
            assert_eq!((&head[..4], &head[8..]), (&REPLY.to_be_bytes()[..], &b"8 bytes."[..]));
            u32::from_be_bytes(head[4..8].try_into().unwrap())
        }

        fn read(&mut self, length: usize) -> Vec<u8> {
            let mut bytes = vec![0; length];
            self.0.read_exact(&mut bytes).unwrap();
            bytes
        }
    }

    fn served() -> (tempfile::TempDir, Server, Client) {
        let dir = tempfile::tempdir().unwrap();
        let image = tempfile::tempfile().unwrap();
        image.set_len(8192).unwrap();
        let socket = dir.path().join("socket");
        let server = Server::start(Disk::new(image).unwrap(), UnixListener::bind(&socket).unwrap());
        let client = Client::new(&socket, 8192);
        (dir, server, client)
    }

    #[test]
    fn requests_are_answered_and_counted() {
        let (_dir, server, mut client) = served();
        client.request(command::WRITE, 512, 512, &[7; 512]);
        assert_eq!(client.error(), 0);
        server.count_from_here(None);
        client.request(command::FLUSH, 0, 0, b"");
        assert_eq!(client.error(), 0);
        client.request(command::READ, 0, 1024, b"");
        assert_eq!(client.error(), 0);
        assert_eq!(client.read(1024), [[0; 512], [7; 512]].concat());
        client.request(command::WRITE, 8192, 512, &[7; 512]);
        assert_eq!(client.error(), IO);
        client.request(9, 0, 0, b"");
        assert_eq!(client.error(), INVALID);
        assert_eq!((server.requests(), server.was_cut()), (2, false));
        client.request(command::DISCONNECT, 0, 0, b"");
        server.end().unwrap();
    }

    #[test]
    fn a_cut_kills_the_process_and_does_not_do_the_request() {
        let (_dir, server, mut client) = served();
        let mut process = Cmd::new("sleep").arg("1000").spawn().unwrap();
        server.count_from_here(Some(Cut { at: 2, pid: process.pid() }));
        client.request(command::WRITE, 0, 512, &[1; 512]);
        assert_eq!(client.error(), 0);
        client.request(command::WRITE, 0, 512, &[2; 512]);
        let (status, _) = process.wait().unwrap();
        assert!(!status.success() && server.was_cut());
        let mut block = [0; 512];
        server.end().unwrap().disk.read(0, &mut block).unwrap();
        assert_eq!(block, [1; 512]);
    }

    #[test]
    fn another_protocol_is_an_error() {
        let (_dir, server, mut client) = served();
        client.0.write_all(&[0; 64]).unwrap();
        assert!(server.end().is_err());
    }
}
