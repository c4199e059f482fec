// SPDX-License-Identifier: GPL-2.0-or-later
//! `kernel`: pinned kernels.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use klp_kernel::c_source::CSource;
use klp_kernel::{Pin, repin};

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
        Verb::Fetch { id } => println!("{}", context.kernel(id)?.root.display()),
        Verb::Source { id } => {
            context.ensure(&[Need::Build])?;
            let tree = context.kernel(id)?;
            println!("{}", CSource::of(&tree, &context.cache, &context.terminal)?.root.display());
        }
        Verb::Repin { id } => {
            let pin = Pin::load(&context.project.kernel_configs(), id)?;
            println!("{}", repin(&pin, &context.cache, &context.terminal)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}
