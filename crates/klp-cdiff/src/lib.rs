// SPDX-License-Identifier: GPL-2.0-or-later
//! C diffs as live patches of a stock kernel, without a build of the kernel.
//!
//! Each touched file is compiled twice: unchanged and changed. The unchanged compile must be the shipped code, byte for byte
//! (`placement`); so it shows where the kernel has each static function and variable. The functions that differ between the two
//! compiles are extracted with what they bring along (`extract`); everything else of the kernel is referred to.

mod compile;
mod definitions;
mod error;
mod extract;
mod file;
mod generated;
mod headers;
pub mod identity;
mod includers;
pub mod inlined;
mod instruction;
mod kernel_facts;
mod layout;
mod line_numbers;
mod makefiles;
pub mod module_types;
mod names;
mod object;
mod overlay;
mod pairs;
mod placement;
mod refusal;
mod report;
mod shipped;
mod source_diff;
mod special;
mod type_text;
mod writer;

use std::collections::BTreeSet;
use std::path::Path;

use klp_base::arch::Arch;
use klp_base::cache::Key;
use klp_base::events::{Event, StageEnd, stage};
use klp_base::files::{io_error, make_dir, read_text, write};
use klp_kernel::KernelTree;
use klp_kernel::c_source::CSource;

pub use self::compile::first_error;
pub use self::error::Error;
pub use self::extract::{Needed, Replacement};
pub use self::file::is_kernel_code;
use self::file::{Compiles, Work};
use self::headers::Included;
pub use self::identity::{Compared, Draw};
use self::kernel_facts::KernelFacts;
use self::makefiles::{Built, Makefiles};
pub use self::names::klp_symbol;
pub use self::placement::{Mismatch, MismatchKind};
pub use self::refusal::{RULES, Refusal, Rule};
pub use self::report::{Changed, Diffs, FindModule, Inputs, Report};
pub use self::source_diff::{ChangedFile, DiffError, Files, apply, unified};

/// Name of the file with the report in a result.
const REPORT: &str = "report.json";

/// Directory with the result of a C diff in the cache.
///
/// # Errors
/// The diff is faulty, a rule refuses it, or the kernel has no source package.
pub fn build(inputs: &Inputs<'_>) -> Result<(std::path::PathBuf, Report), Error> {
    let Diffs { subject, texts, with_rust } = *inputs.diffs;
    let mut key =
        Key::new("c diff 2").with(&inputs.tree.fingerprint).with(inputs.sources).with([u8::from(with_rust)]);
    for diff in texts {
        key = key.with(diff);
    }
    let label = format!("{subject}-{}", inputs.tree.id);
    let entry = inputs.cache.entry("c-diff", &label, &key, |dir| {
        stage(inputs.sink, "c-diff", subject, || {
            let report = make(inputs, dir)?;
            write(&dir.join(REPORT), serde_json::to_vec_pretty(&report).unwrap_or_default())?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })
    })?;
    let file = entry.join(REPORT);
    let report = serde_json::from_str(&read_text(&file)?)
        .map_err(|error| Error::Stored { file, message: error.to_string() })?;
    Ok((entry, report))
}

/// Replaces functions by copies of themselves: a module that changes nothing. Object files go to `dir`. Returns the report, and
/// the files that could not be copied.
///
/// # Errors
/// The kernel has no source package, or a file cannot be read.
pub fn identity(inputs: &Inputs<'_>, draw: &Draw, dir: &Path) -> Result<(Report, Vec<Refusal>), Error> {
    unchanged(inputs, dir, |work| work.copy(draw, dir, &progress(inputs, draw)))
}

/// Compares compiles of the unchanged source with the kernel.
///
/// # Errors
/// The kernel has no source package, or a file cannot be read.
pub fn equality(inputs: &Inputs<'_>, draw: &Draw) -> Result<Vec<Compared>, Error> {
    unchanged(inputs, Path::new(""), |work| work.compare(draw, &progress(inputs, draw)))
}

fn progress<'p>(inputs: &'p Inputs<'_>, draw: &'p Draw) -> impl Fn(&str, usize) + 'p {
    |_, done| {
        let label = format!("files of {}", inputs.tree.id);
        inputs.sink.event(&Event::Progress { label, done: done as u64, total: Some(draw.files as u64) });
    }
}

