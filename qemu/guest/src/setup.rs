// SPDX-License-Identifier: GPL-2.0-or-later
//! Duties of PID 1 of an initramfs: file systems, applets, a reset at the end.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, init_module, reboot};

use crate::error::Error;
use crate::process;

const MOUNTS: [(&str, &str); 5] =
    [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp"), ("tmpfs", "/run")];
/// Not in every kernel; a case that needs one sees that it is missing.
const OPTIONAL_MOUNTS: [(&str, &str); 2] =
    [("tracefs", "/sys/kernel/tracing"), ("debugfs", "/sys/kernel/debug")];

/// Modules that the kernel needs to reach the host, in the order of their names; kernels that have the drivers built in
/// come without.
const MODULES: &str = "/modules";

/// Mounts what a program expects to find.
pub(crate) fn mount_all() -> Result<(), Error> {
    for (kind, target) in MOUNTS {
        fs::create_dir_all(target).map_err(|error| Error::new(format!("make {target}"), error))?;
        mount_one(kind, target).map_err(|error| Error::new(format!("mount {kind} on {target}"), error))?;
    }
    for (kind, target) in OPTIONAL_MOUNTS {
        if Path::new(target).is_dir() {
            mount_one(kind, target)
                .map_err(|error| Error::new(format!("mount {kind} on {target}"), error))?;
        }
    }
    Ok(())
}

/// Loads the drivers and puts busybox's applets into /bin.
pub(crate) fn prepare() -> Result<(), Error> {
    load_modules()?;
    process::foreground(&["/bin/busybox", "--install", "-s", "/bin"])
        .map_err(|error| Error::new("run /bin/busybox --install (it must be a static program)", error))
}

pub(crate) fn load_modules() -> Result<(), Error> {
    let mut files: Vec<_> =
        fs::read_dir(MODULES).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let failed = |source: io::Error| Error::new(format!("load {}", file.display()), source);
        init_module(&fs::read(&file).map_err(failed)?, c"").map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

fn mount_one(kind: &str, target: &str) -> io::Result<()> {
    mount(kind, target, kind, MountFlags::NOSUID, None).map_err(Into::into)
}

/// True where the kernel's command line has this parameter.
pub(crate) fn wants(wanted: &str) -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_whitespace().any(|word| word == wanted)
}

/// A shell on the console, with job control, until it ends.
pub(crate) fn shell() -> Result<(), Error> {
    process::foreground(&["/bin/busybox", "setsid", "/bin/busybox", "cttyhack", "/bin/busybox", "sh", "-l"])
        .map_err(|error| Error::new("run the shell", error))
}

/// Resets the machine; QEMU, started with `-no-reboot`, ends. A reset works on machines without ACPI too, where
/// powering off only halts.
pub(crate) fn reset() -> ! {
    loop {
        if let Err(error) = reboot(RebootCommand::Restart) {
            eprintln!("klp-guest: could not reset the machine: {error}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
