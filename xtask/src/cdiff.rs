// SPDX-License-Identifier: GPL-2.0-or-later
//! `cdiff`: what a C diff changes in a kernel's object code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use klp_base::files::read;
use klp_cdiff::{Diffs, Report};
use klp_format::{MODULE_NAME_MAX, ModuleName};
use klp_kernel::KernelTree;
use klp_pipeline::project::Target;
use klp_pipeline::stage::{Range, Stage};
use klp_pipeline::{c_diff, source_edit};

use crate::build::copy_out;
use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;

/// Show what a C diff changes in a kernel's object code: functions to replace, new ones, symbols it needs. With one of kpatch-build's
/// options -n, -R or -o: make the live patch, too.
///
/// Example: cargo xtask cdiff fix.patch --kernel debian-6.12 -n livepatch-fix -o out
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
    /// Make the live patch, with this name of the module; without it the name is of the first diff
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// Make the live patch, stacked on the loaded ones, which it does not replace
    #[arg(short = 'R', long)]
    non_replace: bool,
    /// Make the live patch, and write it to this directory; without it to the current one
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
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
    let stem = args.diffs.first().and_then(|path| path.file_stem()).unwrap_or_default().to_string_lossy();
    let module = ModuleName::sanitized(&args.name.clone().unwrap_or_else(|| default_name(&stem)))?;
    let name = format!("cdiff-{module}");
    let given = Diffs { subject: &name, texts: &diffs, with_rust: false };
    let (dir, report) = c_diff::build(&context.project, &tree, &given, &context.cache, &context.terminal)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, args.show);
        println!("objects: {}", dir.display());
    }
    if args.name.is_some() || args.non_replace || args.output.is_some() {
        ensure!(
            !report.objects.is_empty(),
            "the object code does not change, so that there is no live patch to make"
        );
        let ko = make(&context, &tree, args, (&name, &module), &diffs)?;
        println!("{}", ko.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Name of the module of a diff, as kpatch-build makes it: cut where it is too long for the kernel.
fn default_name(stem: &str) -> String {
    format!("livepatch-{stem}").chars().take(MODULE_NAME_MAX).collect()
}

/// Makes the live patch. Returns its file.
fn make(
    context: &Context,
    tree: &KernelTree,
    args: &Args,
    (name, module): (&str, &ModuleName),
    diffs: &[&[u8]],
) -> Result<PathBuf> {
    let number = |(number, diff): (usize, &&[u8])| (format!("{number}.patch"), diff.to_vec());
    let diffs: Vec<(String, Vec<u8>)> = diffs.iter().enumerate().map(number).collect();
    let dir = context.project.build_dir(&tree.id, ".artifacts").join(name);
    let fix = source_edit::fix_of_diffs(&dir, (name, "C diffs"), &diffs, Some(module.as_str()))?;
    let target = Target { replace: !args.non_replace, ..Target::of_fix(fix) };
    let built = context.build_target(tree, &target, Range { from: None, to: Stage::Verify })?;
    copy_out(&[&built.ko], args.output.as_deref().unwrap_or(Path::new(".")))
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
