// SPDX-License-Identifier: GPL-2.0-or-later
//! Reports of the read-only verbs, as text and as JSON.

pub(crate) mod check;
pub(crate) mod export;
pub(crate) mod follow;
pub(crate) mod history;
pub(crate) mod info;
pub(crate) mod list;
pub(crate) mod metrics;
pub(crate) mod status;
pub(crate) mod uname;
