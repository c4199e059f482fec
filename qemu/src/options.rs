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
    /// Boots at a time. Cases that share a boot run one after the other in it.
    pub jobs: NonZeroU32,
    /// How often everything is run, each time in fresh boots.
    pub repeat: NonZeroU32,
    /// Every boot waits for a debugger, and no deadline holds.
    pub gdb: bool,
    /// Memory of each guest.
    pub memory_mib: u32,
    /// Directory for evidence: `<kernel>/<case>/` is made anew for each case.
    pub evidence: PathBuf,
    /// Directory that remembers whether KVM works on this boot of the host.
    pub state: PathBuf,
    /// The command that repeats a case; `{case}` and `{kernel}` are filled in.
    pub repeat_command: String,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// Cache for snapshots of booted guests; `None` boots each. Guests that KVM runs, that a debugger watches, or whose
    /// instructions are counted boot in any case.
    pub snapshots: Option<Cache>,
}

impl Options {
    /// The usual options, with deadlines stretched by the environment.
    ///
    /// # Errors
    /// The variable for the deadlines is wrong.
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

    /// The deadlines that hold: none to speak of while a debugger is attached.
    pub(crate) fn deadlines(&self) -> Deadlines {
        if self.gdb { self.deadlines.debugging() } else { self.deadlines }
    }
}
