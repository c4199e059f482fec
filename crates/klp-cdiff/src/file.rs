// SPDX-License-Identifier: GPL-2.0-or-later
//! One file of a diff: compile it, prove the unchanged compile, find the functions that differ, extract them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::remove_file;
use std::path::Path;

use klp_base::cache::Cache;
use klp_base::files::{io_error, write};
use klp_format::{ObjectName, VMLINUX};
use klp_image::{NotTraceable, Traceability};
use klp_kernel::KernelTree;
use klp_kernel::c_source::{CSource, CompileCommand};
use klp_module::Module;

use crate::compile::{self, Form};
use crate::error::Error;
use crate::extract::{self, Extracted, Facts};
use crate::generated;
use crate::instruction;
use crate::kernel_facts::KernelFacts;
use crate::makefiles::Built;
use crate::object::{Item, ItemId, Object};
use crate::pairs::{Comparison, Compiled, Difference, is_by_content, may_start_anew};
use crate::placement::{Mismatch, MismatchKind, Placement};
use crate::refusal::{self, Refusal};
use crate::report::{Changed, Inputs, Report};
use crate::shipped::{Found, Shipped};
use crate::source_diff::Files;

/// Directories of the source that are not code of the kernel.
const NO_CODE: [&str; 6] = ["Documentation/", "tools/", "samples/", "scripts/", "LICENSES/", "usr/"];

/// True for a path of the kernel's code: no tool, sample or text.
pub fn is_kernel_code(path: &str) -> bool {
    !NO_CODE.iter().any(|dir| path.starts_with(dir))
}

