// SPDX-License-Identifier: GPL-2.0-or-later
//! `check`: verification of a module without a boot.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use klp_base::events::{Silent, Sink};
use klp_kernel::KernelTree;
use klp_pipeline::expected;
use klp_pipeline::project::Project;
use klp_pipeline::stage::{Range, Stage};
use klp_verify::{Expected, Outcome, Report, rules};

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;

/// Judge a module against a kernel without booting it: each rule of docs/verify-rules.md.
///
/// A fix or stream is built first. A file is judged as it is, by all rules that need no more than the file.
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
    /// For people, or one JSON object for programs
    #[arg(long, default_value = "human")]
    format: Format,
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
}

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
    let tree = context.kernel(&args.kernel)?;
    let file = Path::new(target);
    let is_module = file.extension().is_some_and(|extension| extension == "ko");
    let (module, built) = match is_module {
        true => (file.to_owned(), None),
        false => built(&context, &tree, target).map(|(module, expected)| (module, Some(expected)))?,
    };
    let bytes = std::fs::read(&module).with_context(|| format!("could not read {}", module.display()))?;
    let expected = match built {
        Some(expected) => expected,
        None => expected::of_file(&source(&context, &context.project, &tree), &bytes)?,
    };
    let report = klp_verify::verify(&bytes, &expected);
    let sink: &dyn Sink = match args.format {
        Format::Human => {
            print_rules(&report, &module, &tree.id);
            &context.terminal
        }
        Format::Json => {
            let document = serde_json::json!({
                "schema": "ferrograft.check/1",
                "module": module,
                "kernel": tree.id,
                "refused": report.refusals() > 0,
                "rules": report.rules,
                "findings": report.findings,
            });
            println!("{document:#}");
            &Silent
        }
    };
    klp_verify::refuse_errors(&module, &report, sink)?;
    Ok(ExitCode::SUCCESS)
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
    let expected = expected::of_build(&source(context, &project, tree), &built)?;
    Ok((built.ko, expected))
}

fn source<'a>(context: &'a Context, project: &'a Project, tree: &'a KernelTree) -> expected::Source<'a> {
    expected::Source { project, tree, cache: &context.cache, sink: &context.terminal }
}

fn print_rules(report: &Report, module: &Path, kernel: &str) {
    println!("{} for {kernel}:", module.display());
    for rule in &report.rules {
        let word = match rule.outcome {
            Outcome::Passed => "passed",
            Outcome::NotApplied => "not applied",
            Outcome::Warned => "warning",
            Outcome::Unchecked => "NOT CHECKED",
            Outcome::Broken => "BROKEN",
        };
        let left_out = match (&rule.left_out, rule.outcome) {
            (Some(reason), Outcome::NotApplied | Outcome::Unchecked) => format!(": {reason}"),
            (Some(part), _) => format!(", but not {part}"),
            (None, _) => String::new(),
        };
        println!("  {word:<12} {}{left_out}", rule.rule);
    }
}
