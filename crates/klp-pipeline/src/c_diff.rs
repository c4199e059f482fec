// SPDX-License-Identifier: GPL-2.0-or-later
//! Front end of C diffs: finds what crate `klp-cdiff` needs of the kernel and of the project.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use klp_base::arch::Arch;
use klp_base::cache::{Cache, Key, sha256_file};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, read, write};
use klp_cdiff::inlined::{Copies, InlinedCopy};
use klp_cdiff::{Compared, Diffs, Draw, Error as DiffError, Inputs, Report, klp_symbol};
use klp_format::{KlpSymbol, ObjectName};
use klp_image::{DebugCopies, DebugCopy, KernelImage, ModuleImage, Symbol, unpack_module};
use klp_kernel::{KernelTree, OwnModules};

use crate::error::Error;
use crate::objects::module_file;
use crate::part::{ModulePart, Replaced};
use crate::project::Project;
use crate::resolved::{CDiff, DiffFunction, Extern, ExternKind};
use crate::stage::CDIFF_SOURCES;

/// Module of the root crate with the replacements of a C diff.
const MODULE: &str = "c_diff";

/// Makes object files of C diffs. Returns the directory of the files, in the cache, and the report.
///
/// # Errors
/// A diff is faulty, a rule refuses it, or the kernel has no source package.
pub fn build(
    project: &Project,
    tree: &KernelTree,
    diffs: &Diffs<'_>,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<(PathBuf, Report), Error> {
    with_inputs(project, tree, diffs, cache, sink, klp_cdiff::build)
}

