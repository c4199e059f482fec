// SPDX-License-Identifier: GPL-2.0-or-later
//! `build`: runs the stages of the pipeline.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use klp_kernel::Pin;
use klp_pipeline::project::Runtime;
use klp_pipeline::stage::{Range, Stage};

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;
use crate::sign::SignerArgs;

/// Build a fix or stream into a verified livepatch module.
///
/// Example: cargo xtask build cmdline --kernel debian-6.12 --out /tmp/out
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of a fix (patches/NAME) or stream (patches/streams/NAME.toml)
    target: String,
    /// Id of the kernel (a directory of kernel-configs), or all; may be given several times
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: Vec<String>,
    /// Also copy the module and its debug file into this directory, or into one subdirectory per kernel if
    /// there are several
    #[arg(long)]
    out: Option<PathBuf>,
    /// Sign the module with the key from the build of the kernel (kernels that are built here)
    #[arg(long)]
    sign: bool,
    #[command(flatten)]
    signer: SignerArgs,
    /// Run this stage and those after it even if nothing changed: resolve, bindings, compile, kbuild,
    /// postlink, verify, sign
    #[arg(long)]
    from: Option<Stage>,
    /// Stop after this stage
    #[arg(long, default_value = "verify")]
    to: Stage,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    let runtime = context.project.target(&args.target)?.runtime();
    let mut kernels = context.kernels(&args.kernel)?;
    if args.kernel.iter().any(|id| id == "all") && runtime == Runtime::Kernel {
        // A fix on the `kernel` crate is not for kernels without this crate, so `all` does not include them.
        kernels.retain(|id| {
            Pin::load(&context.project.kernel_configs(), id).is_ok_and(|pin| pin.has_kernel_crate())
        });
    }
    context.ensure(&[Need::Build])?;
    let signer = args.signer.signer()?;
    let to = if args.sign || signer.is_some() { Stage::Sign } else { args.to };
    if to >= Stage::Sign {
        context.ensure(&[Need::Sign])?;
    }
    for kernel in &kernels {
        let tree = context.kernel(kernel)?;
        let target = context.project.target(&args.target)?;
        let range = Range { from: args.from, to };
        let built = context.build_signed(&tree, &target, range, signer.as_ref())?;
        if to < Stage::Postlink {
            println!("{}", built.dir.join(to.dir_name()).display());
            continue;
        }
        let ko = if to >= Stage::Sign { built.signed } else { built.ko };
        let shown = match &args.out {
            Some(dir) if kernels.len() > 1 => copy_out(&[&built.debug, &ko], &dir.join(kernel))?,
            Some(dir) => copy_out(&[&built.debug, &ko], dir)?,
            None => ko,
        };
        println!("{}", shown.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies files to a directory. Returns the new path of the last one.
pub(crate) fn copy_out(files: &[&PathBuf], dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("could not make the directory {}", dir.display()))?;
    let mut last = dir.to_owned();
    for file in files {
        let name = file.file_name().unwrap_or_default();
        let bytes = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
        last = dir.join(name);
        klp_base::cache::write_durable(&last, &bytes)?;
    }
    Ok(last)
}
