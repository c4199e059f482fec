// SPDX-License-Identifier: GPL-2.0-or-later
//! `foreign`: test suites that others wrote, unchanged, against live patches of ours.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use klp_base::cache::write_durable;
use klp_base::events::{Check, Sink, Verdict};
use klp_base::files::read;
use klp_kernel::{KernelTree, Pin, c_module, guest_program};
use klp_pipeline::stage::Range;
use klp_vm::{Summary, Supplies, SystemCase};

use crate::context::Context;
use crate::{qemu_test, system_test};

/// Run a test suite that others wrote against live patches of ours.
///
/// Example: cargo xtask foreign selftests --kernel debian-6.12
///
/// Exit codes are those of qemu-test.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(clap::Subcommand)]
enum Suite {
    Selftests(Selftests),
}

/// The kernel's own tools/testing/selftests/livepatch, out of every pinned source package.
///
/// The scripts and the C modules that are patched are those of the package; the live patches are those of tests/foreign/fixes, under
/// the names that the scripts use. docs/selftests.md has the results, and a run must agree with it.
#[derive(clap::Args)]
struct Selftests {
    /// Ids of the kernels
    #[arg(long, default_values = KERNELS)]
    kernel: Vec<String>,
    /// Write the results to docs/selftests.md
    #[arg(long)]
    record: bool,
}

/// Kernels of the full tier.
const KERNELS: [&str; 2] = ["debian-6.1", "debian-6.12"];
/// Directory of the scripts in the kernel's source.
const DIRECTORY: &str = "tools/testing/selftests/livepatch";
/// Directory of the modules, below that of the scripts.
const MODULES: &str = "test_modules";
/// Start of the names of source packages.
const PACKAGE: &str = "linux-source-";
/// Directory of the fixes for these suites.
pub(crate) const FIXES: &str = "tests/foreign/fixes";
const RESULTS: &str = "docs/selftests.md";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Suite::Selftests(selftests) = &args.suite;
    run_selftests(&Context::new()?, &selftests.kernel, selftests.record)
}

/// The part of the full tier.
pub(crate) fn run_all(context: &Context) -> Result<ExitCode> {
    run_selftests(context, &KERNELS.map(str::to_owned), false)
}

fn run_selftests(context: &Context, kernels: &[String], record: bool) -> Result<ExitCode> {
    let case = SystemCase::load(&context.project.root().join("tests/foreign/cases/selftests"))?;
    let mut all = Summary::default();
    for kernel in kernels {
        let repeat = "cargo xtask foreign {case} --kernel {kernel}";
        let (system, tree) = system_test::system_of(context, kernel, false, repeat)?;
        let supplies = Supplies { files: files(context, &tree)?, ..Supplies::default() };
        let summary = system.run(&case, &supplies, &context.terminal)?;
        context.terminal.note(system_test::cost_line(&case.name, &summary));
        let passed = summary.verdict() == Verdict::Passed;
        let checks: Vec<&Check> = summary.cases.iter().flat_map(|run| &run.end.checks).collect();
        if passed {
            compare(context, kernel, &rows(&checks), record)?;
        }
        all.cases.extend(summary.cases);
        all.boots.extend(summary.boots);
    }
    println!("{}", qemu_test::machines_line(&all));
    Ok(ExitCode::from(all.verdict().exit_code()))
}

/// File in the guest: path, permission bits, content.
type GuestFile = (String, u32, Vec<u8>);

/// The suites of all pinned source packages, each in `/suites/<version>`.
fn files(context: &Context, tree: &KernelTree) -> Result<Vec<GuestFile>> {
    let mut files = Vec::new();
    for id in context.project.kernel_ids() {
        let pin = Pin::load(&context.project.kernel_configs(), &id)?;
        let Some(package) = pin.packages.get("source") else { continue };
        let version = package.name.strip_prefix(PACKAGE).unwrap_or(&package.name);
        let source = pin.source_directory(DIRECTORY, &context.cache, &context.terminal)?;
        let of_suite = suite(context, tree, &source)?;
        files.extend(
            of_suite
                .into_iter()
                .map(|(path, mode, bytes)| (format!("/suites/{version}/livepatch/{path}"), mode, bytes)),
        );
    }
    Ok(files)
}

/// Context with the fixes for foreign suites, whose modules to patch have their sources in `modules`.
pub(crate) fn with_suite(context: &Context, modules: &Path) -> Result<Context> {
    let project = context.project.with_suite(modules);
    Ok(Context { project, cache: context.cache.clone(), ..Context::new()? })
}

