// SPDX-License-Identifier: GPL-2.0-or-later
//! Common functions of the tests on a pinned kernel.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "shared by several test programs")]

use std::path::{Path, PathBuf};

use klp_base::cache::Cache;
use klp_base::events::Silent;
use klp_kernel::{KernelTree, Pin};
use klp_pipeline::project::Project;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The checkout, the user's cache and the default kernel, selected as by `cargo xtask`.
pub fn default_kernel() -> (Project, Cache, KernelTree) {
    kernel("debian-6.12")
}

/// The checkout, the user's cache and a pinned kernel.
pub fn kernel(id: &str) -> (Project, Cache, KernelTree) {
    let project = Project::open(&root()).unwrap();
    let cache = Cache::from_env().unwrap();
    let tree = Pin::load(&project.kernel_configs(), id).unwrap().fetch(&cache, &Silent).unwrap();
    (project, cache, tree)
}
