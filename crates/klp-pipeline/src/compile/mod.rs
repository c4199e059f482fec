// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 3: rustc with a separately compiled `core`, then one relocatable link that removes unused code.

mod entries;
mod flags;
mod kernel_crate;
mod own_core;
mod own_crates;
mod root;
mod rustc;
mod soft_float;

use std::path::{Path, PathBuf};

use klp_base::cache::{Cache, Key};
use klp_base::events::Sink;
use klp_base::files::{read, write};
use klp_base::process::Cmd;
use klp_format::ftrace::Sites;
use klp_kernel::KernelTree;
use klp_kernel::exports;
use klp_kernel::host::rustc::Rustc;

pub(crate) use self::flags::rustc as rustc_flags;
pub(crate) use self::own_core::build as build_core;
pub use self::root::imports;
pub(crate) use self::rustc::{Job, judge};
use crate::c_diff;
use crate::error::Error;
use crate::part::ModulePart;
use crate::project::{Project, Runtime, Target};
use crate::resolved::Resolved;
use crate::stage::WORK_SOURCES;

/// Edition of `klp`, the fixes and the generated crates.
const EDITION: &str = "2024";

/// rustc flags for the crates of a module, in addition to the flags derived from the kernel.
const EXTRA: [&str; 4] = [
    "-Dwarnings",
    "-Cdebuginfo=2",
    "-Zcrate-attr=feature(used_with_arg)",
    // Crate `klp` omits its half `sys` on the kernel's own `kernel` crate.
    "--check-cfg=cfg(kernel_crate)",
];

/// Name of the root crate in messages.
const ROOT: &str = "the module's tables";

/// Name of the root crate, which holds the module's tables. The module's own name may be that of another crate, or none that
/// rustc accepts.
const TABLES: &str = "klp_tables";

/// Sections of the result; all others are removed. `KEEP` marks sections without references. Of the functions
/// with space for ftrace only those of the root crate are listed, because only this crate has the space after
/// the functions' landing pads.
const LINKER_SCRIPT: &str = "SECTIONS {
  .text 0 : ALIGN(16) { *(.text .text.*) }
  .init.text 0 : ALIGN(16) { KEEP(*(.init.text)) }
  .exit.text 0 : ALIGN(16) { KEEP(*(.exit.text)) }
  .rodata 0 : { *(.rodata .rodata.* .data.rel.ro .data.rel.ro.*) }
  .data 0 : { *(.data .data.*) }
  .bss 0 : { *(.bss .bss.*) }
  .modinfo 0 : { KEEP(*(.modinfo)) }
  .init.data 0 : { KEEP(*(.init.data)) }
  .exit.data 0 : { KEEP(*(.exit.data)) }
  @LIST@ 0 : { */@ROOT@(__patchable_function_entries) }
  /DISCARD/ : { *(.eh_frame) *(__patchable_function_entries) *(.note.gnu.property) *(.llvm_addrsig) *(.comment) *(.note.GNU-stack) *(.ARM.attributes) }
}
";

/// Key over all inputs of [`compile`], except for the generated sources in stage 2's directory.
///
/// # Errors
/// A source file cannot be read.
pub fn key(tree: &KernelTree, project: &Project, target: &Target, rustc: &Rustc) -> Result<Key, Error> {
    // Stream version and predecessor in the manifest.
    let version = format!("{:?} {:?}", target.version, target.predecessor);
    Ok(sources_key(tree, project, target, rustc)?.with(&target.name).with(version))
}

/// Cache key over hand-written sources and compiler flags.
fn sources_key(tree: &KernelTree, project: &Project, target: &Target, rustc: &Rustc) -> Result<Key, Error> {
    let mut key =
        Key::new("compile").with(rustc.version()).with(flags::rustc(tree).join(" ")).with(LINKER_SCRIPT);
    key = key.with(format!("{:?}", sites(tree)));
    if target.runtime() == Runtime::Kernel {
        // The kernel defines flags and crates.
        key = key.with(&tree.fingerprint);
    }
    let mut files = klp_base::cache::walk(&project.kmod().join("src"))?;
    for fix in &target.fixes {
        files.extend(fix.files()?);
    }
    for file in files {
        let relative = file.strip_prefix(project.root()).unwrap_or(&file);
        key = key.with(relative.to_string_lossy().as_bytes()).with_file(&file)?;
    }
    Ok(key)
}

/// Key of the crates below the root crate.
fn crates_key(inputs: &Inputs<'_>) -> Result<Key, Error> {
    let Inputs { tree, project, target, resolved, rustc, sources, .. } = *inputs;
    let mut key = sources_key(tree, project, target, rustc)?
        .with(WORK_SOURCES)
        .with(format!("{:?}", resolved.cfg))
        .with_file(&sources.join("bindings.rs"))?;
    for fix in &target.fixes {
        key = key.with_file(&sources.join(format!("replaced/{}.rs", fix.name)))?;
    }
    Ok(key)
}

/// Inputs of stage 3.
pub struct Inputs<'a> {
    /// The kernel.
    pub tree: &'a KernelTree,
    /// The project.
    pub project: &'a Project,
    /// The fix or stream.
    pub target: &'a Target,
    /// Result of stage 1.
    pub resolved: &'a Resolved,
    /// The compiler.
    pub rustc: &'a Rustc,
    /// Directory of stage 2.
    pub sources: &'a Path,
    /// Directory with the objects of C diffs.
    pub diffs: &'a Path,
    /// Directory for the crates that do not depend on the module's version. The next version of a stream
    /// reuses them.
    pub crates: &'a Path,
}

