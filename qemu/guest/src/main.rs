// SPDX-License-Identifier: GPL-2.0-or-later
//! Guest program: PID 1 of an initramfs, or a service of a full system. It connects to the host's port and serves
//! requests until the host requests a shutdown or disconnects.

mod error;
mod files;
mod port;
mod process;
mod serve;
mod setup;
mod state;
mod switch;

use std::process::ExitCode;

use klp_guest::{DISK_WORD, SHELL_WORD};

use crate::error::Error;

fn main() -> ExitCode {
    let first = rustix::process::getpid().is_init();
    let result = if first { prepare_and_work() } else { serve::serve() };
    if let Err(error) = &result {
        eprintln!("klp-guest: {error}");
    }
    if first {
        // PID 1 must not end: the kernel would panic, and the verdict would blame the kernel.
        setup::reset();
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn prepare_and_work() -> Result<(), Error> {
    setup::mount_all()?;
    if setup::wants(DISK_WORD) {
        return switch::to_disk().map(|never| match never {});
    }
    setup::prepare()?;
    work()
}

fn work() -> Result<(), Error> {
    if setup::wants(SHELL_WORD) { setup::shell() } else { serve::serve() }
}
