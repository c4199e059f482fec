// SPDX-License-Identifier: GPL-2.0-or-later
//! `check`: result of the checks on a module before its insertion.

use std::path::Path;

use serde::Serialize;

use crate::console::Console;
use crate::judge::check;
use crate::judge::judgement::Judgement;
use crate::model::error::Error;
use crate::model::module_file::ModuleFile;
use crate::model::store;
use crate::model::system::System;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    path: String,
    module: Option<String>,
    loadable: bool,
    refusals: Vec<String>,
    warnings: Vec<String>,
    not_checked: Vec<String>,
}

/// Exit code of a module without refusals but with incomplete checks.
const NOT_CHECKED: u8 = 8;

/// Verb `check`.
///
/// # Errors
/// The module is refused, or some checks could not be made.
pub(crate) fn run(
    system: &System,
    console: &mut Console<'_>,
    argument: &Path,
    json: bool,
) -> Result<(), Error> {
    let file = ModuleFile::open(&store::find(system, argument)?)?;
    let module = file.module()?;
    let judgement = check::preflight(system, &module, false)?;
    if json {
        console.json(&Document {
            schema: "ferrograft.kpatch.check/1",
            path: file.shown().display().to_string(),
            module: module.name().ok().map(|name| name.to_string()),
            loadable: judgement.refusals.is_empty(),
            refusals: judgement.refusals.iter().map(ToString::to_string).collect(),
            warnings: judgement.warnings.clone(),
            not_checked: judgement.unchecked.clone(),
        });
    } else {
        show(console, file.shown(), &judgement);
    }
    match (judgement.refusals.is_empty(), judgement.unchecked.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(Error::Reported { code: NOT_CHECKED }),
        (false, _) => Err(Error::Refused { path: file.shown().to_owned(), refusals: judgement.refusals }),
    }
}

fn show(console: &mut Console<'_>, path: &Path, judgement: &Judgement) {
    for warning in &judgement.warnings {
        console.say(format_args!("warning: {warning}"));
    }
    for unchecked in &judgement.unchecked {
        console.say(format_args!("not checked: {unchecked}"));
    }
    if judgement.refusals.is_empty() {
        console.say(format_args!("{} can be loaded{}", path.display(), reservation(judgement)));
    }
}

/// Suffix of the verdict: the checks that could not be made, without the reasons, which have lines of their own.
fn reservation(judgement: &Judgement) -> String {
    let topics = judgement
        .unchecked
        .iter()
        .map(|text| text.split_once(": ").map_or(text.as_str(), |(topic, _)| topic));
    match topics.collect::<Vec<_>>().join("; ") {
        topics if topics.is_empty() => topics,
        topics => format!(" as far as could be checked; not checked: {topics}"),
    }
}
