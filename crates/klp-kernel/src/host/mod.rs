// SPDX-License-Identifier: GPL-2.0-or-later
//! The build machine: package manager, Rust compiler, libclang.

pub mod apt;
pub mod libclang;
pub mod rust_src;
pub mod rustc;
