// SPDX-License-Identifier: GPL-2.0-or-later
//! Unit of systemd that loads the installed modules at boot.

use serde::Serialize;

use crate::model::system::System;

/// Name of the unit.
pub(crate) const UNIT: &str = "kpatch.service";

/// Unit file state, as reported by `systemctl is-enabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnitState {
    Enabled,
    Disabled,
    Masked,
    /// The machine has no systemd.
    Unknown,
}

/// State of the unit, from the links in `/etc/systemd/system`.
pub(crate) fn state(system: &System) -> UnitState {
    let units = "/etc/systemd/system";
    let unit = system.path(format!("{units}/{UNIT}"));
    if std::fs::read_link(unit).is_ok_and(|target| target.ends_with("null")) {
        return UnitState::Masked;
    }
    // The link counts even if it is dangling, as it can be below another root.
    let wanted = std::fs::symlink_metadata(system.path(format!("{units}/multi-user.target.wants/{UNIT}")));
    if wanted.is_ok() {
        UnitState::Enabled
    } else if system.exists("/run/systemd/system") || system.exists(units) {
        UnitState::Disabled
    } else {
        UnitState::Unknown
    }
}
