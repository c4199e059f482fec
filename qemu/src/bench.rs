// SPDX-License-Identifier: GPL-2.0-or-later
//! Cost of a bare boot, the baseline for the cost of a case.

use std::time::Duration;

use klp_base::events::Sink;

use crate::accel;
use crate::console;
use crate::error::Error;
use crate::guest::Guest;
use crate::initramfs::Initramfs;
use crate::machine::{Machine, Memory};
use crate::options::Options;
use crate::vm::{BootError, run_bare};

/// Cost of one run.
#[derive(Clone, Debug)]
pub struct Cost {
    /// CPU time of QEMU.
    pub cpu: Duration,
    /// Wall time from QEMU's start to its end.
    pub wall: Duration,
    /// Acceleration.
    pub accel: String,
}

/// Minimal init script of a system with a shell. A reset ends QEMU, with and without ACPI.
const INIT: &str = "#!/bin/busybox sh\nexec /bin/busybox reboot -f\n";

/// Boots the kernel to a bare busybox shell whose script only resets the machine. Virtual hardware and command line are
/// those of a case.
///
/// # Errors
/// The boot failed, or the machine did not end as expected.
pub fn bare_boot(guest: &Guest, options: &Options, sink: &dyn Sink) -> Result<Cost, Error> {
    let accel = accel::decide(options.accel, guest, options.deadlines, &options.state, sink)?;
    let machine = Machine {
        kernel: &guest.kernel,
        backend: accel.backend,
        cpus: 1,
        memory_mib: options.memory_mib,
        append: "",
        cpu_model: None,
        gdb: false,
        disk: None,
        ssh: None,
        memory: Memory::Anonymous,
    };
    let root = Initramfs::bare(&guest.files.busybox, INIT)?;
    match run_bare(&machine, &root, options.deadlines.boot) {
        Ok(end) => Ok(Cost { cpu: end.cpu, wall: end.wall, accel: accel.text.to_owned() }),
        Err(BootError::Host(error)) => Err(error),
        Err(BootError::Exited(exit)) => Err(Error::Guest {
            kernel: guest.kernel.id.clone(),
            reason: exit.reason,
            console: console::tail(&exit.end.console.text),
        }),
    }
}
