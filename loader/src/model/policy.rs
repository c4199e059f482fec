// SPDX-License-Identifier: GPL-2.0-or-later
//! Policy for transitions and a busy kernel: wait times, attempts, and the reaction to a stall.

use std::time::Duration;

use clap::ValueEnum;

/// Wait time until the remaining tasks are signalled.
pub(crate) const WAIT: Duration = Duration::from_secs(15);
/// Wait time after that, until the transition counts as stalled.
pub(crate) const WAIT_AFTER_SIGNAL: Duration = Duration::from_secs(60);
/// Longest wait for a patch that is being disabled and that no task holds any more. Measured under TCG: 271 s for 2053 functions.
pub(crate) const WAIT_FOR_FTRACE: Duration = Duration::from_secs(3600);
/// Number of attempts while the kernel answers EBUSY.
pub(crate) const BUSY_ATTEMPTS: u32 = 5;
/// Interval of these attempts.
pub(crate) const BUSY_INTERVAL: Duration = Duration::from_secs(2);

/// Reaction to a stalled transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StallPolicy {
    /// Go on waiting, and report every minute
    Wait,
    /// Turn it round and wait for that
    Reverse,
    /// Give up and leave it to the kernel, which goes on with it
    Fail,
}

/// Options for waiting for a transition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitOptions {
    pub(crate) on_stall: StallPolicy,
    /// Time until a transition counts as stalled; with [`StallPolicy::Wait`] the time until waiting ends.
    pub(crate) deadline: Option<Duration>,
}

impl WaitOptions {
    /// Default times; a stall is reported and nothing is done about it.
    pub(crate) const DEFAULT: Self = Self { on_stall: StallPolicy::Fail, deadline: None };
}
