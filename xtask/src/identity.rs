// SPDX-License-Identifier: GPL-2.0-or-later
//! `identity`: the proof of the extractor of C diffs by copies of the kernel's own functions.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use klp_cdiff::MismatchKind;
use klp_pipeline::c_diff;
use klp_testkit::copies;

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;

/// Replace functions of a kernel by extracted copies of themselves, and build the module. The case `identity` boots one.
///
/// Example: cargo xtask identity --files 80 --share 40 --seed 1
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the kernel
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: String,
    /// Number of files
    #[arg(long, default_value_t = 80)]
    files: usize,
    /// Percentage of the functions of a file
    #[arg(long, default_value_t = 40)]
    share: usize,
    /// Seed of the draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only compare the compiles with the kernel's code, and build no module
    #[arg(long)]
    equality: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    ensure!(args.files > 0 && (1..=100).contains(&args.share), "draw at least one file and 1 to 100 percent");
    let context = Context::new()?;
    context.ensure(&[Need::Build])?;
    let tree = context.kernel(&args.kernel)?;
    let (project, cache, sink) = (&context.project, &context.cache, &context.terminal);
    let draw = copies::draw(args.files, args.share, args.seed);
    if args.equality {
        return compare(&context, &tree, &draw);
    }
    let (built, report) = copies::build(project, &tree, &draw, cache, sink)?;
    for note in &report.notes {
        println!("left out: {note}");
    }
    println!(
        "{} functions of {} files are replaced by copies, {} functions compared: {}",
        report.replaced.len(),
        report.objects.len(),
        report.identical,
        built.ko.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn compare(context: &Context, tree: &klp_kernel::KernelTree, draw: &klp_cdiff::Draw) -> Result<ExitCode> {
    let compared = c_diff::equality(&context.project, tree, draw, &context.cache, &context.terminal)?;
    for file in &compared {
        for mismatch in &file.mismatches {
            let what = match mismatch.what {
                MismatchKind::Missing => "not in the kernel".to_owned(),
                MismatchKind::Code(at) => format!("differs from byte {at} on"),
            };
            println!("{}: {}: {what}", file.file, mismatch.function);
        }
        for name in &file.overridden {
            println!("{}: {name}: weak, another file's is in the kernel", file.file);
        }
    }
    let totals = klp_cdiff::identity::totals(&compared);
    let count = |name: &str| totals.get(name).copied().unwrap_or(0);
    println!(
        "{} objects: {} functions identical, {} different, {} weak and overridden",
        compared.len(),
        count("identical"),
        count("different"),
        count("overridden")
    );
    Ok(ExitCode::SUCCESS)
}
