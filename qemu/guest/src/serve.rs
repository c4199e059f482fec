// SPDX-License-Identifier: GPL-2.0-or-later
//! Loop that answers the host's requests.

use std::fs;
use std::io;

use klp_guest::{Hello, PROTOCOL, Reply, Request};

use crate::error::Error;
use crate::port::Port;
use crate::setup::reset;
use crate::state::KernelLog;
use crate::{files, process};

/// Serves the host until it disconnects. PID 1 does not return after [`Request::PowerOff`].
pub(crate) fn serve() -> Result<(), Error> {
    let mut port = Port::open()?;
    let mut log = KernelLog::open().map_err(|error| Error::new("open /dev/kmsg", error))?;
    port.send(&Reply::Hello(hello()), b"").map_err(|error| Error::new("greet the host", error))?;
    let answered = answer_all(&mut port, &mut log);
    answered.map_err(|error| Error::new("serve the host", error))
}

/// Requests a reboot from the system's init, which also ends this service.
fn reboot_in_order() -> io::Result<()> {
    process::foreground(&["systemctl", "reboot"])
}

fn hello() -> Hello {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let uptime = read("/proc/uptime");
    let seconds: f64 = uptime.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
    Hello {
        protocol: PROTOCOL,
        boot_id: read("/proc/sys/kernel/random/boot_id").trim_end().to_owned(),
        uptime_ms: (seconds * 1000.0) as u64,
        release: rustix::system::uname().release().to_string_lossy().into_owned(),
    }
}

fn answer_all(port: &mut Port, log: &mut KernelLog) -> io::Result<()> {
    while let Some((request, body)) = port.receive()? {
        process::reap();
        let failed =
            |what: String, error: io::Error| Reply::Failed { error: format!("could not {what}: {error}") };
        match request {
            Request::Greet => port.send(&Reply::Hello(hello()), b"")?,
            Request::Put { path, mode, append, checksum } => {
                let put = files::put(&path, mode, append, checksum, &body);
                let reply = put.map_or_else(|error| failed(format!("write {path}"), error), |()| Reply::Done);
                port.send(&reply, b"")?;
            }
            Request::Run(run) => {
                let ended = process::run(port, &run)?;
                let reply =
                    ended.map_or_else(|error| failed(format!("run {:?}", run.argv), error), Reply::Exited);
                port.send(&reply, b"")?;
            }
            // The program has already ended.
            Request::Stop => {}
            Request::Get { patterns } => {
                files::get(port, &patterns)?;
                port.send(&Reply::Done, b"")?;
            }
            Request::State => match log.state() {
                Ok((state, text)) => port.send(&Reply::State(state), &text)?,
                Err(error) => port.send(&failed("read the kernel's state".to_owned(), error), b"")?,
            },
            Request::PowerOff => {
                port.send(&Reply::Bye, b"")?;
                rustix::fs::sync();
                if !rustix::process::getpid().is_init() {
                    return reboot_in_order();
                }
                reset();
            }
        }
    }
    Ok(())
}
