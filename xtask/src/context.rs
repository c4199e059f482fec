// SPDX-License-Identifier: GPL-2.0-or-later
//! What every verb starts from: the project, the cache, the terminal.

use std::path::Path;

use anyhow::Result;
use klp_base::cache::Cache;
use klp_base::events::Terminal;
use klp_pipeline::build::{Build, Built, Range};
use klp_pipeline::kernel::{KernelTree, Pin};
use klp_pipeline::project::Project;

/// The kernel that verbs take where none is named.
pub(crate) const DEFAULT_KERNEL: &str = "debian-6.12";

pub(crate) struct Context {
    pub(crate) project: Project,
    pub(crate) cache: Cache,
    pub(crate) terminal: Terminal,
}

impl Context {
    pub(crate) fn new() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        Ok(Self { project: Project::open(root)?, cache: Cache::from_env()?, terminal: Terminal::new() })
    }

    /// The pinned kernel, made or found in the cache.
    pub(crate) fn kernel(&self, id: &str) -> Result<KernelTree> {
        Ok(Pin::load(&self.project, id)?.fetch(&self.cache, &self.terminal)?)
    }

    /// Builds a fix or stream for a kernel.
    pub(crate) fn build(&self, tree: &KernelTree, target: &str, range: Range) -> Result<Built> {
        let target = self.project.target(target)?;
        let build =
            Build { project: &self.project, tree, target: &target, cache: &self.cache, sink: &self.terminal };
        Ok(build.run(range)?)
    }
}

/// The process's exit code for an error that a verb returned.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<klp_pipeline::Error>().map_or(1, klp_pipeline::Error::exit_code)
}
