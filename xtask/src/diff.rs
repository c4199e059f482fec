// SPDX-License-Identifier: GPL-2.0-or-later
//! `diff`: makes the C diff of a fix of edited copies of the kernel's source.

use std::process::ExitCode;

use anyhow::Result;
use klp_kernel::c_source::CSource;
use klp_pipeline::source_edit;

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;

/// Make the C diff of a fix: --edit copies files of the kernel's source to where you change them; without it the diff is written.
///
/// The copies are in `source/` of the fix, with its diff applied. A fix of a new name is created.
///
/// Example: cargo xtask diff my-fix --edit kernel/ptrace.c --kernel debian-6.12
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the fix
    fix: String,
    /// Files to edit, from the top of the source
    #[arg(long, value_name = "FILE", num_args = 0..)]
    edit: Option<Vec<String>>,
    /// Id of the kernel
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Build])?;
    let tree = context.kernel(&args.kernel)?;
    let root = CSource::of(&tree, &context.cache, &context.terminal)?.root;
    let (name, project) = (&args.fix, &context.project);
    if let Some(files) = &args.edit {
        source_edit::new_fix(project, name, &root, files)?;
        for copy in source_edit::edit(&project.fix(name)?, &root, files)? {
            println!("{}", copy.display());
        }
        println!("now: change them, and run cargo xtask diff {name} --kernel {}", args.kernel);
        return Ok(ExitCode::SUCCESS);
    }
    let (diff, files) = source_edit::collect(&project.fix(name)?, &root)?;
    for file in files {
        println!("changed  {file}");
    }
    println!("{}", diff.display());
    println!("now: cargo xtask cdiff --show {} --kernel {}", diff.display(), args.kernel);
    Ok(ExitCode::SUCCESS)
}
