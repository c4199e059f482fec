// SPDX-License-Identifier: GPL-2.0-or-later
//! What a boot costs without us: the measure that the cost of a case is held against.

use std::time::Duration;

use klp_base::events::Sink;

use crate::accel;
use crate::console;
use crate::error::Error;
use crate::initramfs::Initramfs;
use crate::machine::{Machine, NoVm, run_bare};
use crate::suite::Options;
use crate::target::Target;

/// What one run cost.
#[derive(Clone, Debug)]
pub struct Cost {
    /// CPU time of QEMU.
    pub cpu: Duration,
    /// From QEMU's start to its end.
    pub wall: Duration,
    /// What ran it.
    pub accel: String,
}

/// The least that a system with a shell does. A reset ends QEMU, with and without ACPI.
const INIT: &str = "#!/bin/busybox sh\nexec /bin/busybox reboot -f\n";

/// Boots the kernel to a bare busybox shell whose script does nothing but end the machine, on the same virtual
/// hardware and with the same command line as a case.
///
/// # Errors
/// It could not be booted, or did not end well.
pub fn bare_boot(target: &Target, options: &Options, sink: &dyn Sink) -> Result<Cost, Error> {
    let accel = accel::decide(options.accel, target, options.deadlines, &options.state, sink)?;
    let machine = Machine {
        kernel: &target.kernel,
        backend: accel.backend,
        cpus: 1,
        memory_mib: options.memory_mib,
        append: "",
        cpu_model: None,
        gdb: false,
        disk: None,
    };
    let root = Initramfs::bare(&target.files.busybox, INIT)?;
    match run_bare(&machine, &root, options.deadlines.boot) {
        Ok(end) => Ok(Cost { cpu: end.cpu, wall: end.wall, accel: accel.text.to_owned() }),
        Err(NoVm::Host(error)) => Err(error),
        Err(NoVm::Died(death)) => Err(Error::Guest {
            kernel: target.kernel.id.clone(),
            reason: death.reason,
            console: console::tail(&death.end.console.text),
        }),
    }
}
