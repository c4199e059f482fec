// SPDX-License-Identifier: GPL-2.0-or-later
//! Result of the checks on one module.

use crate::model::refusal::Refusal;

/// Result of the checks on a module before its insertion.
#[derive(Default)]
pub(crate) struct Judgement {
    /// Reasons why the module cannot be loaded; empty if an insertion may be tried.
    pub(crate) refusals: Vec<Refusal>,
    /// Conditions that the kernel allows and an administrator may not expect.
    pub(crate) warnings: Vec<String>,
    /// Checks that could not be made, with the reason.
    pub(crate) unchecked: Vec<String>,
}
