// SPDX-License-Identifier: GPL-2.0-or-later
//! Common context of all verbs: project, cache, terminal.

use std::path::PathBuf;

use anyhow::Result;
use klp_base::arch::Arch;
use klp_base::cache::Cache;
use klp_base::events::Terminal;
use klp_kernel::c_source::CSource;
use klp_kernel::{KernelTree, Pin};
use klp_pipeline::build::Build;
use klp_pipeline::project::{Project, Target};
use klp_pipeline::sign::Signer;
use klp_pipeline::stage::{Built, Range};
use klp_testkit::artifact;
use xshell::cmd;

use crate::machine::{self, NotAble, project_root, shell};
use crate::setup::{self, Need};

/// Default kernel of verbs.
pub(crate) const DEFAULT_KERNEL: &str = "debian-6.12";

pub(crate) struct Context {
    pub(crate) project: Project,
    pub(crate) cache: Cache,
    pub(crate) terminal: Terminal,
}

/// Static programs for guests and machines.
pub(crate) struct StaticPrograms {
    pub(crate) guest: PathBuf,
    pub(crate) kpatch: PathBuf,
    /// Workload generator for cases.
    pub(crate) workload: PathBuf,
}

impl Context {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            project: Project::open(&project_root())?,
            cache: Cache::from_env()?,
            terminal: Terminal::new(),
        })
    }

    /// Installs the missing tools for these purposes.
    pub(crate) fn ensure(&self, needs: &[Need]) -> Result<()> {
        setup::ensure(&self.cache, &self.terminal, needs)
    }

    /// The pinned kernel, built or found in the cache, for fixes. Missing tools for its build, and for the source of a stock kernel,
    /// are installed.
    pub(crate) fn kernel(&self, id: &str) -> Result<KernelTree> {
        let tree = self.kernel_alone(id)?;
        // The source of a stock kernel is configured once: then its tools are not needed any more.
        if CSource::is_missing(&tree, &self.cache) {
            setup::ensure_for(&Pin::load(&self.project.kernel_configs(), id)?, &self.terminal)?;
        }
        Ok(tree)
    }

    /// As [`Self::kernel`], without the tools for the source of a stock kernel: for work that compiles nothing.
    pub(crate) fn kernel_alone(&self, id: &str) -> Result<KernelTree> {
        let pin = Pin::load(&self.project.kernel_configs(), id)?;
        // Check the path before anything is fetched or generated.
        let move_it = "move the checkout to another path";
        klp_kernel::kbuild::check_path("the project's directory", self.project.root(), move_it)?;
        let set_it = "set FERROGRAFT_CACHE to another directory";
        klp_kernel::kbuild::check_path("the cache", self.cache.root(), set_it)?;
        if pin.source.is_some() {
            setup::ensure_for(&pin, &self.terminal)?;
        }
        Ok(pin.fetch(&self.cache, &self.terminal)?)
    }

    /// Kernel ids from the command line; `all` stands for every pinned kernel.
    pub(crate) fn kernels(&self, given: &[String]) -> Result<Vec<String>> {
        if given.iter().any(|id| id == "all") {
            return Ok(self.project.kernel_ids());
        }
        for id in given {
            Pin::load(&self.project.kernel_configs(), id)?;
        }
        Ok(given.to_vec())
    }

    /// Builds a fix or stream for a kernel.
    pub(crate) fn build(&self, tree: &KernelTree, target: &str, range: Range) -> Result<Built> {
        self.build_target(tree, &self.project.target(target)?, range)
    }

    /// Builds a target whose files are already read.
    pub(crate) fn build_target(&self, tree: &KernelTree, target: &Target, range: Range) -> Result<Built> {
        self.build_signed(tree, target, range, None)
    }

    /// As [`Self::build_target`], with a signer for stage sign. `None`: the key from the build of the kernel.
    pub(crate) fn build_signed(
        &self,
        tree: &KernelTree,
        target: &Target,
        range: Range,
        signer: Option<&Signer>,
    ) -> Result<Built> {
        self.make_out_of_tree(tree, target)?;
        Ok(self.steps_of(tree, target, signer).run(range)?)
    }

    /// Makes the modules of tests/out-of-tree that a target patches.
    pub(crate) fn make_out_of_tree(&self, tree: &KernelTree, target: &Target) -> Result<()> {
        Ok(artifact::make_out_of_tree(&self.project, tree, target, &self.cache, &self.terminal)?)
    }

    /// Build of a target, not yet started.
    pub(crate) fn steps_of<'a>(
        &'a self,
        tree: &'a KernelTree,
        target: &'a Target,
        signer: Option<&'a Signer>,
    ) -> Build<'a> {
        let (project, cache, sink) = (&self.project, &self.cache, &self.terminal);
        Build { project, tree, target, given: None, signer, cache, sink }
    }

    /// Cargo's target directory.
    pub(crate) fn target_dir(&self) -> PathBuf {
        let named = std::env::var_os("CARGO_TARGET_DIR");
        named.map_or_else(|| self.project.root().join("target"), |dir| self.project.root().join(dir))
    }

    /// Builds the guest program and the loader for an architecture, statically linked with profile `small`.
    pub(crate) fn static_programs(&self, arch: Arch) -> Result<StaticPrograms> {
        use klp_base::events::{StageEnd, stage};
        let target = setup::guest_target(arch)?;
        // For another architecture no C compiler is needed, because rustc contains musl's objects and a linker.
        let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
        if arch == Arch::Arm64 {
            flags.extend(["-Clinker=rust-lld", "-Clink-self-contained=yes"].map(str::to_owned));
        }
        flags.extend(machine::path_flags()?);
        let target_dir = self.target_dir();
        stage(&self.terminal, "programs", &format!("guest and kpatch, {}", arch.name()), || {
            let shell = shell()?;
            cmd!(shell, "cargo build --quiet --profile small --target {target} -p klp-guest -p kpatch")
                .arg("--target-dir")
                .arg(&target_dir)
                .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
                .quiet()
                .run()?;
            Ok::<_, anyhow::Error>((StageEnd::Done, ()))
        })?;
        let dir = target_dir.join(target).join("small");
        Ok(StaticPrograms {
            guest: dir.join("klp-guest"),
            kpatch: dir.join("kpatch"),
            workload: dir.join("workload"),
        })
    }
}

/// Exit code of the process for an error of a verb.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<NotAble>() {
        return 69;
    }
    let pipeline = error.downcast_ref::<klp_pipeline::Error>().map(klp_pipeline::Error::exit_code);
    let kernel = error.downcast_ref::<klp_kernel::Error>().map(klp_kernel::Error::exit_code);
    let harness = error.downcast_ref::<klp_vm::Error>().map(klp_vm::Error::exit_code);
    pipeline.or(kernel).or(harness).unwrap_or(1)
}
