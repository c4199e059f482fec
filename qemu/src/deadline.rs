// SPDX-License-Identifier: GPL-2.0-or-later
//! Time limit of each phase, in time that the host gives the guest (`clock.rs`).

use std::time::Duration;

use crate::error::Error;

/// Environment variable with a factor for all deadlines, for slow or busy hosts.
pub const SCALE_VARIABLE: &str = "FERROGRAFT_DEADLINE_SCALE";

/// Time limit of each phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deadlines {
    /// From QEMU's start to the guest's Hello.
    pub boot: Duration,
    /// Boot limit in a KVM trial.
    pub proof: Duration,
    /// From a stop request to the end of the case.
    pub grace: Duration,
    /// From a shutdown request to QEMU's end; also the limit of each short request.
    pub shutdown: Duration,
    /// Factor in all limits, also applied to each case's timeout.
    scale: f64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(120),
            proof: Duration::from_secs(20),
            grace: Duration::from_secs(15),
            shutdown: Duration::from_secs(30),
            scale: 1.0,
        }
    }
}

impl Deadlines {
    /// Default deadlines, multiplied by [`SCALE_VARIABLE`].
    ///
    /// # Errors
    /// The variable is not a number between 0.1 and 100.
    pub fn from_env() -> Result<Self, Error> {
        match std::env::var(SCALE_VARIABLE) {
            Ok(value) => Self::scaled(&value),
            Err(_) => Ok(Self::default()),
        }
    }

    fn scaled(value: &str) -> Result<Self, Error> {
        let wrong = || Error::Environment {
            name: SCALE_VARIABLE,
            value: value.to_owned(),
            what: "must be a number between 0.1 and 100, such as 3",
        };
        let scale: f64 = value.trim().parse().map_err(|_| wrong())?;
        if (0.1..=100.0).contains(&scale) { Ok(Self::default().times(scale)) } else { Err(wrong()) }
    }

    fn times(self, scale: f64) -> Self {
        Self {
            boot: self.boot.mul_f64(scale),
            proof: self.proof.mul_f64(scale),
            grace: self.grace.mul_f64(scale),
            shutdown: self.shutdown.mul_f64(scale),
            scale: self.scale * scale,
        }
    }

    /// Practically unlimited deadlines, for a guest under a debugger.
    pub(crate) fn debugging(self) -> Self {
        self.times(10_000.0)
    }

    /// Timeout of a case, multiplied by the factor.
    pub(crate) fn case(&self, timeout: Duration) -> Duration {
        timeout.mul_f64(self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_stretches_all() {
        let deadlines = Deadlines::scaled("2.5").unwrap();
        assert_eq!(deadlines.boot.as_secs(), 300);
        assert_eq!(deadlines.case(Duration::from_secs(10)).as_secs(), 25);
        for wrong in ["", "x", "0", "-1", "NaN", "1e9"] {
            let error = Deadlines::scaled(wrong).unwrap_err().to_string();
            assert!(error.contains(SCALE_VARIABLE), "{error}");
        }
    }
}
