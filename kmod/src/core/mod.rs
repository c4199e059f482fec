// SPDX-License-Identifier: GPL-2.0-only
//! The livepatch interface, for every form of a fix.
//!
//! This module compiles against our own `core` and against the kernel's `kernel` crate: it uses crate `bindings`, the
//! `core` library, `macro_rules!`, and no unstable feature except `used_with_arg`. Inside crate `klp` this module
//! shadows the `core` library: write `::core::` for the library.

pub mod access;
pub mod callbacks;
pub mod errno;
pub mod exit;
pub mod list;
pub mod lock;
pub mod module;
pub mod original;
pub mod params;
pub mod ratelimit;
pub mod seq_file;
pub mod shadow;
pub mod state;
pub mod syscall;
pub mod tables;
pub mod text;
pub mod tripwire;
pub mod user;
pub mod warn;

pub use crate::tripwire;
