// SPDX-License-Identifier: GPL-2.0-or-later
//! Protocol between host and guest over a virtio-serial port.
//!
//! The guest speaks first ([`Reply::Hello`]); after that the host asks and the guest answers, one request at a time.
//! How messages become bytes stands in [`wire`]. The protocol is the same whether the guest program is PID 1 of an
//! initramfs or a service of a full system.

pub mod wire;

use serde::{Deserialize, Serialize};

// Compiled anew for each checkout; the reason is in `.cargo/config.toml`.
const _: Option<&str> = option_env!("FERROGRAFT_CHECKOUT");

/// Name of the virtio-serial port, as `/sys/class/virtio-ports/*/name` shows it.
pub const PORT: &str = "org.ferrograft.guest";
/// Version of the protocol. Both sides come from one build; a difference means that a stale guest program was used.
pub const PROTOCOL: u32 = 3;
/// Word on the kernel's command line that asks PID 1 for a shell on the console instead of the protocol.
pub const SHELL_WORD: &str = "ferrograft.shell";
/// Word that asks PID 1 to become the init of the full system on the first disk.
pub const DISK_WORD: &str = "ferrograft.disk";

/// Requests of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Write the frame's body to a file, making its directories. Answered with [`Reply::Done`].
    Put {
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Add to what is there instead of replacing it: larger files come in several frames.
        append: bool,
        /// [`wire::checksum`] of the frame's body; another one is refused, and nothing is written.
        checksum: u64,
    },
    /// Run a program. Answered with any number of [`Reply::Output`] and [`Reply::UserLine`], and one [`Reply::Exited`].
    Run(Run),
    /// End the running program with its process group. How long a program may run is the host's decision: the guest's
    /// clock goes on while the host gives the guest no CPU. Not answered: the [`Reply::Exited`] of [`Request::Run`] is the
    /// answer, and where the program has just ended nothing is left to do.
    Stop,
    /// Send files. Answered with [`Reply::File`] and [`Reply::NoFile`] for each, then [`Reply::Done`].
    Get {
        /// Absolute paths; `*` stands for any part of one name, a last component `**` for everything below.
        patterns: Vec<String>,
    },
    /// Tell the kernel's state. Answered with [`Reply::State`].
    State,
    /// Greet again. Answered with [`Reply::Hello`]: proof that a restored guest is the one that was saved.
    Greet,
    /// End the machine. Answered with [`Reply::Bye`], after which the guest resets.
    PowerOff,
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Program (a path, or a name in the guest's PATH) and arguments.
    pub argv: Vec<String>,
    /// Its whole environment, PATH and HOME aside.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
}

/// Replies of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The first words, once per start of the guest program.
    Hello(Hello),
    /// The frame's body is output of the running program.
    Output {
        /// Which of its streams.
        stream: Stream,
    },
    /// The frame's body is a line that a program, not the kernel, has just written to the kernel's log.
    UserLine,
    /// The program ended and nothing of its process group is left.
    Exited(Exit),
    /// The frame's body is a file or a part of one.
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
        /// Error of the system.
        error: String,
    },
    /// The kernel's state. The frame's body is what the kernel logged since the last request for it (or since the
    /// Hello): lines `<priority> <microseconds> <text>`. A priority is a level with eight times a facility; the kernel's
    /// own facility is 0, and the kernel lets no program use it.
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
    /// The kernel's `boot_id`: another one means that the machine was reset.
    pub boot_id: String,
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// `uname -r`.
    pub release: String,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, where it exited.
    pub code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
    /// It was killed on the host's request; `signal` is `None` where even that could not end it.
    pub stopped: bool,
}

/// Kernel state that a well-behaved program leaves unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Names of the loaded modules, sorted.
    pub modules: Vec<String>,
    /// The taint mask (`/proc/sys/kernel/tainted`).
    pub taint: u64,
    /// True where the kernel's log wrapped and lines were lost.
    pub lost: bool,
}