/// Makes object files with copies of functions of the kernel, for a module that changes nothing. Returns the directory of the
/// files, in the cache, and the report.
///
/// # Errors
/// The kernel has no source package, or its source cannot be compiled.
pub fn copies(
    project: &Project,
    tree: &KernelTree,
    draw: &Draw,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<(PathBuf, Report), Error> {
    const REPORT: &str = "report.json";
    let key = Key::new("copies 1").with(&tree.fingerprint).with(CDIFF_SOURCES).with(format!("{draw:?}"));
    let entry = cache.entry("c-copies", &tree.id, &key, |dir| {
        stage(sink, "copies", &tree.id, || {
            let made = with_inputs(project, tree, &Diffs::none("copies"), cache, sink, |inputs| {
                klp_cdiff::identity(inputs, draw, dir)
            });
            let (report, refusals) = made?;
            let notes: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            let report = Report { notes, ..report };
            write(&dir.join(REPORT), serde_json::to_vec_pretty(&report).unwrap_or_default())?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })
    })?;
    let file = entry.join(REPORT);
    let report = serde_json::from_slice(&read(&file)?)
        .map_err(|error| Error::Intermediate { file, message: error.to_string() })?;
    Ok((entry, report))
}

/// Compares compiles of the unchanged source with the kernel.
///
/// # Errors
/// As [`copies`].
pub fn equality(
    project: &Project,
    tree: &KernelTree,
    draw: &Draw,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<Compared>, Error> {
    with_inputs(project, tree, &Diffs::none("equality"), cache, sink, |inputs| {
        klp_cdiff::equality(inputs, draw)
    })
}

/// Copies of a function that the compiler inlined, by the kernel's source; where that does not tell, by the index of the kernel's
/// debug information, if it was made ([`debug_copies`]).
///
/// # Errors
/// A file cannot be read or written.
pub fn inlined(
    project: &Project,
    tree: &KernelTree,
    function: &KlpSymbol,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Copies, Error> {
    let by_source = inlined_by_source(project, tree, function, cache, sink)?;
    if let Copies::NotKnown(_) = by_source
        && let Some(debug) = debug_copies_at_hand(tree, cache)?
    {
        let image = KernelImage::load(tree.image_file(), cache, sink)?;
        return Ok(inlined_by_debug(&debug, &image, function).unwrap_or(by_source));
    }
    Ok(by_source)
}

/// Copies of a function that the compiler inlined, by the kernel's source alone. Not known for kernels without a source package, and
/// where the package cannot be had.
///
/// # Errors
/// A file cannot be read or written.
pub fn inlined_by_source(
    project: &Project,
    tree: &KernelTree,
    function: &KlpSymbol,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Copies, Error> {
    if tree.arch != Arch::X86_64 || tree.source.is_none() || !matches!(tree.modules, OwnModules::Package(_)) {
        return Ok(Copies::NotKnown(format!("{} has no source that can be compiled as it was", tree.id)));
    }
    if !function.object.is_vmlinux() && project.module_source(&function.object).is_some() {
        return Ok(Copies::NotKnown(format!("module {} is not the kernel's own", function.object)));
    }
    let found = with_inputs(project, tree, &Diffs::none("copies"), cache, sink, |inputs| {
        klp_cdiff::inlined::copies(inputs, function)
    });
    match found {
        Err(error) if error.is_not_able() => Ok(Copies::NotKnown(klp_base::chain(&error))),
        found => found,
    }
}

/// Copies of a function of the kernel by the index of its debug information. `None` if the index does not have the function.
pub fn inlined_by_debug(debug: &DebugCopies, image: &KernelImage, function: &KlpSymbol) -> Option<Copies> {
    if !function.object.is_vmlinux() {
        return None;
    }
    let named = image.symbols.named(&function.symbol);
    let is_wanted = |symbol: &&Symbol<'_>| named.len() == 1 || symbol.position == function.position;
    let address = named.iter().find(is_wanted)?.address;
    let found = debug.of(&function.symbol, address)?;
    let copies = found.copies.into_iter().map(|copy| {
        let DebugCopy { caller, file, line, is_clone, .. } = copy;
        InlinedCopy { caller, file, line, is_clone }
    });
    Some(Copies::Known { file: found.file, copies: copies.collect(), user_pointers: Vec::new() })
}

/// Fetches the kernel's debug information (1 GB) and makes the index of the copies in it. Returns the ELF file and the index.
///
/// # Errors
/// The kernel pins no debug information, or the file is unavailable or of another kernel.
pub fn debug_copies(
    tree: &KernelTree,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<(PathBuf, DebugCopies), Error> {
    let vmlinux = tree.debug_vmlinux(cache, sink)?;
    let image = KernelImage::load(tree.image_file(), cache, sink)?;
    let copies = DebugCopies::load(tree.debug_file(&vmlinux), &image, cache, sink)?;
    Ok((vmlinux, copies))
}

/// Index that [`debug_copies`] has made before.
///
/// # Errors
/// It cannot be read.
pub fn debug_copies_at_hand(tree: &KernelTree, cache: &Cache) -> Result<Option<DebugCopies>, Error> {
    Ok(DebugCopies::at_hand(tree.debug_file(Path::new("")), cache)?)
}

/// Calls a function of crate `klp-cdiff` with the facts of the kernel.
fn with_inputs<T>(
    project: &Project,
    tree: &KernelTree,
    diffs: &Diffs<'_>,
    cache: &Cache,
    sink: &dyn Sink,
    run: impl FnOnce(&Inputs<'_>) -> Result<T, DiffError>,
) -> Result<T, Error> {
    let image = KernelImage::load(tree.image_file(), cache, sink)?;
    let module = |name: &ObjectName| -> Result<(ModuleImage, Vec<u8>), DiffError> {
        let file = module_file(project, tree, name, cache, sink)
            .map_err(|error| DiffError::Kernel { kernel: tree.id.clone(), message: error.to_string() })?;
        let damaged = |error: klp_image::ImageError| klp_image::Error::Image {
            path: file.clone(),
            message: error.to_string(),
        };
        let bytes = read(&file)?;
        let facts = ModuleImage::parse(&bytes, &image).map_err(damaged)?;
        Ok((facts, unpack_module(&bytes).map_err(damaged)?.into_owned()))
    };
    let inputs = Inputs { diffs, tree, image: &image, module: &module, sources: CDIFF_SOURCES, cache, sink };
    Ok(run(&inputs)?)
}

/// Object files of the C diffs of a fix and what they need, copied into a directory.
///
/// # Errors
/// As [`build`], or a file cannot be copied.
pub(crate) fn resolve(fix: &str, built: &(PathBuf, Report), dir: &Path) -> Result<CDiff, Error> {
    let (from, report) = built;
    let mut objects = Vec::new();
    for object in &report.objects {
        let name = format!("{fix}-{object}");
        let (from, to) = (from.join(object), dir.join(&name));
        std::fs::copy(&from, &to).map_err(io_error("copy", &from))?;
        objects.push((name, sha256_file(&to)?));
    }
    let symbols = report.needed.iter().map(|needed| {
        Ok(Extern {
            symbol: klp_symbol(&needed.object, &needed.symbol, needed.position)?,
            kind: if needed.is_function { ExternKind::Function } else { ExternKind::Variable },
            name: needed.symbol.clone(),
            exported: needed.exported,
            namespace: needed.namespace.clone(),
            c_declaration: String::new(),
            asserted: false,
            per_cpu: false,
            room: None,
            linked_as: Some(needed.link_name.clone()),
        })
    });
    let symbols = symbols.collect::<Result<_, klp_format::NameError>>()?;
    let replaced = report.replaced.iter().map(|function| {
        let symbol = klp_symbol(&function.object, &function.symbol, function.position)?;
        Ok(DiffFunction { symbol, entry: function.entry.clone() })
    });
    let replaced = replaced.collect::<Result<_, klp_format::NameError>>()?;
    Ok(CDiff { fix: fix.to_owned(), objects, symbols, replaced })
}

/// Part of a module that a C diff makes. `dir` has its object files.
pub(crate) fn part(diff: &CDiff, dir: &Path) -> ModulePart {
    let module = format!("{MODULE}_{}", diff.fix.replace('-', "_"));
    let mut items = format!(
        "\n/// Replacements of the C diff of fix `{}`.\nmod {module} {{\n    unsafe extern \"C\" {{\n",
        diff.fix
    );
    for function in &diff.replaced {
        // Writing to a String cannot fail.
        let _ = writeln!(
            items,
            "        /// Replacement of `{}`.\n        pub fn {}();",
            function.symbol, function.entry
        );
    }
    items.push_str("    }\n}\n");
    ModulePart {
        objects: diff.objects.iter().map(|(name, _)| dir.join(name)).collect(),
        shims: None,
        symbols: diff.symbols.clone(),
        replaced: diff
            .replaced
            .iter()
            .map(|function| Replaced {
                symbol: function.symbol.clone(),
                entry: format!("{module}::{}", function.entry),
                original: None,
            })
            .collect(),
        items: if diff.replaced.is_empty() { String::new() } else { items },
    }
}

/// Crate of a fix that is a C diff alone.
pub(crate) const CRATE: &str = "//! Generated: the fix is a C diff.\n#![no_std]\n\n/// The fix.\npub struct Patch;\n\nklp::livepatch!(Patch);\n";

/// Objects that a C diff patches or uses.
pub(crate) fn objects(report: &Report) -> Result<Vec<ObjectName>, Error> {
    let replaced = report.replaced.iter().map(|function| &function.object);
    let used = report.needed.iter().map(|needed| &needed.object);
    Ok(replaced.chain(used).map(|name| ObjectName::new(name)).collect::<Result<_, _>>()?)
}
