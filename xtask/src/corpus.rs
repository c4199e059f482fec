// SPDX-License-Identifier: GPL-2.0-or-later
//! `corpus`: each file that differs between two versions of a kernel's source as a C diff of its own. The results are counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use klp_base::events::Sink as _;
use klp_kernel::Pin;
use klp_testkit::corpus::{Corpus, Outcome};
use serde::{Deserialize, Serialize};
use xshell::cmd;

use crate::context::Context;
use crate::machine::shell;
use crate::setup::Need;
use crate::support::between_marks;

/// File with the recorded results, relative to the project's directory.
const FILE: &str = "docs/c-diff-corpus.json";

/// Make a live patch of each C file that differs between a kernel's source and another version of it, and count the results.
///
/// The pin of the kernel names the other version (`packages.other-source`). Results are cached; a run that was stopped goes on
/// where it was. The case `corpus` boots a sample.
///
/// Example: cargo xtask corpus --kernel debian-6.12-old --files 100 --seed 1
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the kernel
    #[arg(long, default_value = "debian-6.12-old")]
    kernel: String,
    /// Number of files, drawn by the seed; without it all files
    #[arg(long)]
    files: Option<usize>,
    /// Seed of the draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these files, by their paths from the top of the source
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "files")]
    only: Vec<String>,
    /// Print one JSON document with the result of each file
    #[arg(long)]
    json: bool,
    /// Record the counts of all files in docs/
    #[arg(long, conflicts_with_all = ["files", "only"])]
    record: bool,
}

/// Kernels with another version of the source in their pins.
pub(crate) const KERNELS: [&str; 2] = ["debian-6.1", "debian-6.12-old"];

impl Args {
    /// Arguments for all files on a kernel.
    pub(crate) fn all_files(kernel: &str) -> Self {
        Self { kernel: kernel.to_owned(), files: None, seed: 1, only: Vec::new(), json: false, record: false }
    }
}

/// Counts of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    /// `uname -r` of the kernel.
    release: String,
    /// Version of the kernel's source.
    from: String,
    /// Version of the other source.
    to: String,
    /// Date in UTC.
    date: String,
    /// Files that differ.
    files: usize,
    not_configured: usize,
    not_alone: usize,
    nothing: usize,
    /// Files with the rule; a file may have several.
    rules: BTreeMap<String, usize>,
    refused: usize,
    failed: usize,
    built: usize,
    /// Replaced functions of all files.
    functions: usize,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        self.files += 1;
        match outcome {
            Outcome::Built { replaced } => {
                self.built += 1;
                self.functions += replaced.len();
            }
            Outcome::Nothing => self.nothing += 1,
            Outcome::Refused { rules } => {
                self.refused += 1;
                let mut ids: Vec<&String> = rules.iter().map(|(rule, _)| rule).collect();
                ids.dedup();
                for id in ids {
                    *self.rules.entry(id.clone()).or_default() += 1;
                }
            }
            Outcome::NotAlone { .. } => self.not_alone += 1,
            Outcome::NotConfigured => self.not_configured += 1,
            Outcome::Failed { .. } => self.failed += 1,
        }
    }

    /// Percentage of the files with other object code that became live patches, in tenths.
    fn share(&self) -> String {
        let tried = self.built + self.refused + self.failed;
        let tenths = (self.built * 1000).checked_div(tried).unwrap_or(0);
        format!("{}.{} %", tenths / 10, tenths % 10)
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    ensure!(args.files != Some(0), "draw at least one file");
    let context = Context::new()?;
    context.ensure(&[Need::Build])?;
    let tree = context.kernel(&args.kernel)?;
    let corpus = Corpus::of(&context.project, &tree, &context.cache, &context.terminal)?;
    let mut files = corpus.drawn(args.seed)?;
    files.truncate(args.files.unwrap_or(files.len()));
    if !args.only.is_empty() {
        let unknown = args.only.iter().find(|file| !files.contains(file));
        ensure!(unknown.is_none(), "{} is no C file that differs", unknown.map_or("", String::as_str));
        files.clone_from(&args.only);
    }
    context.terminal.note(format!("  corpus       {} files, {}", files.len(), tree.id));
    let outcomes = corpus.outcomes(&files, &context.terminal)?;
    let shell = shell()?;
    let pin = Pin::load(&context.project.kernel_configs(), &tree.id)?;
    let mut counts = Counts {
        release: tree.release.to_string(),
        from: pin.packages.get("source").map(|package| package.version.clone()).unwrap_or_default(),
        to: corpus.version().to_owned(),
        date: cmd!(shell, "date -u +%Y-%m-%d").quiet().read()?,
        ..Counts::default()
    };
    outcomes.iter().for_each(|outcome| counts.add(outcome));
    if args.json {
        let by_file: BTreeMap<&String, &Outcome> = files.iter().zip(&outcomes).collect();
        println!("{}", serde_json::to_string_pretty(&by_file)?);
    } else {
        print(&files, &outcomes, &counts);
    }
    if args.record {
        record(&context, &tree.id, &counts)?;
    }
    Ok(ExitCode::from(u8::from(counts.failed > 0)))
}

