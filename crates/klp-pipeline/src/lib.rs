// SPDX-License-Identifier: GPL-2.0-or-later
//! From the Rust source of a fix to a verified livepatch module.
//!
//! [`build`] runs the stages in their order; each stage is one module of the same name.

pub mod author_tools;
pub mod bindings;
pub mod build;
pub mod compile;
pub mod editor;
pub mod error;
pub mod expected;
pub mod kbuild;
pub mod manifest;
pub mod objects;
pub mod postlink;
pub mod project;
pub mod resolve;
pub mod resolved;
pub mod rust_name;
pub mod scaffold;
mod shims;
pub mod sign;
pub mod stage;

pub use error::Error;
