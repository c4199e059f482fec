// SPDX-License-Identifier: GPL-2.0-or-later
//! `editor` and `doc`: code completion and documentation of one kernel for authors of fixes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use klp_kernel::KernelTree;
use klp_kernel::host::rustc::Rustc;
use klp_pipeline::author_tools::document;
use klp_pipeline::editor::{Edited, write_project};
use klp_pipeline::project::{Runtime, Target};
use klp_pipeline::stage::{Built, Range, Stage};

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;

/// Write rust-project.json, which describes a fix's crates to rust-analyzer.
///
/// Example: cargo xtask editor cmdline --kernel debian-6.1
#[derive(clap::Args)]
pub(crate) struct EditorArgs {
    /// Name of the fix, whose directory gets the file; without it, all fixes of patches/
    fix: Option<String>,
    /// Id of the kernel whose declarations the editor shows
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: String,
}

/// Render the documentation of crate klp, and of the functions that a fix replaces.
///
/// Example: cargo xtask doc cmdline
#[derive(clap::Args)]
pub(crate) struct DocArgs {
    /// Name of the fix
    #[arg(default_value = "cmdline")]
    fix: String,
    /// Id of the kernel whose prototypes are shown
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: String,
}

pub(crate) fn editor(args: &EditorArgs) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Build])?;
    let tree = context.kernel(&args.kernel)?;
    let file = match &args.fix {
        Some(name) => one(&context, &tree, name)?,
        None => all(&context, &tree)?,
    };
    println!("{}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes the file for one fix into its directory.
pub(crate) fn one(context: &Context, tree: &KernelTree, name: &str) -> Result<PathBuf> {
    let target = Target::of_fix(context.project.fix(name)?);
    refuse_kernel_crate(&target)?;
    let dir = target.fixes.first().map(|fix| fix.dir.clone()).unwrap_or_default();
    write(context, tree, std::slice::from_ref(&target), &dir)
}

/// Writes the file for all fixes of patches/ based on crate klp, into patches/.
fn all(context: &Context, tree: &KernelTree) -> Result<PathBuf> {
    let dir = context.project.root().join("patches");
    let fixes = context.project.target_names().into_iter().filter_map(|name| context.project.fix(&name).ok());
    let shipped = fixes.filter(|fix| fix.dir.starts_with(&dir) && fix.runtime == Runtime::Klp);
    let targets: Vec<Target> = shipped.map(Target::of_fix).collect();
    write(context, tree, &targets, &dir)
}

fn write(context: &Context, tree: &KernelTree, targets: &[Target], dir: &Path) -> Result<PathBuf> {
    let range = Range { from: None, to: Stage::Bindings };
    let built: Vec<Built> =
        targets.iter().map(|target| context.build_target(tree, target, range)).collect::<Result<_>>()?;
    let fixes: Vec<Edited<'_>> = targets
        .iter()
        .zip(&built)
        .flat_map(|(target, built)| target.fixes.iter().map(move |fix| Edited { fix, built }))
        .collect();
    Ok(write_project(&context.project, tree, &Rustc::find(&context.cache)?, &fixes, dir)?)
}

fn refuse_kernel_crate(target: &Target) -> Result<()> {
    anyhow::ensure!(
        target.runtime() == Runtime::Klp,
        "`{}` is written on the kernel's `kernel` crate, whose source the packages of kernels do not hold: only fixes \
         on crate klp have this",
        target.name
    );
    Ok(())
}

pub(crate) fn doc(args: &DocArgs) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Build])?;
    let tree = context.kernel(&args.kernel)?;
    let target = Target::of_fix(context.project.fix(&args.fix)?);
    refuse_kernel_crate(&target)?;
    for page in document(&context.steps_of(&tree, &target, None))? {
        println!("{}", page.display());
    }
    Ok(ExitCode::SUCCESS)
}