/// C files to compile, from the files of a diff. The notes name the files that are left out.
pub(crate) fn units(files: &Files) -> Result<(Vec<String>, Vec<String>), Vec<Refusal>> {
    let (mut units, mut notes, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for (path, file) in files {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_text =
            name == "MAINTAINERS" || name == ".gitignore" || path.ends_with(".rst") || path.ends_with(".txt");
        if is_text || !is_kernel_code(path) {
            notes.push(format!("{path}: no code of the kernel; left out"));
        } else if path.ends_with(".c") && file.original.is_some() {
            units.push(path.clone());
        } else if !path.ends_with(".h") {
            let message = match path.rsplit_once('.').map(|(_, extension)| extension) {
                Some("c") => "it is a new file, and no object of the kernel has it",
                Some("S") => "it is assembly",
                _ => "it is no C code",
            };
            refusals.push(refusal::NO_OBJECT.refuse(path, name, message));
        }
    }
    if refusals.is_empty() { Ok((units, notes)) } else { Err(refusals) }
}

/// Both compiles of a file.
pub(crate) struct Compiles {
    file: String,
    command: CompileCommand,
    original: Compiled,
    patched: Compiled,
    /// Knowledge of the Makefiles about a file that includes a changed one; `None` for a file of the diff.
    included: Option<Built>,
}

impl Compiles {
    pub(crate) fn of(file: &str, command: CompileCommand, original: Compiled, patched: Compiled) -> Self {
        Self { file: file.to_owned(), command, original, patched, included: None }
    }

    /// Compiles a file that includes a changed one. `None` if both objects are the same.
    pub(crate) fn of_included(
        source: &CSource<'_>,
        view: &Path,
        (file, built): (&str, Built),
        command: &CompileCommand,
        output: &Path,
        cache: &Cache,
    ) -> Result<Option<Self>, Error> {
        let unchanged = |command: &_| compile::original(source, file, command, Form::Sections, cache);
        let (original, command) = generated::with(source, file, command.clone(), cache, unchanged)?;
        let patched = compile::patched(source, view, file, &command, Form::Sections, output)?;
        remove_file(output).map_err(io_error("remove", output))?;
        if original == patched {
            return Ok(None);
        }
        let (original, patched) = (parse(source, file, &original)?, parse(source, file, &patched)?);
        let compiles = Self { included: Some(built), ..Self::of(file, command, original, patched) };
        Ok(compiles.differ().then_some(compiles))
    }

    /// True if there is something to extract or to refuse.
    fn differ(&self) -> bool {
        let mut comparison = Comparison::new(&self.original, &self.patched);
        let is_new = |id: ItemId, item: &Item| {
            item.is_global && !is_by_content(item) && comparison.pairs.original(id).is_none()
        };
        self.patched.object.items.iter().enumerate().any(|(id, item)| is_new(id, item))
            || !data(&self.file, &mut comparison).is_empty()
            || !differing(&self.file, &comparison, &BTreeSet::new()).0.is_empty()
    }

    pub(crate) fn other_compiler(&self, tree: &KernelTree) -> Result<Option<String>, Error> {
        compile::other_compiler(tree, &self.command)
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    pub(crate) fn make(
        source: &CSource<'_>,
        view: &Path,
        file: &str,
        output: &Path,
        cache: &Cache,
    ) -> Result<Self, Error> {
        let command = source.command(file, cache)?;
        let unchanged = |command: &_| compile::original(source, file, command, Form::Sections, cache);
        let (original, command) = generated::with(source, file, command, cache, unchanged)?;
        let patched = compile::patched(source, view, file, &command, Form::Sections, output)?;
        let parsed = |bytes: &[u8]| parse(source, file, bytes);
        Ok(Self::of(file, command, parsed(&original)?, parsed(&patched)?))
    }
}

pub(crate) fn parse(source: &CSource<'_>, file: &str, bytes: &[u8]) -> Result<Compiled, Error> {
    Compiled::parse(bytes).map_err(|error| Error::Object {
        file: file.to_owned(),
        kernel: source.tree.id.clone(),
        message: error.to_string(),
    })
}

/// Global functions and variables that the files add for one another. `with_rust`: and all new global functions, for Rust code.
pub(crate) fn added(files: &[Compiles], with_rust: bool) -> BTreeSet<String> {
    let undefined: BTreeSet<&str> = files
        .iter()
        .flat_map(|file| &file.patched.object.symbols)
        .filter(|symbol| symbol.section.is_none())
        .map(|symbol| symbol.name.as_str())
        .collect();
    let mut added = BTreeSet::new();
    for file in files {
        let globals = |object: &Object| -> BTreeSet<String> {
            object.items.iter().filter(|item| item.is_global).map(|item| item.name.clone()).collect()
        };
        let before = globals(&file.original.object);
        let new = file.patched.object.items.iter().filter(|item| {
            let is_used = undefined.contains(item.name.as_str()) || (with_rust && item.is_function());
            item.is_global && !before.contains(&item.name) && is_used
        });
        added.extend(new.map(|item| item.name.clone()));
    }
    added
}

/// Everything for the work on one file.
pub(crate) struct Work<'a> {
    pub(crate) inputs: &'a Inputs<'a>,
    pub(crate) source: &'a CSource<'a>,
    /// Changed source.
    pub(crate) view: &'a Path,
    pub(crate) kernel: &'a KernelFacts,
    pub(crate) added: &'a BTreeSet<String>,
    /// Difference between the kernel's compiler and this machine's.
    pub(crate) other_compiler: Option<&'a str>,
}

/// Part of the report for one file.
pub(crate) struct Part {
    extracted: Option<Extracted>,
    changed: Vec<Changed>,
    notes: Vec<String>,
    identical: usize,
}

impl Part {
    /// A file that the kernel does not have.
    fn without(file: &str, reason: &str) -> Self {
        let note = format!("{file}: {reason}; left out");
        Self { extracted: None, changed: Vec::new(), notes: vec![note], identical: 0 }
    }

    /// True if the part replaces functions.
    pub(crate) fn replaces(&self) -> bool {
        self.extracted.as_ref().is_some_and(|extracted| !extracted.replaced.is_empty())
    }

    /// Adds the part to a report, and its object file to a directory.
    pub(crate) fn add_to(self, report: &mut Report, number: usize, dir: &Path) -> Result<(), Error> {
        report.changed.extend(self.changed);
        report.notes.extend(self.notes);
        report.identical += self.identical;
        if let Some(extracted) = self.extracted {
            let name = format!("{number}.o");
            write(&dir.join(&name), extracted.object)?;
            report.objects.push(name);
            report.needed.extend(extracted.needed);
            report.replaced.extend(extracted.replaced);
            report.added.extend(extracted.added);
            if !extracted.passed_by.is_empty() {
                report.notes.push(format!(
                    "{} places of the changed functions do not take part in dynamic debugging or tracing: their switches are in a module",
                    extracted.passed_by.len()
                ));
            }
            report.notes.extend(extracted.addresses.iter().map(|name| {
                format!(
                    "{name} is new, and its address is taken: the kernel may still call it when the patch is unloaded"
                )
            }));
        }
        Ok(())
    }
}

/// Functions to extract.
struct Selected<'s> {
    comparison: &'s Comparison<'s>,
    /// Functions to replace, by their numbers in the patched object.
    changed: &'s BTreeMap<ItemId, Found>,
    /// Functions that count as new.
    parted: &'s BTreeSet<String>,
}

