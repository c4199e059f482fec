// SPDX-License-Identifier: GPL-2.0-or-later
//! `kernel`: pinned kernels.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Subcommand;
use klp_base::events::Sink;
use klp_image::{DebugCopy, DefinedCopies};
use klp_kernel::c_source::CSource;
use klp_kernel::{Pin, repin};
use klp_pipeline::c_diff;

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;

/// List, fetch and re-pin kernels.
///
/// Example: cargo xtask kernel fetch debian-6.12
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the pinned kernels
    List,
    /// Fetch a kernel into the cache, and print its directory
    Fetch {
        /// Id of the kernel
        #[arg(default_value = DEFAULT_KERNEL)]
        id: String,
    },
    /// Fetch and configure a kernel's C source, and print its directory: to read, not to change. `cargo xtask diff` makes copies
    /// to change
    Source {
        /// Id of the kernel
        #[arg(default_value = DEFAULT_KERNEL)]
        id: String,
    },
    /// Fetch a kernel's debug information (1 GB, of which 350 MB are kept), and index the copies of the functions that the compiler
    /// inlined. Prints the ELF file, for gdb or crash. From then on `look`, `new-patch`, `build` and `check` know the copies of
    /// functions whose file cannot be compiled alone
    Debug {
        /// Id of the kernel
        #[arg(default_value = DEFAULT_KERNEL)]
        id: String,
        /// Print the copies of this function instead of the path
        #[arg(long)]
        function: Option<String>,
    },
    /// Pin the newest packages of a kernel's line: rewrites its kernel.toml
    Repin {
        /// Id of the kernel
        #[arg(default_value = DEFAULT_KERNEL)]
        id: String,
    },
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    match &args.verb {
        Verb::List => {
            for id in context.project.kernel_ids() {
                let pin = Pin::load(&context.project.kernel_configs(), &id)?;
                println!("{id:<16} {:<8} {:<26} {}", pin.arch.name(), pin.release.as_str(), pin.description);
            }
        }
        Verb::Fetch { id } => println!("{}", context.kernel_alone(id)?.root.display()),
        Verb::Source { id } => {
            context.ensure(&[Need::Build])?;
            let tree = context.kernel(id)?;
            println!("{}", CSource::of(&tree, &context.cache, &context.terminal)?.root.display());
        }
        Verb::Debug { id, function } => {
            let tree = context.kernel_alone(id)?;
            let (vmlinux, copies) = c_diff::debug_copies(&tree, &context.cache, &context.terminal)?;
            match function {
                Some(function) => print_copies(id, function, &copies.named(function))?,
                None => {
                    let (functions, all) = copies.count();
                    let note = format!("  copies       {functions} functions have {all} copies in others");
                    context.terminal.note(note);
                    println!("{}", vmlinux.display());
                }
            }
        }
        Verb::Repin { id } => {
            let pin = Pin::load(&context.project.kernel_configs(), id)?;
            println!("{}", repin(&pin, &context.cache, &context.terminal)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_copies(kernel: &str, function: &str, definitions: &[DefinedCopies]) -> Result<()> {
    ensure!(
        !definitions.is_empty(),
        "the debug information of {kernel} has no function {function} of vmlinux"
    );
    for DefinedCopies { file, line, copies } in definitions {
        println!("{function} ({file}:{line}): {} copies in others", copies.len());
        for DebugCopy { caller, file, line, is_clone, .. } in copies {
            match is_clone {
                true => println!("  {caller}, a clone"),
                false => println!("  {caller} ({file}:{line})"),
            }
        }
    }
    Ok(())
}
