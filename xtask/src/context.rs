// SPDX-License-Identifier: GPL-2.0-or-later
//! What every verb starts from: the project, the cache, the terminal.

use std::path::{Path, PathBuf};

use anyhow::Result;
use klp_base::cache::Cache;
use klp_base::events::Terminal;
use klp_base::process::Cmd;
use klp_pipeline::build::{Build, Built, Range};
use klp_pipeline::kernel::{Arch, KernelTree, Pin};
use klp_pipeline::project::{Project, Target};

/// The kernel that verbs take where none is named.
pub(crate) const DEFAULT_KERNEL: &str = "debian-6.12";

/// This machine cannot do it; the text says what to do. Exit code 69.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotAble(pub(crate) String);

pub(crate) struct Context {
    pub(crate) project: Project,
    pub(crate) cache: Cache,
    pub(crate) terminal: Terminal,
}

/// The static programs that guests and machines run.
pub(crate) struct StaticPrograms {
    pub(crate) guest: PathBuf,
    pub(crate) kpatch: PathBuf,
    /// The workload generator of the cases.
    pub(crate) workload: PathBuf,
}

/// The project's directory: what `FERROGRAFT_PROJECT` names, else the checkout that cargo runs this program from, else
/// (where cargo does not run it) the one that it was compiled in.
pub(crate) fn project_root() -> PathBuf {
    if let Some(named) = std::env::var_os("FERROGRAFT_PROJECT") {
        return PathBuf::from(named);
    }
    // Cargo names the directory of the package that it runs; tests of other packages pass theirs on.
    let run_from = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = run_from.filter(|dir| dir.ends_with("xtask") && dir.join("Cargo.toml").is_file());
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().unwrap_or(Path::new(".")).to_owned()
}

impl Context {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            project: Project::open(&project_root())?,
            cache: Cache::from_env()?,
            terminal: Terminal::new(),
        })
    }

    /// The pinned kernel, made or found in the cache. What making it needs is installed first.
    pub(crate) fn kernel(&self, id: &str) -> Result<KernelTree> {
        let pin = Pin::load(&self.project, id)?;
        // Before anything is fetched or generated.
        let move_it = "move the checkout to another path";
        klp_pipeline::kbuild::check_path("the project's directory", self.project.root(), move_it)?;
        let set_it = "set FERROGRAFT_CACHE to another directory";
        klp_pipeline::kbuild::check_path("the cache", self.cache.root(), set_it)?;
        crate::setup::ensure_for(&pin, &self.terminal)?;
        Ok(pin.fetch(&self.cache, &self.terminal)?)
    }

    /// Ids of kernels as they were given: `all` stands for every pinned one.
    pub(crate) fn kernels(&self, given: &[String]) -> Result<Vec<String>> {
        if given.iter().any(|id| id == "all") {
            return Ok(self.project.kernel_ids());
        }
        for id in given {
            Pin::load(&self.project, id)?;
        }
        Ok(given.to_vec())
    }

    /// Builds a fix or stream for a kernel.
    pub(crate) fn build(&self, tree: &KernelTree, target: &str, range: Range) -> Result<Built> {
        self.build_target(tree, &self.project.target(target)?, range)
    }

    /// Builds a target that was read before.
    pub(crate) fn build_target(&self, tree: &KernelTree, target: &Target, range: Range) -> Result<Built> {
        let build = Build { project: &self.project, tree, target, cache: &self.cache, sink: &self.terminal };
        Ok(build.run(range)?)
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target_dir(&self) -> PathBuf {
        let named = std::env::var_os("CARGO_TARGET_DIR");
        named.map_or_else(|| self.project.root().join("target"), |dir| self.project.root().join(dir))
    }

    /// Builds the guest program and the loader for an architecture, static and small.
    pub(crate) fn static_programs(&self, arch: Arch) -> Result<StaticPrograms> {
        use klp_base::events::{StageEnd, stage};
        let target = crate::setup::guest_target(arch)?;
        // No C compiler for another architecture is needed: rustc brings musl's objects and a linker.
        let linker = match arch {
            Arch::X86_64 => "",
            Arch::Arm64 => " -Clinker=rust-lld -Clink-self-contained=yes",
        };
        let target_dir = self.target_dir();
        stage(&self.terminal, "programs", &format!("guest and kpatch, {}", arch.name()), || {
            Cmd::new("cargo")
                .args([
                    "build",
                    "--quiet",
                    "--profile",
                    "small",
                    "--target",
                    target,
                    "-p",
                    "klp-guest",
                    "-p",
                    "kpatch",
                ])
                .arg("--target-dir")
                .arg(&target_dir)
                .env("RUSTFLAGS", format!("-Ctarget-feature=+crt-static{linker}"))
                .cwd(self.project.root())
                .run()
                .map(|_| (StageEnd::Done, ()))
        })?;
        let dir = target_dir.join(target).join("small");
        Ok(StaticPrograms {
            guest: dir.join("klp-guest"),
            kpatch: dir.join("kpatch"),
            workload: dir.join("workload"),
        })
    }
}

/// The process's exit code for an error that a verb returned.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<NotAble>() {
        return 69;
    }
    let pipeline = error.downcast_ref::<klp_pipeline::Error>().map(klp_pipeline::Error::exit_code);
    let harness = error.downcast_ref::<klp_vm::Error>().map(klp_vm::Error::exit_code);
    pipeline.or(harness).unwrap_or(1)
}
