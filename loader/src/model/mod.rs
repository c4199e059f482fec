// SPDX-License-Identifier: GPL-2.0-or-later
//! Data and input: the machine, its files, loaded patches, the store, errors. Nothing here prints.

pub(crate) mod boot_notes;
pub(crate) mod bugs;
pub(crate) mod content;
pub(crate) mod durable;
pub(crate) mod error;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod kmsg;
pub(crate) mod layout;
pub(crate) mod livepatch;
pub(crate) mod manifests;
pub(crate) mod module_file;
pub(crate) mod overrides;
pub(crate) mod policy;
pub(crate) mod product;
pub(crate) mod refusal;
pub(crate) mod service;
pub(crate) mod store;
pub(crate) mod sys;
pub(crate) mod system;
pub(crate) mod tasks;
pub(crate) mod time;
pub(crate) mod trace;
