// SPDX-License-Identifier: GPL-2.0-or-later
//! A virtual machine as QEMU's command line.

use std::io::ErrorKind;
use std::path::Path;

use klp_base::process::{Cmd, find_program};
use klp_guest::PORT;

use crate::backend::Backend;
use crate::error::Error;
use crate::guest::Kernel;

/// TCP port on which QEMU waits for a debugger.
pub(crate) const GDB_PORT: u16 = 1234;

/// The kernel's watchdogs go by the guest's clock, which goes on while the host gives the guest no CPU: those that complain
/// after seconds are off, the others wait for minutes. The host finds what hangs.
const LOAD_PROOF: &str = "nowatchdog rcupdate.rcu_cpu_stall_timeout=300 workqueue.watchdog_thresh=0 \
    sysctl.kernel.hung_task_timeout_secs=1200";

/// What to boot, and how.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) backend: Backend,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    /// More words for the kernel's command line.
    pub(crate) append: &'a str,
    /// The processor that is emulated; the plain one where there is none. Acceleration has the host's.
    pub(crate) cpu_model: Option<&'a str>,
    /// Stop before the first instruction and wait for a debugger.
    pub(crate) gdb: bool,
    /// A disk image (qcow2) with a full system.
    pub(crate) disk: Option<&'a Path>,
}

/// Where the serial console goes, and whether there is a port for the guest program.
pub(crate) enum ConsoleMode<'a> {
    /// Console to a file.
    Console(&'a Path),
    /// Console to a file, the guest's port to a socket on which the host listens.
    Guest { console: &'a Path, socket: &'a Path },
    /// Console to this process's terminal.
    Terminal,
}

impl Machine<'_> {
    /// The command that boots it.
    ///
    /// `setpriv` asks the kernel to kill QEMU when the thread that started it ends, however this process dies.
    /// `panic=-1` with `-no-reboot` makes a panic end QEMU at once. An oops does not panic: the case sees its effects,
    /// and is judged by the kernel's log. CPUs are separate sockets, which kernels without ACPI understand too.
    pub(crate) fn cmd(&self, initrd: &Path, mode: &ConsoleMode<'_>) -> Result<Cmd, Error> {
        let arch = self.kernel.arch.table();
        let hint = format!("{} is not installed (Debian: apt-get install {})", arch.qemu, arch.package);
        if find_program(arch.qemu).is_none() {
            let source = std::io::Error::new(ErrorKind::NotFound, hint);
            return Err(Error::io("start", Path::new(arch.qemu))(source));
        }
        let cpu = match self.backend {
            Backend::Tcg | Backend::Counted => self.cpu_model.unwrap_or(arch.tcg_cpu),
            Backend::Kvm => "host",
        };
        let append = format!(
            "console={} rdinit=/init panic=-1 {LOAD_PROOF} loglevel=7 printk.time=1 {} {}",
            arch.console, arch.append, self.append
        );
        let cpus = self.cpus;
        let mut cmd = Cmd::new("setpriv")
            .hint("setpriv is part of util-linux (Debian: apt-get install util-linux)")
            .args(["--pdeathsig", "KILL", "--", arch.qemu])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-machine", arch.machine, "-accel", self.backend.argument(), "-cpu", cpu])
            .args(self.backend.more())
            .args(["-m", &self.memory_mib.to_string(), "-smp", &format!("{cpus},sockets={cpus},cores=1")])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", append.trim_end()]);
        cmd = match mode {
            ConsoleMode::Console(path) => cmd.args(serial(path)),
            ConsoleMode::Guest { console, socket } => cmd.args(serial(console)).args(port(socket)),
            ConsoleMode::Terminal => {
                cmd.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            }
        };
        if let Some(disk) = self.disk {
            // What the host loses in a crash is of no use to anybody: nothing is flushed to it.
            let drive = format!("if=none,id=disk,format=qcow2,cache=unsafe,file={}", escaped(disk));
            cmd = cmd.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]);
        }
        if self.gdb {
            cmd = cmd.args(["-S", "-gdb", &format!("tcp:127.0.0.1:{GDB_PORT}")]);
        }
        Ok(cmd)
    }
}

/// QEMU reads commas in these options as separators; doubled they are part of the value.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

fn serial(console: &Path) -> [String; 4] {
    let chardev = format!("file,id=console,path={}", escaped(console));
    ["-chardev".to_owned(), chardev, "-serial".to_owned(), "chardev:console".to_owned()]
}

fn port(socket: &Path) -> [String; 6] {
    [
        "-chardev".to_owned(),
        format!("socket,id=guest,path={},server=off", escaped(socket)),
        "-device".to_owned(),
        "virtio-serial-pci".to_owned(),
        "-device".to_owned(),
        format!("virtserialport,chardev=guest,name={PORT}"),
    ]
}