/// Directory with the modules of the newest pinned suite.
pub(crate) fn newest_modules(context: &Context) -> Result<PathBuf> {
    let mut pins = Vec::new();
    for id in context.project.kernel_ids() {
        pins.push(Pin::load(&context.project.kernel_configs(), &id)?);
    }
    let version = |pin: &&Pin| {
        let name = pin.packages.get("source")?.name.strip_prefix(PACKAGE)?;
        name.split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    let pin = pins.iter().filter(|pin| version(pin).is_some()).max_by_key(version);
    let pin = pin.context("no kernel pins a source package, which holds the kernel's selftests")?;
    Ok(pin.source_directory(DIRECTORY, &context.cache, &context.terminal)?.join(MODULES))
}

/// Files of one suite, relative to the directory of its scripts.
fn suite(context: &Context, tree: &KernelTree, source: &Path) -> Result<Vec<GuestFile>> {
    let modules = source.join(MODULES);
    let with_fixes = with_suite(context, &modules)?;
    let mut files = Vec::new();
    for path in sources(source, "sh")? {
        files.push((name(&path), 0o755, read(&path)?));
    }
    for path in sources(source, "c")? {
        let program =
            guest_program::build(&path, &tree.toolchain, tree.arch, &context.cache, &context.terminal)?;
        files.push((stem(&path), 0o755, read(&program)?));
    }
    for path in sources(&modules, "c")? {
        let module = stem(&path);
        let ko = if is_livepatch(&path)? {
            let fix = module.replace('_', "-");
            let built = with_fixes.build(tree, &fix, Range::default());
            let built = built.with_context(|| format!("tests/foreign/fixes/{fix}, for {module}.c"))?;
            if built.module != module {
                bail!("tests/foreign/fixes/{fix}: its module is {}, not {module}", built.module);
            }
            built.ko
        } else {
            c_module::build(tree, &module.parse()?, &path, &context.cache, &context.terminal)?
        };
        files.push((format!("{MODULES}/{module}.ko"), 0o644, read(&ko)?));
    }
    Ok(files)
}

/// Files of a directory with this extension, sorted.
fn sources(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let found = klp_base::cache::walk(dir)?;
    let wanted = |path: &PathBuf| {
        path.parent() == Some(dir) && path.extension().is_some_and(|found| found == extension)
    };
    let found: Vec<PathBuf> = found.into_iter().filter(wanted).collect();
    if found.is_empty() {
        bail!("{} has no *.{extension}: the package holds another form of the suite", dir.display());
    }
    Ok(found)
}

/// True if a C module of the suite, or the module that it includes, is a live patch.
fn is_livepatch(source: &Path) -> Result<bool> {
    let text = String::from_utf8_lossy(&read(source)?).into_owned();
    let included = text.lines().find_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'));
    match included {
        Some(file) => is_livepatch(&source.with_file_name(file)),
        None => Ok(text.contains("MODULE_INFO(livepatch,")),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Rows of the table, from the claims of the case about scripts.
fn rows(checks: &[&Check]) -> String {
    let mut text = String::from("| suite | script | scenarios | result |\n|---|---|---|---|\n");
    for check in checks {
        let Some((suite, rest)) = check.name.split_once(' ') else { continue };
        // Writing to a String cannot fail.
        if let Some((script, count)) = rest.split_once(" passes, ") {
            let count = count.trim_end_matches(" scenarios");
            let _ = writeln!(text, "| {suite} | `{script}` | {count} | passed |");
        } else if let Some((script, reason)) = rest.split_once(" is left out: ") {
            let _ = writeln!(text, "| {suite} | `{script}` | | left out: {reason} |");
        }
    }
    text
}

/// Compares a kernel's rows with the document, or writes them there.
fn compare(context: &Context, kernel: &str, rows: &str, record: bool) -> Result<()> {
    let file = context.project.root().join(RESULTS);
    let text = String::from_utf8(read(&file)?).with_context(|| format!("{RESULTS} is no text"))?;
    let updated = with_rows(&text, kernel, rows);
    if updated == text {
        return Ok(());
    }
    if !record {
        bail!(
            "{RESULTS} has other results of {kernel} than this run:\n{rows}\nwhere the run is right, write them with\n  cargo xtask \
             foreign selftests --kernel {kernel} --record"
        );
    }
    Ok(write_durable(&file, updated.as_bytes())?)
}

/// The document with these rows in the section of the kernel, which is added where it is missing.
fn with_rows(text: &str, kernel: &str, rows: &str) -> String {
    let head = format!("## {kernel}\n");
    let Some(at) = text.find(&head) else { return format!("{}\n\n{head}\n{rows}", text.trim_end()) };
    let (before, rest) = text.split_at(at);
    let after = rest[head.len()..].find("\n## ").map_or("", |end| &rest[head.len() + end..]);
    format!("{before}{head}\n{rows}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str) -> Check {
        Check { name: name.to_owned(), ok: true, detail: None }
    }

    #[test]
    fn claims_about_scripts_become_rows() {
        let checks = [
            check("the live patches of 6.12 are ours"),
            check("6.12 test-state.sh passes, 4 scenarios"),
            check("7.3 test-kprobe.sh is left out: no kprobes"),
            check("the kernel complained of nothing"),
        ];
        let rows = rows(&checks.iter().collect::<Vec<_>>());
        let expected =
            "| 6.12 | `test-state.sh` | 4 | passed |\n| 7.3 | `test-kprobe.sh` | | left out: no kprobes |\n";
        assert!(rows.ends_with(&format!("|---|---|---|---|\n{expected}")), "{rows}");
    }

    #[test]
    fn rows_replace_those_of_their_kernel_only() {
        let first = with_rows("# Title\n", "a", "row 1\n");
        let both = with_rows(&first, "b", "row 2\n");
        assert_eq!(both, "# Title\n\n## a\n\nrow 1\n\n## b\n\nrow 2\n");
        assert_eq!(with_rows(&both, "a", "row 3\n"), "# Title\n\n## a\n\nrow 3\n\n## b\n\nrow 2\n");
        assert_eq!(with_rows(&both, "b", "row 2\n"), both);
    }
}
