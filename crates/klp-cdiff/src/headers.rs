// SPDX-License-Identifier: GPL-2.0-or-later
//! C files that include a changed file: which ones the kernel has, and their compiles, on all processors.

use std::collections::BTreeSet;
use std::path::Path;

use klp_base::cache::Cache;
use klp_base::events::{Event, Sink, StageEnd, stage};
use klp_base::parallel;
use klp_kernel::c_source::{CSource, CompileCommand};

use crate::compile;
use crate::error::Error;
use crate::file::Compiles;
use crate::generated;
use crate::includers::{Includers, directory_of, is_c};
use crate::layout;
use crate::makefiles::{Built, Makefiles};
use crate::refusal::{self, Refusal};
use crate::source_diff::Files;
use crate::type_text::type_text;

/// CPU time of both compiles of a file, in tenths of a second. Measured with Debian's 6.12: 1.7 s for each of 10 files of `ipc/`,
/// 2.0 s for each of the 446 files that include `net/tcp.h`.
const COST: usize = 20;
/// Most files to try for the types of a header: some need files that the kernel's build generates.
const MOST_CANDIDATES: usize = 5;
/// Name of the work in events.
const FILES: &str = "c-diff headers, files";
const TYPES: &str = "c-diff headers, types of files";

/// Files that include a changed file.
#[derive(Default)]
pub(crate) struct Included {
    /// C files with what the Makefiles tell.
    pub(crate) files: Vec<(String, Built)>,
    /// Directories that the view of the source must have, so that `../` leads to the changed files.
    pub(crate) directories: BTreeSet<String>,
    /// Files whose types the diff may change: for each changed file those that show its types, the cheapest first.
    types: Vec<Vec<String>>,
    /// True if a header may change types.
    types_of_headers: bool,
}

impl Included {
    /// Finds the files. `units` has the C files of the diff; those that are only parts of other C files are taken out.
    pub(crate) fn find(
        source: &CSource<'_>,
        changed: &Files,
        units: &mut Vec<String>,
        cache: &Cache,
        sink: &dyn Sink,
    ) -> Result<Self, Error> {
        let tree = source.tree;
        let may_change_types = |path: &str| {
            changed.get(path).is_some_and(|file| {
                file.original.as_ref().is_some_and(|original| type_text(original) != type_text(&file.patched))
            })
        };
        let mut makefiles = Makefiles::new(&source.root, directory_of(tree.arch), &tree.config);
        let graph = Includers::of(source, cache, sink)?;
        let is_included = |path: &&str| path.ends_with(".h") || (is_c(path) && graph.is_included(path));
        let wanted: Vec<&str> = changed.keys().map(String::as_str).filter(is_included).collect();
        units.retain(|unit| makefiles.file(unit).is_some() || !graph.is_included(unit));
        let own = units.iter().filter(|unit| may_change_types(unit)).map(|unit| vec![unit.clone()]);
        let mut found = Self { types: own.collect(), ..Self::default() };
        for path in graph.c_files(&wanted) {
            if units.iter().any(|unit| unit == path) {
                continue;
            }
            match makefiles.file(path) {
                Some(Built::No) => {}
                // A part of another C file, which is in the list.
                None if graph.is_included(path) => {}
                built => found.files.push((path.to_owned(), built.unwrap_or(Built::Unknown))),
            }
        }
        for path in wanted.iter().filter(|path| may_change_types(path)) {
            found.types_of_headers = true;
            let includers = graph.c_files(&[path]);
            let own = units.iter().filter(|unit| includers.contains(unit.as_str())).cloned();
            let built = found
                .files
                .iter()
                .filter(|(file, built)| *built == Built::Yes && includers.contains(file.as_str()));
            let mut others: Vec<String> = built.map(|(file, _)| file.clone()).collect();
            others.sort_by_cached_key(|file| {
                std::fs::metadata(source.root.join(file)).map_or(u64::MAX, |data| data.len())
            });
            let candidates: Vec<String> = own.chain(others).take(MOST_CANDIDATES).collect();
            if !found.types.iter().any(|list| list.first() == candidates.first()) {
                found.types.push(candidates);
            }
        }
        found.directories = graph.directories(&wanted);
        Ok(found)
    }
}

/// Compiles of the files that include a changed one.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Files whose object differs.
    pub(crate) compiles: Vec<Compiles>,
    pub(crate) notes: Vec<String>,
    pub(crate) refusals: Vec<Refusal>,
}

impl Outcome {
    /// Adds the comparison of a file's types. Two files show the same fault of a header.
    fn add(&mut self, (refusals, notes): (Vec<Refusal>, Vec<String>)) {
        for refusal in refusals {
            if !self.refusals.contains(&refusal) {
                self.refusals.push(refusal);
            }
        }
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }
}

/// Outcome of one file.
enum One {
    Same,
    Differs(Box<Compiles>),
    LeftOut(String),
    Refused(Refusal),
}

