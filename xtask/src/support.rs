// SPDX-License-Identifier: GPL-2.0-or-later
//! Support matrix: results of `qemu-test --record` for each kernel, and their table in the README.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use klp_base::events::Verdict;
use klp_kernel::Pin;
use klp_vm::Summary;
use serde::{Deserialize, Serialize};
use xshell::cmd;

use crate::context::Context;
use crate::machine::{NotAble, shell};

/// File with the results, relative to the project's directory.
const FILE: &str = "docs/support.json";
const SCHEMA: &str = "ferrograft.support/1";

/// Content of the file with the results.
#[derive(Serialize, Deserialize)]
struct Support {
    schema: String,
    /// Records by kernel id.
    kernels: BTreeMap<String, Record>,
}

/// Record of one kernel with all cases passed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// `uname -r` of the tested kernel.
    release: String,
    /// Short hash of the tested commit.
    commit: String,
    /// Date in UTC.
    date: String,
    /// Number of passed cases.
    passed: usize,
    /// Number of skipped cases; each has a reason in its case.toml.
    skipped: usize,
}

/// Checks before the tests that the working tree equals the commit. Returns the commit.
pub(crate) fn commit_to_record() -> Result<String> {
    let shell = shell()?;
    let changed = cmd!(shell, "git status --porcelain").quiet().read()?;
    if !changed.is_empty() {
        bail!(NotAble(format!(
            "results are recorded of a commit, and these files differ from it; commit them first:\n{changed}"
        )));
    }
    Ok(cmd!(shell, "git rev-parse --short=10 HEAD").quiet().read()?)
}

/// Records the kernels with all cases passed, and updates the README's table. Records of other kernels do not
/// change.
pub(crate) fn record(context: &Context, commit: &str, summary: &Summary) -> Result<()> {
    let mut support = read(context)?;
    let shell = shell()?;
    let date = cmd!(shell, "date -u +%Y-%m-%d").quiet().read()?;
    for id in context.project.kernel_ids() {
        let of_kernel: Vec<Verdict> =
            summary.cases.iter().filter(|run| run.end.kernel == id).map(|run| run.end.verdict).collect();
        let count = |wanted| of_kernel.iter().filter(|verdict| **verdict == wanted).count();
        let (passed, skipped) = (count(Verdict::Passed), count(Verdict::Skipped));
        if passed > 0 && passed + skipped == of_kernel.len() {
            let release = Pin::load(&context.project.kernel_configs(), &id)?.release.to_string();
            let record = Record { release, commit: commit.to_owned(), date: date.clone(), passed, skipped };
            support.kernels.insert(id, record);
        }
    }
    let text = serde_json::to_string_pretty(&support)? + "\n";
    klp_base::cache::write_durable(&context.project.root().join(FILE), text.as_bytes())?;
    let (readme, text) = readme(context)?;
    klp_base::cache::write_durable(&readme, &text)?;
    Ok(())
}

fn read(context: &Context) -> Result<Support> {
    let file = context.project.root().join(FILE);
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
    let support: Support =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
    if support.schema != SCHEMA {
        bail!("{} has schema {:?}, not {SCHEMA:?}", file.display(), support.schema);
    }
    Ok(support)
}

/// Path of the README, and its text with the current table.
pub(crate) fn readme(context: &Context) -> Result<(PathBuf, Vec<u8>)> {
    let file = context.project.root().join("README.md");
    let text = between_marks(&file, "support matrix", &table(context)?)?;
    Ok((file, text))
}

/// Text of a document with the generated part between its marks replaced.
pub(crate) fn between_marks(file: &Path, name: &str, generated: &str) -> Result<Vec<u8>> {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->\n"));
    let text = std::fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
    let parts = text.split_once(&begin).and_then(|(head, rest)| Some((head, rest.split_once(&end)?)));
    let Some((head, (_, tail))) = parts else { bail!("{} has lost the marks of its {name}", file.display()) };
    Ok(format!("{head}{begin}{generated}{end}{tail}").into_bytes())
}

/// One row for each pinned kernel. A record of another release than the pinned one is ignored.
fn table(context: &Context) -> Result<String> {
    let support = read(context)?;
    let mut text =
        String::from("| id | kernel | architecture | fixes | all cases passed |\n|---|---|---|---|---|\n");
    for id in context.project.kernel_ids() {
        let pin = Pin::load(&context.project.kernel_configs(), &id)?;
        let fixes = if pin.has_kernel_crate() { "own `core`, `kernel` crate" } else { "own `core`" };
        let proven = match support.kernels.get(&id).filter(|record| record.release == pin.release.as_str()) {
            Some(Record { commit, date, passed, skipped: 0, .. }) => format!("{date} at {commit}: {passed}"),
            Some(Record { commit, date, passed, skipped, .. }) => {
                format!("{date} at {commit}: {passed}, {skipped} skipped")
            }
            None => "not yet recorded".to_owned(),
        };
        let source = if pin.source.is_some() { "built here" } else { "Debian's" };
        text.push_str(&format!(
            "| `{id}` | {}, {source} | {} | {fixes} | {proven} |\n",
            pin.release,
            pin.arch.name()
        ));
    }
    Ok(text)
}
