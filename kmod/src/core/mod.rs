// SPDX-License-Identifier: GPL-2.0-only
//! The livepatch interface itself, for every form of a fix.
//!
//! This half is compiled against our own `core` and against the kernel's `kernel` crate alike: it uses crate `bindings`,
//! the `core` library, `macro_rules!`, and no unstable feature but `used_with_arg`. Inside of crate `klp` this module
//! hides the library of its name: write `::core::`.

pub mod callbacks;
pub mod errno;
pub mod exit;
pub mod list;
pub mod lock;
pub mod seq_file;
pub mod shadow;
pub mod state;
pub mod syscall;
pub mod tables;
