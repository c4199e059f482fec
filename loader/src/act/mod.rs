// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes to the running kernel and to the store, and their progress messages.

pub(crate) mod confirm;
pub(crate) mod install;
pub(crate) mod load;
pub(crate) mod lock;
pub(crate) mod record;
pub(crate) mod rollback;
pub(crate) mod signal;
pub(crate) mod transition;
pub(crate) mod unload;
pub(crate) mod watch;