/// Work on the unchanged source.
fn unchanged<T>(
    inputs: &Inputs<'_>,
    view: &Path,
    run: impl FnOnce(&Work<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    refuse_architecture(inputs.tree)?;
    let source = CSource::of(inputs.tree, inputs.cache, inputs.sink)?;
    let kernel = KernelFacts::of(inputs, &source)?;
    let added = BTreeSet::new();
    run(&Work { inputs, source: &source, view, kernel: &kernel, added: &added, other_compiler: None })
}

fn refuse_architecture(tree: &KernelTree) -> Result<(), Error> {
    if tree.arch == Arch::X86_64 {
        return Ok(());
    }
    Err(Error::Kernel {
        kernel: tree.id.clone(),
        message: format!("only x86_64 is supported, and it is for {}", tree.arch.name()),
    })
}

fn make(inputs: &Inputs<'_>, dir: &Path) -> Result<Report, Error> {
    let Inputs { tree, cache, sink, .. } = *inputs;
    let Diffs { subject, texts, with_rust } = *inputs.diffs;
    refuse_architecture(tree)?;
    let source = CSource::of(tree, cache, sink)?;
    let faulty = |error| Error::Diff { subject: subject.to_owned(), kernel: tree.id.clone(), error };
    let files = apply(texts, &source.root).map_err(faulty)?;
    let refused =
        |refusals| Error::Refused { subject: subject.to_owned(), kernel: tree.id.clone(), refusals };
    let (mut units, mut notes) = file::units(&files).map_err(refused)?;
    let included = Included::find(&source, &files, &mut units, cache, sink)?;
    let work = dir.join("work");
    let view = work.join("source");
    make_dir(&work)?;
    let contents = files.iter().map(|(path, file)| {
        let content = match &file.original {
            Some(original) if is_code(path) => line_numbers::keep(original, &file.patched),
            _ => file.patched.clone(),
        };
        (path.clone(), content)
    });
    overlay::make(&source.root, &view, &contents.collect(), &included.directories)?;
    let (mut compiles, mut refusals) = (Vec::new(), Vec::new());
    for (number, unit) in units.iter().enumerate() {
        let output = work.join(format!("{number}.o"));
        match Compiles::make(&source, &view, unit, &output, cache) {
            Err(Error::Compile { with: "", text, .. }) => {
                let message = format!("it does not compile alone: {}", first_error(&text));
                refusals.push(refusal::NO_OBJECT.refuse(unit, "the unchanged file", message));
            }
            made => compiles.push(made?),
        }
    }
    let compiler = headers::Compiler { source: &source, view: &view, work: &work, cache, sink };
    let mut included = compiler.compile(&included)?;
    compiles.append(&mut included.compiles);
    notes.append(&mut included.notes);
    let added = file::added(&compiles, with_rust);
    let kernel = KernelFacts::of(inputs, &source)?;
    let other_compiler = compiles.first().map(|first| first.other_compiler(tree)).transpose()?.flatten();
    notes.extend(other_compiler.clone());
    let work_of = Work {
        inputs,
        source: &source,
        view: &view,
        kernel: &kernel,
        added: &added,
        other_compiler: other_compiler.as_deref(),
    };
    refusals.append(&mut included.refusals);
    let mut report = Report::default();
    for (number, compiles) in compiles.iter().enumerate() {
        match work_of.extract(compiles, &work)? {
            Ok(part) => part.add_to(&mut report, number, dir)?,
            Err(found) => refusals.extend(found),
        }
    }
    std::fs::remove_dir_all(&work).map_err(io_error("remove", &work))?;
    if !refusals.is_empty() {
        return Err(refused(refusals));
    }
    notes.append(&mut report.notes);
    report.notes = notes;
    report.unite();
    Ok(report)
}

/// Files that the kernel's Makefiles do not leave out.
pub fn configured(source: &CSource<'_>, files: &[String]) -> BTreeSet<String> {
    let arch = includers::directory_of(source.tree.arch);
    let mut makefiles = Makefiles::new(&source.root, arch, &source.tree.config);
    let other_arch =
        |file: &str| file.strip_prefix("arch/").is_some_and(|rest| !rest.starts_with(&format!("{arch}/")));
    let is_built =
        |file: &&String| !other_arch(file) && makefiles.file(file).is_some_and(|built| built != Built::No);
    files.iter().filter(is_built).cloned().collect()
}

/// True for C code.
fn is_code(path: &str) -> bool {
    path.ends_with(".c") || path.ends_with(".h")
}
