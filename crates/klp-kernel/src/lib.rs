// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernels that live patches are built for: pins, packages, toolchains, the kernel's own build.
//!
//! [`Pin`] is a kernel by name and hash, [`KernelTree`] the same kernel on disk. [`host`] is the machine that builds.

pub mod c_module;
mod config;
mod error;
pub mod exports;
mod fetch;
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
