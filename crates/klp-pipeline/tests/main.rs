// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of the stages on the default kernel.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test may panic"
)]

mod bit_fields;
mod c_diff;
mod common;
mod compile_fail;
mod faults;
mod layouts;
mod look;
mod out_of_tree;
mod predecessor;
mod refused_input;
mod resolve;
mod right_input;
mod rust_src;
mod verify;
