// SPDX-License-Identifier: GPL-2.0-or-later
//! Tasks of PID 1 of an initramfs: file systems, applets, a reset at the end.

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
/// File systems that some kernels do not have; a case that needs one finds it missing.
const OPTIONAL_MOUNTS: [(&str, &str); 2] =
    [("tracefs", "/sys/kernel/tracing"), ("debugfs", "/sys/kernel/debug")];

/// Directory of the modules for the connection to the host, loaded in the order of their names. It is absent for
/// kernels with built-in drivers.
const MODULES: &str = "/modules";

/// Mounts the file systems that programs expect.
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

/// Loads the drivers and installs busybox's applets in /bin.
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

/// True if the kernel command line has this parameter.
pub(crate) fn wants(wanted: &str) -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_whitespace().any(|word| word == wanted)
}

/// Runs a shell with job control on the console until it ends.
pub(crate) fn shell() -> Result<(), Error> {
    process::foreground(&["/bin/busybox", "setsid", "/bin/busybox", "cttyhack", "/bin/busybox", "sh", "-l"])
        .map_err(|error| Error::new("run the shell", error))
}

/// Resets the machine; QEMU, started with `-no-reboot`, ends. A reset also works on machines without ACPI, where a
/// power-off only halts.
pub(crate) fn reset() -> ! {
    loop {
        if let Err(error) = reboot(RebootCommand::Restart) {
            eprintln!("klp-guest: could not reset the machine: {error}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
