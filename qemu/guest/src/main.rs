// SPDX-License-Identifier: GPL-2.0-or-later
//! The guest program: PID 1 of an initramfs, or a service of a full system. It connects to the host's port and serves
//! its requests until the host asks for the end or goes away.

mod files;
mod port;
mod process;
mod serve;
mod setup;
mod state;

use std::process::ExitCode;

fn main() -> ExitCode {
    let first = rustix::process::getpid().is_init();
    let result = if first { setup::prepare().and_then(|()| work()) } else { serve::serve() };
    if let Err(error) = &result {
        eprintln!("klp-guest: {error}");
    }
    if first {
        // PID 1 must not end: the kernel would panic, and the host would blame the kernel.
        setup::reset();
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work() -> Result<(), setup::Error> {
    if setup::shell_wanted() { setup::shell() } else { serve::serve() }
}