/// Everything for the compiles of one diff.
pub(crate) struct Compiler<'c> {
    pub(crate) source: &'c CSource<'c>,
    /// Changed source.
    pub(crate) view: &'c Path,
    /// Directory for objects.
    pub(crate) work: &'c Path,
    pub(crate) cache: &'c Cache,
    pub(crate) sink: &'c dyn Sink,
}

impl Compiler<'_> {
    /// Compiles files unchanged and changed, and keeps those whose objects differ. A changed layout of a type ends the work early.
    pub(crate) fn compile(&self, included: &Included) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        let mut compared = BTreeSet::new();
        for candidates in &included.types {
            compared.extend(self.first_layouts(candidates, &mut outcome)?);
        }
        if included.files.is_empty() || !outcome.refusals.is_empty() {
            return Ok(outcome);
        }
        self.compile_files(&included.files, &mut outcome)?;
        if included.types_of_headers {
            // A constant of a header may be the length of an array in a type of another file.
            let names: Vec<String> =
                outcome.compiles.iter().map(|compiles| compiles.file().to_owned()).collect();
            let names: Vec<&String> = names.iter().filter(|name| !compared.contains(*name)).collect();
            let found = self.on_all_processors(TYPES, names.len(), &|number| match names.get(number) {
                Some(name) => self.layouts(name, number),
                None => Ok(Default::default()),
            })?;
            for found in found {
                outcome.add(found);
            }
        }
        Ok(outcome)
    }

    /// Compares the layouts of the first file that compiles. Returns its name.
    fn first_layouts(&self, candidates: &[String], outcome: &mut Outcome) -> Result<Option<String>, Error> {
        for file in candidates {
            match self.layouts(file, 0) {
                Err(Error::Compile { with: "", .. } | Error::Source(_)) if candidates.len() > 1 => {}
                found => {
                    outcome.add(found?);
                    return Ok(Some(file.clone()));
                }
            }
        }
        Ok(None)
    }

    /// Compares the layouts of the types of a file.
    fn layouts(&self, file: &str, number: usize) -> Result<(Vec<Refusal>, Vec<String>), Error> {
        let command = self.source.command(file, self.cache)?;
        let output = self.work.join(format!("types-{number}.o"));
        let both = |command: &_| compile::layouts(self.source, self.view, file, command, &output);
        let ((original, patched), _) = generated::with(self.source, file, command, self.cache, both)?;
        Ok(layout::compare(&original, &patched))
    }

    fn compile_files(&self, files: &[(String, Built)], outcome: &mut Outcome) -> Result<(), Error> {
        let count = files.len();
        self.sink.note(format!(
            "files that include what the diff changes: {count}; they take about {} s of CPU time, on {} processors",
            (count * COST).div_ceil(10),
            parallel::processors()
        ));
        let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        let commands = self.source.commands(&names, self.cache)?;
        let all = stage(self.sink, "c-headers", &self.source.tree.id, || {
            let one = |number: usize| match (files.get(number), commands.get(number)) {
                (Some((file, built)), Some(command)) => {
                    let output = self.work.join(format!("included-{number}.o"));
                    self.compile_one((file, *built), command, &output)
                }
                _ => Ok(One::Same),
            };
            Ok::<_, Error>((StageEnd::Done, self.on_all_processors(FILES, count, &one)?))
        })?;
        for one in all {
            match one {
                One::Same => {}
                One::Differs(compiles) => outcome.compiles.push(*compiles),
                One::LeftOut(note) => outcome.notes.push(note),
                One::Refused(refusal) => outcome.refusals.push(refusal),
            }
        }
        let differ = outcome.compiles.len();
        outcome.notes.insert(
            0,
            format!("files that include what the diff changes: {count}; objects that differ: {differ}"),
        );
        Ok(())
    }

    fn compile_one(
        &self,
        (file, built): (&str, Built),
        command: &Result<CompileCommand, String>,
        output: &Path,
    ) -> Result<One, Error> {
        let without = |reason: String| match built {
            Built::Yes => One::Refused(refusal::NOT_COMPARED.refuse(file, "the unchanged file", reason)),
            _ => One::LeftOut(format!("{file}: {reason}; left out, for no Makefile builds it for certain")),
        };
        let command = match command {
            Ok(command) => command,
            Err(reason) => return Ok(without(reason.clone())),
        };
        let compiles =
            Compiles::of_included(self.source, self.view, (file, built), command, output, self.cache);
        match compiles {
            Ok(None) => Ok(One::Same),
            Ok(Some(compiles)) => Ok(One::Differs(Box::new(compiles))),
            Err(Error::Compile { with: "", text, .. }) => {
                Ok(without(format!("it does not compile: {}", compile::first_error(&text))))
            }
            Err(error) => Err(error),
        }
    }

    fn on_all_processors<T: Send>(
        &self,
        label: &str,
        count: usize,
        one: &(dyn Fn(usize) -> Result<T, Error> + Sync),
    ) -> Result<Vec<T>, Error> {
        parallel::on_all_processors(
            count,
            parallel::processors(),
            &|done| {
                let (done, total) = (done as u64, Some(count as u64));
                self.sink.event(&Event::Progress { label: label.to_owned(), done, total });
            },
            one,
        )
    }
}
