// SPDX-License-Identifier: GPL-2.0-or-later
//! Command line of QEMU for a virtual machine.

use std::io::ErrorKind;
use std::path::Path;

use klp_base::process::{Cmd, find_program};
use klp_guest::PORT;

use crate::backend::Backend;
use crate::error::Error;
use crate::guest::{Kernel, table};

/// TCP port on which QEMU waits for a debugger.
pub(crate) const GDB_PORT: u16 = 1234;

/// The kernel's watchdogs use the guest's clock, which continues while the host gives the guest no CPU. Watchdogs that
/// complain after seconds are off, the others wait for minutes. The host detects hangs.
const LOAD_PROOF: &str = "nowatchdog rcupdate.rcu_cpu_stall_timeout=300 workqueue.watchdog_thresh=0 \
    sysctl.kernel.hung_task_timeout_secs=1200";

/// Backing of the guest's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory<'a> {
    /// Memory of the QEMU process.
    Anonymous,
    /// File that receives every write of the guest, for a snapshot. QEMU has a monitor.
    Saved(&'a Path),
    /// Copy-on-write mapping of such a file. QEMU does not boot but waits for the remaining state, and has a monitor.
    Restored(&'a Path),
}

/// Disk with a full system.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SystemDisk<'a> {
    /// Image file (qcow2).
    Image(&'a Path),
    /// Socket of a server (NBD) with a raw disk.
    Served(&'a Path),
}

impl SystemDisk<'_> {
    /// Value of `-drive`.
    fn drive(self) -> String {
        let backend = match self {
            // The file is not needed after a crash of the host: no flush.
            Self::Image(path) => format!("format=qcow2,cache=unsafe,file={}", escaped(path)),
            // The guest's flushes are the server's.
            Self::Served(socket) => format!(
                "format=raw,cache=writeback,file.driver=nbd,file.server.type=unix,file.server.path={}",
                escaped(socket)
            ),
        };
        format!("if=none,id=disk,{backend}")
    }
}

/// Parameters of a virtual machine.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) backend: Backend,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    /// Additional kernel parameters.
    pub(crate) append: &'a str,
    /// CPU model under TCG; `None` for the default. KVM uses the host's CPU.
    pub(crate) cpu_model: Option<&'a str>,
    /// True to stop before the first instruction and wait for a debugger.
    pub(crate) gdb: bool,
    pub(crate) disk: Option<SystemDisk<'a>>,
    /// Port of the host's loopback interface that leads to port 22 of the guest. Nothing else leads into the guest's network,
    /// and nothing out of it.
    pub(crate) ssh: Option<u16>,
    pub(crate) memory: Memory<'a>,
}

/// Destination of the serial console, and sockets of the host that QEMU connects to.
pub(crate) enum ConsoleMode<'a> {
    /// Console to a file.
    Console(&'a Path),
    /// Console to a file, the guest program's port and the monitor to sockets.
    Guest { console: &'a Path, socket: &'a Path, monitor: Option<&'a Path> },
    /// Console to this process's terminal.
    Terminal,
}

impl Machine<'_> {
    /// Command that boots the machine.
    ///
    /// `setpriv` makes the kernel kill QEMU when the thread that started it ends, also after a crash of this process.
    /// `panic=-1` with `-no-reboot` makes a panic end QEMU at once. An oops does not panic: the case observes its
    /// effects, and the kernel log decides the verdict. CPUs are separate sockets, which kernels without ACPI also
    /// support.
    pub(crate) fn cmd(&self, initrd: Option<&Path>, mode: &ConsoleMode<'_>) -> Result<Cmd, Error> {
        let arch = table(self.kernel.arch);
        let hint = format!("{} is not installed (Debian: apt-get install {})", arch.qemu, arch.package);
        if find_program(arch.qemu).is_none() {
            let source = std::io::Error::new(ErrorKind::NotFound, hint);
            return Err(Error::io("start", Path::new(arch.qemu))(source));
        }
        let mut cmd = Cmd::new("setpriv")
            .hint("setpriv is part of util-linux (Debian: apt-get install util-linux)")
            .args(["--pdeathsig", "KILL", "--", arch.qemu])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(self.arguments())
            .arg("-kernel")
            .arg(&self.kernel.image)
            .args(self.memory_arguments());
        if let Some(initrd) = initrd {
            cmd = cmd.arg("-initrd").arg(initrd);
        }
        cmd = match mode {
            ConsoleMode::Console(path) => cmd.args(serial(path)),
            ConsoleMode::Guest { console, socket, monitor } => cmd
                .args(serial(console))
                .args(port(socket))
                .args(monitor.iter().flat_map(|socket| monitor_arguments(socket))),
            ConsoleMode::Terminal => {
                cmd.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            }
        };
        if let Some(disk) = self.disk {
            cmd = cmd.args(["-drive", &disk.drive(), "-device", "virtio-blk-pci,drive=disk"]);
        }
        if let Some(port) = self.ssh {
            let network = format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22");
            cmd = cmd.args(["-netdev", &network, "-device", "virtio-net-pci,netdev=net"]);
        }
        if self.gdb {
            cmd = cmd.args(["-S", "-gdb", &format!("tcp:127.0.0.1:{GDB_PORT}")]);
        }
        Ok(cmd)
    }

    /// Arguments without paths: with the kernel, the initramfs and the devices, they determine the guest's state.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let arch = table(self.kernel.arch);
        let cpu = match self.backend {
            Backend::Tcg | Backend::Counted => self.cpu_model.unwrap_or(arch.tcg_cpu),
            Backend::Kvm => "host",
        };
        let append = format!(
            "console={} rdinit=/init panic=-1 {LOAD_PROOF} loglevel=7 printk.time=1 {} {}",
            arch.console, arch.append, self.append
        );
        let (cpus, memory) = (self.cpus, self.memory_mib.to_string());
        let smp = format!("{cpus},sockets={cpus},cores=1");
        let usual = ["-machine", arch.machine, "-accel", self.backend.argument(), "-cpu", cpu];
        let more = ["-m", &memory, "-smp", &smp, "-append", append.trim_end()];
        usual.iter().chain(self.backend.more()).chain(&more).map(|&argument| argument.to_owned()).collect()
    }

    /// Arguments for memory in a file. The guest's clocks stop during a save: the hardware clock also uses the virtual
    /// machine's time (`-rtc clock=vm`).
    fn memory_arguments(&self) -> Vec<String> {
        let (file, share, incoming) = match self.memory {
            Memory::Anonymous => return Vec::new(),
            Memory::Saved(file) => (file, "on", None),
            Memory::Restored(file) => (file, "off", Some(["-incoming", "defer"])),
        };
        let object = format!(
            "memory-backend-file,id=ram,size={}M,share={share},mem-path={}",
            self.memory_mib,
            escaped(file)
        );
        ["-object", &object, "-machine", "memory-backend=ram", "-rtc", "clock=vm"]
            .into_iter()
            .chain(incoming.into_iter().flatten())
            .map(ToOwned::to_owned)
            .collect()
    }
}

/// Escapes a path in an option: a comma separates values, a double comma is part of a value.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

fn serial(console: &Path) -> [String; 4] {
    let chardev = format!("file,id=console,append=on,path={}", escaped(console));
    ["-chardev".to_owned(), chardev, "-serial".to_owned(), "chardev:console".to_owned()]
}

fn monitor_arguments(socket: &Path) -> [String; 4] {
    let chardev = format!("socket,id=monitor,path={},server=off", escaped(socket));
    ["-chardev".to_owned(), chardev, "-mon".to_owned(), "chardev=monitor,mode=control".to_owned()]
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
