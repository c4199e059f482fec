// SPDX-License-Identifier: GPL-2.0-or-later
//! `cdiff`: what a C diff changes in a kernel's object code.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use klp_base::files::read;
use klp_cdiff::Report;
use klp_pipeline::c_diff;

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;

/// Show what a C diff changes in a kernel's object code: functions to replace, new ones, symbols it needs.
///
/// Example: cargo xtask cdiff fix.patch --kernel debian-6.12
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Diffs, in the order of their application
    #[arg(required = true)]
    diffs: Vec<PathBuf>,
    /// Id of the kernel
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: String,
    /// Print the first instruction of each function that differs, in the kernel and with the diff
    #[arg(long)]
    show: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Build])?;
    let tree = context.kernel(&args.kernel)?;
    let diffs = args.diffs.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let diffs: Vec<&[u8]> = diffs.iter().map(Vec::as_slice).collect();
    let name = args.diffs.first().and_then(|path| path.file_stem()).unwrap_or_default().to_string_lossy();
    let (dir, report) =
        c_diff::build(&context.project, &tree, &name, &diffs, &context.cache, &context.terminal)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, args.show);
        println!("objects: {}", dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, show: bool) {
    if report.objects.is_empty() {
        println!("nothing to do: the object code does not change");
    }
    for changed in &report.changed {
        println!("{}:{}  {} ({})", changed.object, changed.function, changed.difference, changed.file);
        if let Some((before, after)) = changed.instruction.as_ref().filter(|_| show) {
            println!("    kernel {before}\n    diff   {after}");
        }
    }
    for name in &report.added {
        println!("new      {name}");
    }
    for symbol in report.needed.iter().filter(|symbol| !symbol.exported) {
        println!("needs    {}:{},{}", symbol.object, symbol.symbol, symbol.position);
    }
    for note in &report.notes {
        println!("note     {note}");
    }
    println!("{} functions of the touched files are the shipped code", report.identical);
}
