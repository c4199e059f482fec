// SPDX-License-Identifier: GPL-2.0-or-later
//! Assessment of the machine and of modules, computed from the model. Nothing here changes or prints anything.

pub(crate) mod check;
pub(crate) mod conflicts;
pub(crate) mod effective;
pub(crate) mod follow;
pub(crate) mod judgement;
pub(crate) mod machine;
pub(crate) mod support;
pub(crate) mod tripwires;
