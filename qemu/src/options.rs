// SPDX-License-Identifier: GPL-2.0-or-later
//! Parameters of a run.

use std::num::NonZeroU32;
use std::path::PathBuf;

use klp_base::cache::Cache;

use crate::accel::AccelChoice;
use crate::deadline::Deadlines;
use crate::error::Error;

/// Parameters of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Acceleration of the guests.
    pub accel: AccelChoice,
    /// Number of concurrent boots. Cases that share a boot run one after another.
    pub jobs: NonZeroU32,
    /// Number of repetitions of all cases, each in fresh boots.
    pub repeat: NonZeroU32,
    /// True to make each boot wait for a debugger, without deadlines.
    pub gdb: bool,
    /// Memory of each guest, in MiB.
    pub memory_mib: u32,
    /// Directory for evidence; `<kernel>/<case>/` is created anew for each case.
    pub evidence: PathBuf,
    /// Directory for the result of KVM trials on this boot of the host.
    pub state: PathBuf,
    /// Command that repeats a case; `{case}` and `{kernel}` are replaced.
    pub repeat_command: String,
    /// Time limit of each phase.
    pub deadlines: Deadlines,
    /// Cache for snapshots of booted guests; `None` boots each guest. Guests with KVM, a debugger or counted
    /// instructions always boot.
    pub snapshots: Option<Cache>,
}

impl Options {
    /// Default options, with deadlines multiplied by the environment variable.
    ///
    /// # Errors
    /// The environment variable for the deadlines is invalid.
    pub fn new(evidence: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self {
            accel: AccelChoice::Auto,
            jobs: NonZeroU32::MIN,
            repeat: NonZeroU32::MIN,
            gdb: false,
            memory_mib: 512,
            evidence: evidence.into(),
            state: state.into(),
            repeat_command: "cargo xtask qemu-test {case} --kernel {kernel}".to_owned(),
            deadlines: Deadlines::from_env()?,
            snapshots: None,
        })
    }

    pub(crate) fn repeat_line(&self, case: &str, kernel: &str) -> String {
        self.repeat_command.replace("{case}", case).replace("{kernel}", kernel)
    }

    /// Effective deadlines: practically unlimited with a debugger.
    pub(crate) fn deadlines(&self) -> Deadlines {
        if self.gdb { self.deadlines.debugging() } else { self.deadlines }
    }
}
