// SPDX-License-Identifier: GPL-2.0-or-later
//! The machine that builds: its package manager, its Rust compiler, its libclang.

pub mod apt;
pub mod libclang;
pub mod rust_src;
pub mod rustc;
