// SPDX-License-Identifier: GPL-2.0-or-later
//! Target kernels of live patches: pins, packages, toolchains, kbuild.
//!
//! [`Pin`] identifies a kernel by package names and hashes; [`KernelTree`] is the same kernel on disk.
//! [`host`] is the build machine.

pub mod c_module;
pub mod c_source;
mod config;
mod debug;
mod error;
pub mod exports;
mod fetch;
pub mod guest_program;
pub mod host;
pub mod kbuild;
mod modules;
mod package;
mod pin;
mod sites;
mod source;
mod stock;
mod toml_file;
mod toolchain;
mod tree;

pub use self::config::KernelConfig;
pub use self::error::Error;
pub use self::package::Package;
pub use self::pin::{Kind, Pin, Repin, SourcePin, pinned_ids};
pub use self::sites::sites_of;
pub use self::stock::repin;
pub use self::toml_file::parse_toml;
pub use self::toolchain::{CToolchain, HostTool, Toolchain};
pub use self::tree::{KernelTree, OwnModules};
