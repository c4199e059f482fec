// SPDX-License-Identifier: GPL-2.0-or-later
//! Build of a verified livepatch module from the Rust source of a fix.
//!
//! [`build`] runs the stages in order; each stage is one module with the same name.

pub mod author_tools;
pub mod bindings;
pub mod build;
pub mod c_diff;
pub mod compile;
pub mod editor;
pub mod error;
pub mod expected;
pub mod kbuild;
pub mod look;
pub mod manifest;
pub mod objects;
pub mod part;
pub mod postlink;
pub mod project;
pub mod resolve;
pub mod resolved;
pub mod rust_name;
pub mod scaffold;
mod shims;
pub mod sign;
pub mod source_edit;
mod source_lints;
pub mod stage;
mod type_facts;

pub use error::Error;