/// Compiles the fixes of a module and their dependencies into one object in `dir`. Returns its path.
///
/// # Errors
/// rustc rejected a source, or the link failed.
pub fn compile(inputs: &Inputs<'_>, dir: &Path, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
    let log = dir.join("log");
    let (objects, collect) = match inputs.target.runtime() {
        Runtime::Klp => (own_crates::compile(inputs, dir, &log, cache, sink)?, true),
        // The kernel's Rust code has no separate section per function, and uses sections without references.
        Runtime::Kernel => (kernel_crate::compile(inputs, dir, &log)?, false),
    };
    let object = link(inputs.tree, dir, &objects, collect, &log)?;
    refuse_routines(inputs, &object)?;
    Ok(object)
}

/// Compiles only the crates that do not depend on the module's version. Other tools of the toolchain need their
/// metadata, which a result of stage compile from the cache does not include.
///
/// # Errors
/// rustc rejected a source.
pub fn crates(inputs: &Inputs<'_>, log: &Path, cache: &Cache, sink: &dyn Sink) -> Result<(), Error> {
    match inputs.target.runtime() {
        Runtime::Klp => own_crates::compile_below_root(inputs, log, cache, sink),
        Runtime::Kernel => Ok(()),
    }
}

/// Parts of a module that stages kbuild and postlink process. `sources` is the directory of stage 2. The objects of the Rust
/// code are not listed, because stage compile links them into one. `objects` is the directory with those of C diffs.
///
/// # Errors
/// The traits of stage 2 cannot be read.
pub fn parts(
    target: &Target,
    resolved: &Resolved,
    sources: &Path,
    objects: &Path,
) -> Result<Vec<ModulePart>, Error> {
    let rust = entries::part(target, resolved, sources, Vec::new())?;
    Ok(std::iter::once(rust).chain(resolved.diffs.iter().map(|diff| c_diff::part(diff, objects))).collect())
}

/// Rejects floating point and other unsupported operations, with the author's line.
fn refuse_routines(inputs: &Inputs<'_>, object: &Path) -> Result<(), Error> {
    let exports = exports::of(inputs.tree)?;
    let exported = |name: &str| exports.contains_key(name);
    let calls = soft_float::calls(&read(object)?, exported)
        .map_err(|message| Error::Intermediate { file: object.to_owned(), message })?;
    if calls.is_empty() {
        return Ok(());
    }
    Err(Error::Compile {
        subject: inputs.target.name.clone(),
        kernel: inputs.tree.id.clone(),
        diagnostics: calls.iter().map(|line| format!("error: {line}\n")).collect(),
    })
}

/// rustc flags for the `cfg` questions of a fix. A question that is not in patch.toml is a compile error.
pub(crate) fn cfg_flags(resolved: &Resolved, fix: &str) -> Vec<String> {
    let mut flags = Vec::new();
    // Parameters may have their C names.
    if resolved.functions.iter().any(|function| function.fix == fix && !function.has_snake_case_parameters())
    {
        flags.push("-Anon_snake_case".to_owned());
    }
    for name in ["has_member", "has_function", "kernel_at_least"] {
        let asked = || resolved.cfg.iter().filter(|answer| answer.fix == fix && answer.name == name);
        let values: Vec<String> = asked().map(|answer| format!("{:?}", answer.value)).collect();
        flags.push(format!("--check-cfg=cfg({name}, values({}))", values.join(", ")));
        flags.extend(
            asked().filter(|answer| answer.holds).map(|answer| format!("--cfg={name}={:?}", answer.value)),
        );
    }
    flags
}

/// ftrace sites in the root crate.
fn sites(tree: &KernelTree) -> Sites {
    klp_kernel::sites_of(tree.arch, &tree.config)
}

/// Links all objects into one; the root crate's object is first. With `collect`, unreferenced sections are
/// removed.
fn link(
    tree: &KernelTree,
    dir: &Path,
    objects: &[PathBuf],
    collect: bool,
    log: &Path,
) -> Result<PathBuf, Error> {
    let script = dir.join("module.lds");
    let root = objects.first().and_then(|root| root.file_name()).unwrap_or_default();
    let text = LINKER_SCRIPT.replace("@ROOT@", &root.to_string_lossy());
    write(&script, text.replace("@LIST@", sites(tree).root_section()))?;
    let object = dir.join("module.o");
    let [program, emulation @ ..] = tree.toolchain.linker(tree.arch);
    let cmd = Cmd::new(program)
        .args(emulation)
        .arg("-r")
        .args(collect.then_some("--gc-sections"))
        .args(["-e", "init_module", "-u", "cleanup_module"])
        // modpost records the version of this symbol, and stage 5 refers to it.
        .args(sites(tree).called().into_iter().flat_map(|symbol| ["-u", symbol]))
        .arg("-T")
        .arg(&script)
        .arg("-o")
        .arg(&object)
        .args(objects)
        .clean_env()
        .env("LC_ALL", "C")
        .log(log)
        .hint("install the package binutils (or run `cargo xtask doctor --fix`)");
    let output = cmd.run()?;
    let said = output.stdout_text() + &output.stderr_text();
    if said.trim().is_empty() {
        return Ok(object);
    }
    Err(klp_kernel::Error::UnknownOutput {
        tool: "ld",
        subject: object.display().to_string(),
        text: said,
        log: log.to_owned(),
    }
    .into())
}
