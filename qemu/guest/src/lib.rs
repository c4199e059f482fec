// SPDX-License-Identifier: GPL-2.0-or-later
//! Protocol between host and guest over a virtio-serial port.
//!
//! The guest sends the first message ([`Reply::Hello`]). After that, the host sends requests and the guest replies, one
//! request at a time. [`wire`] defines the encoding. The protocol is the same for a guest program that is PID 1 of an
//! initramfs and for one that is a service of a full system.

pub mod wire;

use serde::{Deserialize, Serialize};

// Rebuilt for each checkout; the reason is in `.cargo/config.toml`.
const _: Option<&str> = option_env!("FERROGRAFT_CHECKOUT");

/// Name of the virtio-serial port, as in `/sys/class/virtio-ports/*/name`.
pub const PORT: &str = "org.ferrograft.guest";
/// Version of the protocol. Both sides come from one build; a difference means a stale guest program.
pub const PROTOCOL: u32 = 3;
/// Kernel parameter that makes PID 1 run a shell on the console instead of the protocol.
pub const SHELL_WORD: &str = "ferrograft.shell";
/// Kernel parameter that makes PID 1 start the init of the full system on the first disk.
pub const DISK_WORD: &str = "ferrograft.disk";

/// Requests of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Write the frame's body to a file and create its directories. Answered with [`Reply::Done`].
    Put {
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: u32,
        /// True to append instead of replacing the file: larger files come in several frames.
        append: bool,
        /// [`wire::checksum`] of the frame's body. On a mismatch the request is refused, and nothing is written.
        checksum: u64,
    },
    /// Run a program. Answered with any number of [`Reply::Output`] and [`Reply::UserLine`], and one [`Reply::Exited`].
    Run(Run),
    /// End the running program with its process group. The host decides how long a program may run: the guest's clock
    /// continues while the host gives the guest no CPU. No separate reply: [`Reply::Exited`] of [`Request::Run`] is the
    /// reply, and nothing is left to do if the program has just ended.
    Stop,
    /// Send files. Answered with [`Reply::File`] and [`Reply::NoFile`] for each, then [`Reply::Done`].
    Get {
        /// Absolute paths; `*` matches any part of one name, a last component `**` everything below.
        patterns: Vec<String>,
    },
    /// Send the kernel's state. Answered with [`Reply::State`].
    State,
    /// Send Hello again. Answered with [`Reply::Hello`], which proves that a restored guest is the saved one.
    Greet,
    /// End the machine. Answered with [`Reply::Bye`], after which the guest resets.
    PowerOff,
}

/// Program to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Program (a path, or a name in the guest's PATH) and arguments.
    pub argv: Vec<String>,
    /// Environment, except PATH and HOME.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
}

/// Replies of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// First message, once per start of the guest program.
    Hello(Hello),
    /// The frame's body is output of the running program.
    Output {
        /// Stream of the program.
        stream: Stream,
    },
    /// The frame's body is a line that a program, not the kernel, has just written to the kernel log.
    UserLine,
    /// The program ended and nothing of its process group is left.
    Exited(Exit),
    /// The frame's body is a file or part of a file.
    File {
        /// Absolute path.
        path: String,
        /// True for the last part of the file.
        last: bool,
    },
    /// A file that cannot be read.
    NoFile {
        /// Absolute path.
        path: String,
        /// I/O error.
        error: String,
    },
    /// Kernel state. The frame's body is the kernel log since the last request for it (or since Hello): lines
    /// `<priority> <microseconds> <text>`. A priority is a level plus eight times a facility; the kernel's facility is
    /// 0, and the kernel lets no program use it.
    State(State),
    /// The request was carried out.
    Done,
    /// The request could not be carried out.
    Failed {
        /// Failed action, its object and the cause.
        error: String,
    },
    /// The guest resets now.
    Bye,
}

/// Identity of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the guest program.
    pub protocol: u32,
    /// `boot_id` of the kernel; another value means that the machine was reset.
    pub boot_id: String,
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// `uname -r`.
    pub release: String,
}

/// Standard stream of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// End of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, if the program exited.
    pub code: Option<i32>,
    /// Signal that ended the program, if any.
    pub signal: Option<i32>,
    /// True if the host requested the end; `signal` is `None` if even a kill did not end the program.
    pub stopped: bool,
}

/// Kernel state that a well-behaved program leaves unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Names of the loaded modules, sorted.
    pub modules: Vec<String>,
    /// Taint mask (`/proc/sys/kernel/tainted`).
    pub taint: u64,
    /// True if the kernel log wrapped and lines were lost.
    pub lost: bool,
}
