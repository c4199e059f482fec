// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of the loader on a fake machine. Crash safety is in `kills.rs`, a program of its own.

#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, dead_code, reason = "a test")]

mod boots;
mod bypassing;
mod checking;
mod exporting;
mod following;
mod installing;
mod listing;
mod loading;
mod stalling;
mod store;
mod support;
mod telling;
mod unloading;
mod watching;
