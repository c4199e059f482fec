// SPDX-License-Identifier: GPL-2.0-or-later
//! `new-patch`: creates a fix with the kernel's prototype.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use klp_format::KlpSymbol;
use klp_pipeline::objects::Objects;
use klp_pipeline::scaffold;

use crate::context::{Context, DEFAULT_KERNEL};
use crate::editor;
use crate::setup::Need;

/// Make a new fix, with the kernel's prototype filled in, and a case that proves it.
///
/// Example: cargo xtask new-patch my-fix --patch vmlinux:version_proc_show
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the fix: small letters, digits, `-` and `_`
    name: String,
    /// Function to replace, as OBJECT:FUNCTION
    #[arg(long, alias = "replace", default_value = "vmlinux:cmdline_proc_show")]
    patch: KlpSymbol,
    /// File of a module that is not the kernel's own (.ko, also compressed), whose function --patch names
    #[arg(long, value_name = "FILE", requires = "patch")]
    module: Option<PathBuf>,
    /// Id of the kernel that supplies the prototype
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Build])?;
    let tree = context.kernel(&args.kernel)?;
    let project = match &args.module {
        None => context.project.clone(),
        Some(file) => {
            let (project, name) = context.project.with_module(file)?;
            let object = &args.patch.object;
            ensure!(name == *object, "{} is module {name}, and --patch names {object}", file.display());
            project
        }
    };
    let objects = Objects::load(&project, &tree, [&args.patch], &context.cache, &context.terminal)?;
    let (cache, sink) = (&context.cache, &context.terminal);
    for file in scaffold::new_fix(&project, &tree, &objects, &args.name, &args.patch, cache, sink)? {
        println!("{}", file.display());
    }
    println!("{}", editor::one(&context, &tree, &args.name)?.display());
    println!("{}", next(&args.name, &args.kernel));
    Ok(ExitCode::SUCCESS)
}

/// Next commands for the user.
fn next(name: &str, kernel: &str) -> String {
    let kernel = if kernel == DEFAULT_KERNEL { String::new() } else { format!(" --kernel {kernel}") };
    format!("now: cargo xtask build {name}{kernel} && cargo xtask qemu-test {name}{kernel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_commands_name_a_kernel_that_is_not_the_default() {
        assert_eq!(next("x", DEFAULT_KERNEL), "now: cargo xtask build x && cargo xtask qemu-test x");
        let with =
            "now: cargo xtask build x --kernel debian-6.1 && cargo xtask qemu-test x --kernel debian-6.1";
        assert_eq!(next("x", "debian-6.1"), with);
    }
}