/// Result for one file: what to build, or why not.
type Extraction = Result<Part, Vec<Refusal>>;

impl Work<'_> {
    /// Comparison of the unchanged compile of a file of the kernel itself.
    pub(crate) fn placement(&self, compiles: &Compiles) -> Result<Placement, Error> {
        let shipped = Shipped::kernel(ObjectName::new(VMLINUX)?, self.inputs.image, &self.kernel.memory);
        self.placement_in(compiles, &shipped)
    }

    fn placement_in(&self, compiles: &Compiles, shipped: &Shipped<'_>) -> Result<Placement, Error> {
        let mut placement = Placement::of(&compiles.original, shipped);
        if !placement.mismatches.is_empty() && placement.identical > 0 {
            self.compare_plain(compiles, shipped, &mut placement)?;
        }
        Ok(placement)
    }

    /// Extracts unchanged functions of a file of the kernel itself: those that can be replaced and that `chosen` names.
    pub(crate) fn extract_copies(
        &self,
        compiles: &Compiles,
        chosen: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Extraction, Error> {
        let shipped = Shipped::kernel(ObjectName::new(VMLINUX)?, self.inputs.image, &self.kernel.memory);
        let Compiles { file, original, patched, .. } = compiles;
        let placement = self.placement_in(compiles, &shipped)?;
        if !placement.mismatches.is_empty() {
            return Ok(Err(vec![self.not_shipped(file, &placement)]));
        }
        let comparison = Comparison::new(original, patched);
        let traceability = |found: &Found| self.inputs.image.traceability(&found.name, found.position);
        let mut changed = BTreeMap::new();
        for (function, id) in comparison.functions() {
            let item = &original.object.items[function];
            if item.parent.is_none()
                && let Ok(Some(found)) = replaceable(file, item, &placement, &shipped, &traceability)
                && chosen(&item.name)
            {
                changed.insert(id, found);
            }
        }
        let third = || {
            compile::original(self.source, file, &compiles.command, Form::NoSiblingCalls, self.inputs.cache)
        };
        let facts = self.facts(file, &shipped);
        let extracted = self.extract_changed(
            compiles,
            &Selected { comparison: &comparison, changed: &changed, parted: &BTreeSet::new() },
            &placement,
            &facts,
            &third,
        )?;
        Ok(extracted.map(|extracted| Part {
            extracted: Some(extracted),
            changed: Vec::new(),
            notes: Vec::new(),
            identical: placement.identical,
        }))
    }

    fn facts<'f>(&'f self, file: &'f str, shipped: &'f Shipped<'f>) -> Facts<'f> {
        Facts {
            kernel: self.inputs.image,
            exports: &self.kernel.exports,
            memory: &self.kernel.memory,
            sealed: &self.kernel.sealed,
            never_returning: &self.kernel.never_returning,
            shipped,
            file,
            added: self.added,
            has_landing_pads: self.inputs.tree.config.is_on("X86_KERNEL_IBT"),
        }
    }

    /// Extracts what differs between the two compiles of a file.
    pub(crate) fn extract(&self, compiles: &Compiles, work: &Path) -> Result<Extraction, Error> {
        let name = ObjectName::new(&compiles.command.object)?;
        if name.is_vmlinux() {
            let shipped = Shipped::kernel(name, self.inputs.image, &self.kernel.memory);
            let traceability = |found: &Found| self.inputs.image.traceability(&found.name, found.position);
            return self.extract_from(compiles, &shipped, &traceability, work);
        }
        let (image, bytes) = match (self.inputs.module)(&name) {
            Err(error @ Error::Kernel { .. })
                if compiles.included.is_some_and(|built| built != Built::Yes) =>
            {
                return Ok(Ok(Part::without(&compiles.file, &error.to_string())));
            }
            found => found?,
        };
        let module = Module::parse(&bytes).map_err(|error| Error::Object {
            file: compiles.file.clone(),
            kernel: self.inputs.tree.id.clone(),
            message: format!("module {name}: {error}"),
        })?;
        let shipped = Shipped::module(name, &image, module);
        let traceability = |found: &Found| image.traceability(&found.name, found.position);
        self.extract_from(compiles, &shipped, &traceability, work)
    }

    fn extract_from(
        &self,
        compiles: &Compiles,
        shipped: &Shipped<'_>,
        traceability: &dyn Fn(&Found) -> Traceability,
        work: &Path,
    ) -> Result<Extraction, Error> {
        let Compiles { file, original, patched, .. } = compiles;
        let placement = self.placement_in(compiles, shipped)?;
        if !placement.mismatches.is_empty() {
            if let Some(built) = compiles.included
                && placement.is_absent(built == Built::Yes)
            {
                return Ok(Ok(Part::without(file, "none of its functions is in the kernel")));
            }
            return Ok(Err(vec![self.not_shipped(file, &placement)]));
        }
        let mut comparison = Comparison::new(original, patched);
        let mut refusals = data(file, &mut comparison);
        refusals.extend(collected(file, &comparison));
        let replaceable_in = |item: &Item| replaceable(file, item, &placement, shipped, traceability);
        let parted = part_untraceable(&mut comparison, &replaceable_in);
        let (differing, mut notes) = differing(file, &comparison, &parted);
        let mut changed = BTreeMap::new();
        for (id, (function, _)) in &differing {
            match replaceable_in(&original.object.items[*function]) {
                Ok(Some(found)) => {
                    changed.insert(*id, found);
                }
                Ok(None) => notes.push(format!(
                    "{file}: {}: its code has run and is freed; left out",
                    original.object.items[*function].name
                )),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        let part = |extracted| Part {
            extracted,
            changed: changed_of(file, shipped, &comparison, &differing),
            notes: notes.clone(),
            identical: placement.identical,
        };
        if changed.is_empty() && !brings(&comparison, self.added) {
            return Ok(Ok(part(None)));
        }
        let facts = self.facts(file, shipped);
        let third = || {
            let Compiles { file, command, .. } = compiles;
            let output = work.join("calls.o");
            compile::patched(self.source, self.view, file, command, Form::NoSiblingCalls, &output)
        };
        let extracted = self.extract_changed(
            compiles,
            &Selected { comparison: &comparison, changed: &changed, parted: &parted },
            &placement,
            &facts,
            &third,
        )?;
        Ok(extracted.map(|extracted| part(Some(extracted))))
    }

    /// Extracts changed functions. If one of them ends in a jump, they come from another compile, which makes calls of the jumps.
    fn extract_changed(
        &self,
        compiles: &Compiles,
        selected: &Selected<'_>,
        placement: &Placement,
        facts: &Facts<'_>,
        without_jumps: &dyn Fn() -> Result<Vec<u8>, Error>,
    ) -> Result<Result<Extracted, Vec<Refusal>>, Error> {
        let Selected { comparison, changed, parted } = *selected;
        match extract::extract(comparison, changed, placement, facts) {
            Ok(extracted) if !extracted.jumps.is_empty() => {}
            result => return Ok(result),
        }
        let Compiles { file, original, patched, .. } = compiles;
        let third = parse(self.source, file, &without_jumps()?)?;
        let mut comparison = Comparison::new(original, &third);
        let refusals = data(file, &mut comparison);
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        let mut found = BTreeMap::new();
        for (id, symbol) in changed {
            let name = &patched.object.items[*id].name;
            let Some(id) = third.object.item(name) else {
                let message = "it ends in a jump, and the compiler has no function of this name that makes a call of it";
                return Ok(Err(vec![refusal::SIBLING_CALL.refuse(file, name, message)]));
            };
            found.insert(id, symbol.clone());
        }
        part_named(&mut comparison, parted);
        let extracted = match extract::extract(&comparison, &found, placement, facts) {
            Ok(extracted) => extracted,
            Err(refusals) => return Ok(Err(refusals)),
        };
        let message =
            "it ends in a jump: a task that sleeps behind it has nothing of the function on its stack";
        let refuse = |name: &String| refusal::SIBLING_CALL.refuse(file, name, message);
        Ok(if extracted.jumps.is_empty() {
            Ok(extracted)
        } else {
            Err(extracted.jumps.iter().map(refuse).collect())
        })
    }

    /// Refusal of a file whose unchanged compile is not the shipped code.
    fn not_shipped(&self, file: &str, placement: &Placement) -> Refusal {
        const SHOWN: usize = 3;
        let all = placement.identical + placement.mismatches.len();
        let words = |mismatch: &Mismatch| match mismatch.what {
            MismatchKind::Missing => format!("{} is not in the kernel", mismatch.function),
            MismatchKind::Code(at) => format!("{} differs from byte {at} on", mismatch.function),
        };
        let shown: Vec<String> = placement.mismatches.iter().take(SHOWN).map(words).collect();
        let more = placement.mismatches.len().saturating_sub(SHOWN);
        let more = if more == 0 { String::new() } else { format!(", and {more} more") };
        let rule = if placement.identical == 0 { refusal::NO_OBJECT } else { refusal::ORIGINAL_DIFFERS };
        let compiler = self.other_compiler.map_or_else(String::new, |words| format!("; {words}"));
        rule.refuse(
            file,
            "the unchanged file",
            format!(
                "{} of {all} functions are not what the compiler makes of the source: {}{more}{compiler}",
                placement.mismatches.len(),
                shown.join("; ")
            ),
        )
    }

    /// Compares functions that differ with a compile without sections for each function: jumps between functions of a file may
    /// be short there.
    fn compare_plain(
        &self,
        compiles: &Compiles,
        shipped: &Shipped<'_>,
        placement: &mut Placement,
    ) -> Result<(), Error> {
        let Compiles { file, command, .. } = compiles;
        let bytes = compile::original(self.source, file, command, Form::Plain, self.inputs.cache)?;
        let plain = parse(self.source, file, &bytes)?;
        placement.accept_equal(&compiles.original, &plain, shipped);
        Ok(())
    }
}

/// Checks the variables of a file. Tables of numbers and texts that only functions use may differ: their users then differ too.
/// (The address of a table of functions stays in the kernel's objects, beyond the life of the patch.)
fn data(file: &str, comparison: &mut Comparison<'_>) -> Vec<Refusal> {
    const UNCHECKED: [&str; 6] = ["__dyndbg", ".discard", ".modinfo", "__ksymtab", ".init", ".printk_index"];
    let mut refusals = Vec::new();
    for (original, patched) in comparison.variables() {
        let item = &comparison.original.object.items[original];
        let section = &comparison.original.object.sections[item.section];
        let unchecked = UNCHECKED.iter().any(|name| section.name.starts_with(name));
        if unchecked || is_by_content(item) || may_start_anew(item) || comparison.same_data(original, patched)
        {
            continue;
        }
        if !item.is_global && !section.is_writable() && comparison.may_be_replaced(original, patched) {
            comparison.pairs.part(original, patched);
            continue;
        }
        let after = &comparison.patched.object.items[patched];
        let message = if item.size == after.size {
            "its initial content differs".to_owned()
        } else {
            format!("its size differs: {} bytes, {} with the diff", item.size, after.size)
        };
        refusals.push(refusal::CHANGED_DATA.refuse(file, &item.name, message));
    }
    refusals
}

/// Takes static functions that differ and cannot be replaced as new ones: functions that the source declares inline have no ftrace
/// site. Their callers then differ. Returns the names.
fn part_untraceable(
    comparison: &mut Comparison<'_>,
    replaceable: &dyn Fn(&Item) -> Result<Option<Found>, Refusal>,
) -> BTreeSet<String> {
    let mut parted = BTreeSet::new();
    loop {
        let before = parted.len();
        for (original, patched) in comparison.functions() {
            let item = &comparison.original.object.items[original];
            let is_candidate = item.parent.is_none() && !item.is_global && !item.is_weak;
            if is_candidate
                && comparison.difference(original, patched).is_some()
                && replaceable(item).is_err()
                && comparison.only_branches_use(original)
            {
                parted.insert(item.name.clone());
                comparison.pairs.part(original, patched);
            }
        }
        if parted.len() == before {
            return parted;
        }
    }
}

/// Takes functions with these names as new ones.
fn part_named(comparison: &mut Comparison<'_>, names: &BTreeSet<String>) {
    for (original, patched) in comparison.functions() {
        if names.contains(&comparison.original.object.items[original].name) {
            comparison.pairs.part(original, patched);
        }
    }
}

/// Refuses new exports, parameters and initcalls: what the kernel collects from a section when it boots or loads a module.
fn collected(file: &str, comparison: &Comparison<'_>) -> Vec<Refusal> {
    // Code and data of the start, which may change: it has run.
    const OF_START: [&str; 4] = [".init.text", ".init.data", ".init.rodata", ".exit.text"];
    let sizes = |compiled: &Compiled| {
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for section in &compiled.object.sections {
            let is_collected = extract::COLLECTED.iter().any(|start| section.name.starts_with(start));
            let name = section.name.split('+').next().unwrap_or_default();
            if is_collected && !OF_START.iter().any(|start| name.starts_with(start)) {
                *sizes.entry(name.to_owned()).or_default() += section.size;
            }
        }
        sizes
    };
    let before = sizes(comparison.original);
    let grown = sizes(comparison.patched)
        .into_iter()
        .filter(|(name, size)| *size > before.get(name).copied().unwrap_or(0));
    grown
        .map(|(name, _)| {
            let message = "the diff adds an entry to it (an export, a parameter, an initcall, a tracepoint)";
            refusal::SECTION.refuse(file, &format!("section {name}"), message)
        })
        .collect()
}

/// Functions that differ, by their numbers in the patched object, with their numbers in the original.
type Differing = BTreeMap<ItemId, (ItemId, Difference)>;

fn differing(file: &str, comparison: &Comparison<'_>, parted: &BTreeSet<String>) -> (Differing, Vec<String>) {
    let (mut found, mut notes) = (Differing::new(), Vec::new());
    for (original, patched) in comparison.functions() {
        let item = &comparison.original.object.items[original];
        if item.parent.is_some() {
            continue;
        }
        if let Some(difference) = comparison.difference(original, patched) {
            found.insert(patched, (original, difference));
        }
    }
    let gone = comparison.original.object.items.iter().enumerate().filter(|(id, item)| {
        item.is_function()
            && item.parent.is_none()
            && !parted.contains(&item.name)
            && comparison.pairs.patched(*id).is_none()
    });
    for (_, item) in gone {
        notes.push(format!("{file}: {} is gone; the kernel keeps it", item.name));
    }
    (found, notes)
}

fn changed_of(
    file: &str,
    shipped: &Shipped<'_>,
    comparison: &Comparison<'_>,
    differing: &Differing,
) -> Vec<Changed> {
    differing
        .iter()
        .map(|(patched, (function, difference))| Changed {
            file: file.to_owned(),
            object: shipped.name.to_string(),
            function: comparison.original.object.items[*function].name.clone(),
            difference: difference.to_string(),
            instruction: instruction::first(comparison, *function, *patched),
        })
        .collect()
}

/// True if a file adds something that another file of the diff uses.
fn brings(comparison: &Comparison<'_>, added: &BTreeSet<String>) -> bool {
    comparison.patched.object.items.iter().enumerate().any(|(id, item)| {
        item.is_global && added.contains(&item.name) && comparison.pairs.original(id).is_none()
    })
}

/// Symbol of a function to replace. `None` if its code is freed after boot.
fn replaceable(
    file: &str,
    item: &Item,
    placement: &Placement,
    shipped: &Shipped<'_>,
    traceability: &dyn Fn(&Found) -> Traceability,
) -> Result<Option<Found>, Refusal> {
    if placement.overridden.contains(&item.name) {
        return Err(refusal::WEAK.refuse(
            file,
            &item.name,
            "it is weak, and another definition is in the kernel",
        ));
    }
    let Some(found) = placement.symbol(item, shipped) else {
        let message =
            "several functions of the kernel are equal to it, and nothing tells which one is this file's";
        return Err(refusal::SYMBOL.refuse(file, &item.name, message));
    };
    match traceability(&found) {
        Traceability::Traceable => Ok(Some(found)),
        Traceability::Not(NotTraceable::Init) => Ok(None),
        Traceability::Not(why) => Err(refusal::NOT_TRACEABLE.refuse(
            file,
            &item.name,
            format!("it differs, and cannot be replaced: {why}"),
        )),
    }
}
