// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of packages and repositories with the real package managers.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a test"
)]

mod follow;
mod packages;
mod repo;
mod scripts;
mod support;
