// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of the verbs and of the tree.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test may panic"
)]

mod c_diff;
mod check;
mod editor;
mod house;
mod kernel;
mod layers;
mod package;
mod reproducible;
mod selftests;
mod setup;
mod sign;
mod verbs;
