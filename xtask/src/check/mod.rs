// SPDX-License-Identifier: GPL-2.0-or-later
//! `check`: verification of a module without a boot.

mod formats;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use klp_base::events::{Silent, Sink};
use klp_kernel::KernelTree;
use klp_pipeline::expected;
use klp_pipeline::project::{Fix, Project};
use klp_pipeline::stage::{Range, Stage};
use klp_verify::{Expected, Outcome, rules};

use self::formats::Checked;
use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;

/// Judge a module against a kernel without booting it: each rule of docs/verify-rules.md.
///
/// A fix or stream is built first. A file is judged as it is, by all rules that need no more than the file.
///
/// Ends with code 0 (no error), 3 (an error), 4 (with --strict: something could not be checked), 2 (wrong words), 1 or 69 (the check
/// itself failed).
///
/// Example: cargo xtask check build/debian-6.12/cmdline/5-postlink/kpatch_cmdline.ko --format json
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of a fix or stream, or a module's file (*.ko)
    #[arg(required_unless_present = "explain")]
    target: Option<String>,
    /// Id of the kernel (a directory of kernel-configs)
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: String,
    /// Module of a live patch that is loaded before this one; may be given several times
    #[arg(long, value_name = "FILE")]
    loaded: Vec<PathBuf>,
    /// For people; one JSON object (docs/schemas/check.2.json); SARIF 2.1.0; annotations of a CI run
    #[arg(long, default_value = "human")]
    format: Format,
    /// End with code 4 if there is no error, and a rule could not be checked
    #[arg(long)]
    strict: bool,
    /// Print a rule's requirement, its source in the kernel, the consequence of a violation and the remedy
    #[arg(
        long,
        value_name = "RULE",
        conflicts_with = "target",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(rules::rule_ids())
    )]
    explain: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
    Sarif,
    Github,
}

/// Exit code for a module with an error.
const ERRORS: u8 = 3;
/// Exit code for a module without errors, of which something could not be checked, with `--strict`.
const NOT_CHECKED: u8 = 4;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match (args.explain.as_deref().and_then(rules::find), &args.target) {
        (Some(rule), _) => {
            print!("{rule}");
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(target)) => check(args, target),
        (None, None) => bail!("neither a target nor a rule to explain is named"),
    }
}

fn check(args: &Args, target: &str) -> Result<ExitCode> {
    let context = Context::new()?;
    let file = Path::new(target);
    let is_module = file.extension().is_some_and(|extension| extension == "ko");
    let tree = if is_module { context.kernel_alone(&args.kernel)? } else { context.kernel(&args.kernel)? };
    let (module, built) = match is_module {
        true => (file.to_owned(), None),
        false => built(&context, &tree, target).map(|(module, expected)| (module, Some(expected)))?,
    };
    let bytes = std::fs::read(&module).with_context(|| format!("could not read {}", module.display()))?;
    let mut expected = match built {
        Some(expected) => expected,
        None => {
            // As the build leaves it beside the module.
            let debug = module.with_extension("ko.debug");
            let debug = if debug.is_file() { klp_base::files::read(&debug)? } else { bytes.clone() };
            expected::of_file(&source(&context, &context.project, &[], &tree), &bytes, &debug)?
        }
    };
    for file in &args.loaded {
        let before = klp_base::files::read(file)?;
        let before = expected::loaded_patch(&before, &expected.layout);
        expected
            .loaded
            .push(before.map_err(|error| anyhow!("{} is no live patch: {error}", file.display()))?);
    }
    let report = klp_verify::verify(&bytes, &expected);
    let checked = Checked { module: &module, kernel: &tree.id, report: &report };
    match args.format {
        Format::Human => checked.print_rules(),
        Format::Json => println!("{:#}", checked.json()),
        Format::Sarif => println!("{:#}", checked.sarif()),
        Format::Github => checked.print_annotations(),
    }
    let sink: &dyn Sink = if args.format == Format::Human { &context.terminal } else { &Silent };
    if let Err(refused) = klp_verify::refuse_errors(&module, &report, sink) {
        eprintln!("error: {refused}");
    }
    Ok(ExitCode::from(match report.rules.iter().map(|rule| rule.outcome).max() {
        Some(Outcome::Broken) => ERRORS,
        Some(Outcome::Unchecked) if args.strict => NOT_CHECKED,
        _ => 0,
    }))
}

/// Builds a fix or stream up to the stage before `verify`; returns the module, and the facts to compare it with.
fn built(context: &Context, tree: &KernelTree, target: &str) -> Result<(PathBuf, Expected)> {
    if Path::new(target).is_file() {
        bail!("{target} is a file, but no module: the name of a module ends with .ko");
    }
    context.ensure(&[Need::Build])?;
    let target = context.project.target(target)?;
    let built = context.build_target(tree, &target, Range { from: None, to: Stage::Postlink })?;
    let project = context.project.with_modules_of(&target, tree)?;
    let expected = expected::of_build(&source(context, &project, &target.fixes, tree), &built)?;
    Ok((built.ko, expected))
}

fn source<'a>(
    context: &'a Context,
    project: &'a Project,
    fixes: &'a [Fix],
    tree: &'a KernelTree,
) -> expected::Source<'a> {
    expected::Source { project, fixes, tree, cache: &context.cache, sink: &context.terminal }
}