fn print(files: &[String], outcomes: &[Outcome], counts: &Counts) {
    for (file, outcome) in files.iter().zip(outcomes) {
        match outcome {
            Outcome::Refused { rules } => {
                for (rule, message) in rules {
                    println!("refused    {file}: [{rule}] {message}");
                }
            }
            Outcome::Failed { message } => println!("FAILED     {file}: {message}"),
            Outcome::NotAlone { message } => println!("not alone  {file}: {message}"),
            _ => {}
        }
    }
    println!("{}: {} -> {}: {} files differ", counts.release, counts.from, counts.to, counts.files);
    println!(
        "  {:5} are not in the kernel's configuration, or do not compile unchanged",
        counts.not_configured
    );
    println!("  {:5} do not compile without changes of other files", counts.not_alone);
    println!("  {:5} do not change the object code", counts.nothing);
    println!("  {:5} are refused", counts.refused);
    for (rule, files) in &counts.rules {
        println!("        {files:5} {rule}");
    }
    println!("  {:5} failed", counts.failed);
    println!("  {:5} are built ({}), {} functions", counts.built, counts.share(), counts.functions);
}

fn recorded(context: &Context) -> Result<BTreeMap<String, Counts>> {
    let file = context.project.root().join(FILE);
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))
}

fn record(context: &Context, id: &str, counts: &Counts) -> Result<()> {
    let mut all = recorded(context)?;
    all.insert(id.to_owned(), counts.clone());
    let text = serde_json::to_string_pretty(&all)? + "\n";
    klp_base::cache::write_durable(&context.project.root().join(FILE), text.as_bytes())?;
    let (page, text) = page(context)?;
    Ok(klp_base::cache::write_durable(&page, &text)?)
}

/// Path of the page on the corpus, and its text with the current table.
pub(crate) fn page(context: &Context) -> Result<(PathBuf, Vec<u8>)> {
    let mut table = String::from("| kernel |");
    let all = recorded(context)?;
    let mut rules: Vec<&String> = all.values().flat_map(|counts| counts.rules.keys()).collect();
    rules.sort();
    rules.dedup();
    for id in all.keys() {
        let _ = write!(table, " `{id}` |");
    }
    let _ = write!(table, "\n|---|{}\n", "---:|".repeat(all.len()));
    let mut row = |name: &str, value: &dyn Fn(&Counts) -> String| {
        let cells: String = all.values().map(|counts| format!(" {} |", value(counts))).collect();
        let _ = writeln!(table, "| {name} |{cells}");
    };
    row("date", &|counts| counts.date.clone());
    row("source", &|counts| counts.from.clone());
    row("changed to", &|counts| counts.to.clone());
    row("C files that differ", &|counts| counts.files.to_string());
    row("not in the configuration, or do not compile unchanged", &|counts| counts.not_configured.to_string());
    row("do not compile without changes of other files", &|counts| counts.not_alone.to_string());
    row("object code does not change", &|counts| counts.nothing.to_string());
    row("refused by rule", &|counts| counts.refused.to_string());
    for rule in rules {
        row(&format!("of them `{rule}`"), &|counts| counts.rules.get(rule).copied().unwrap_or(0).to_string());
    }
    row("failed", &|counts| counts.failed.to_string());
    row("**built**", &|counts| format!("**{}**", counts.built));
    row("built, of those whose object code changes", &Counts::share);
    row("functions replaced", &|counts| counts.functions.to_string());
    let file = context.project.root().join("docs/c-diff-corpus.md");
    let text = between_marks(&file, "corpus", &table)?;
    Ok((file, text))
}
