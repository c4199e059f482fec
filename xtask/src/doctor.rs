// SPDX-License-Identifier: GPL-2.0-or-later
//! `doctor`: the tools of the host, present and missing.

use std::process::ExitCode;

use anyhow::{Result, bail};
use klp_base::arch::Arch;
use klp_kernel::host::rustc::Rustc;

use crate::context::Context;
use crate::machine::NotAble;
use crate::setup::{Need, TOOLS, guest_target};

/// Check the host's tools, and install what is missing.
///
/// Example: cargo xtask doctor --fix
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install what is missing
    #[arg(long)]
    fix: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    if args.fix {
        context.ensure(&Need::ALL)?;
    }
    let mut missing = 0;
    for tool in TOOLS {
        let present = (tool.present)();
        missing += u32::from(!present);
        let word = if present { "ok" } else { "MISSING" };
        let hint = if present { String::new() } else { format!("; install the package {}", tool.package) };
        println!("{word:<8} {}: {}{hint}", tool.name, tool.why);
    }
    match Rustc::find(&context.cache) {
        Ok(_) => println!("ok       Rust with the source of core: compiles fixes"),
        Err(error) => {
            missing += 1;
            println!("MISSING  Rust with the source of core: {error}");
        }
    }
    println!("ok       guest programs are built for {}", guest_target(Arch::X86_64)?);
    if missing == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(NotAble(format!("{missing} of the tools are missing; run `cargo xtask doctor --fix`")))
}
