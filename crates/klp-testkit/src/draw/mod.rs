// SPDX-License-Identifier: GPL-2.0-or-later
//! Draws: functions and structs of a kernel, selected by a printed random seed, and processed by the stages.
//!
//! A function has two good outcomes: the output of `new-patch` builds and passes the verifier, or the
//! function is rejected for a reason that an independent source confirms (`witness`). Structs have one good
//! outcome: they compile with assertions of their sizes and offsets.

pub mod copies;
pub mod functions;
mod kallsyms;
pub mod record;
pub mod structs;
mod witness;
