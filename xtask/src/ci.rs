// SPDX-License-Identifier: GPL-2.0-or-later
//! `test` and `ci`: all checks of the project, the cheapest first.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use klp_base::events::{Sink, StageEnd, stage};
use klp_format::ObjectName;
use klp_pipeline::author_tools::lint;
use klp_pipeline::project::{Fix, Runtime, Target};
use xshell::cmd;

use crate::context::{Context, DEFAULT_KERNEL};
use crate::corpus;
use crate::host_tests::{self, Tests};
use crate::machine::{captured, shell};
use crate::setup::Need;
use crate::{bench, crashes, dnf5, draw, foreign, qemu_test, system_test};

/// Run the host tests, then the VM cases on the default kernel.
///
/// Example: cargo xtask test --host
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Run format, lints and the host tests only: no guest is booted
    #[arg(long, conflicts_with = "junit")]
    host: bool,
    /// Write the VM cases' JUnit report to this file
    #[arg(long)]
    junit: Option<PathBuf>,
}

/// Run what CI runs.
///
/// Example: cargo xtask ci --tier fast
#[derive(clap::Args)]
pub(crate) struct CiArgs {
    /// fast: what `test` runs; full: all kernels, licences, fuzzing and benchmarks too
    #[arg(long, value_parser = ["fast", "full"], default_value = "fast")]
    tier: String,
    /// With the full tier: record the results of each kernel's cases for the README's support matrix; needs a clean
    /// checkout
    #[arg(long)]
    record: bool,
    /// With the full tier: run this part alone, for example dnf5
    #[arg(long, conflicts_with_all = ["record", "junit"])]
    part: Option<String>,
    /// Write the VM cases' JUnit report to this file
    #[arg(long)]
    junit: Option<PathBuf>,
}

pub(crate) fn test(args: &TestArgs) -> Result<ExitCode> {
    if !args.host {
        return run(&args.junit, false, false);
    }
    let context = Context::new()?;
    context.ensure(&[Need::Build, Need::Sign, Need::Tests, Need::Packages])?;
    check_sources(&context, false)?;
    test_on_host(&context, Tests::WithoutGuests)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn ci(args: &CiArgs) -> Result<ExitCode> {
    let full = args.tier == "full";
    anyhow::ensure!(
        full || !args.record,
        "--record is for the full tier, which runs the cases of all kernels"
    );
    match &args.part {
        Some(part) => {
            anyhow::ensure!(full, "--part is for the full tier; add --tier full");
            only(part)
        }
        None => run(&args.junit, full, args.record),
    }
}

fn run(junit: &Option<PathBuf>, full: bool, record: bool) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Build, Need::Sign, Need::Guest, Need::Tests, Need::Packages])?;
    check_sources(&context, full)?;
    test_on_host(&context, if full { Tests::Full } else { Tests::Fast })?;

    say(&context, "VM cases");
    let mut cases = qemu_test::Args::of(&[], DEFAULT_KERNEL);
    cases.junit = Some(junit.clone().unwrap_or_else(|| context.project.root().join("build/junit.xml")));
    cases.jobs = std::thread::available_parallelism()
        .ok()
        .and_then(|cores| NonZeroU32::try_from(cores).ok())
        .unwrap_or(NonZeroU32::MIN);
    if full {
        cases.kernel = context.project.kernel_ids();
        cases.record = record;
        let code = qemu_test::run(&cases)?;
        return rest(&context, code);
    }
    cases_beside_walk(&context, &cases)
}

/// Runs the VM cases, and a walk beside them: its boots follow each other, while the cases use all cores.
fn cases_beside_walk(context: &Context, cases: &qemu_test::Args) -> Result<ExitCode> {
    let walk = system_test::Ready::prepare(context, WALK)?;
    let (cases, walk) = std::thread::scope(|scope| {
        let walk = scope.spawn(|| walk.run(&context.terminal));
        (qemu_test::run(cases), walk.join())
    });
    let walk = walk.map_err(|_| anyhow::anyhow!("the thread of {WALK} panicked"))??;
    context.terminal.note(system_test::cost_line(WALK, &walk));
    let cases = cases?;
    if cases != ExitCode::SUCCESS {
        return Ok(cases);
    }
    Ok(ExitCode::from(walk.verdict().exit_code()))
}

fn say(context: &Context, what: &str) {
    context.terminal.note(format!("== {what}"));
}

/// Checks format and lints; in the full tier also licences.
fn check_sources(context: &Context, full: bool) -> Result<()> {
    let (shell, quiet) = (shell()?, quiet_off_terminal());
    say(context, "format");
    let kernel_side = kernel_side(context.project.root())?;
    cmd!(shell, "cargo fmt --all --check").quiet().run()?;
    cmd!(shell, "cargo fmt --manifest-path fuzz/Cargo.toml --check").quiet().run()?;
    cmd!(shell, "rustfmt --check --edition 2024 {kernel_side...}").quiet().run()?;
    say(context, "lints");
    cmd!(shell, "cargo clippy {quiet...} --workspace --all-targets -- -D warnings").quiet().run()?;
    cmd!(shell, "cargo clippy {quiet...} --manifest-path fuzz/Cargo.toml --all-targets -- -D warnings")
        .env("CARGO_TARGET_DIR", context.target_dir().join("fuzz"))
        .quiet()
        .run()?;
    cmd!(shell, "cargo doc {quiet...} --workspace --no-deps --document-private-items")
        .env("RUSTDOCFLAGS", "-D warnings")
        .quiet()
        .run()?;
    if full {
        say(context, "licences and sources of dependencies");
        ensure_cargo_tool(context, "cargo-deny")?;
        for workspace in ["Cargo.toml", "fuzz/Cargo.toml"] {
            let deny =
                cmd!(shell, "cargo deny --log-level error --config deny.toml --manifest-path {workspace}");
            deny.args(["check", "licenses", "bans", "sources"]).quiet().run()?;
        }
    }
    Ok(())
}

/// The walk of the fast tier, the cheaper one; the full tier runs both.
const WALK: &str = "chapter-rpm";

fn test_on_host(context: &Context, tests: Tests) -> Result<()> {
    lint_kernel_side(context)?;
    say(context, "host tests");
    host_tests::run(context, tests)
}

/// Each file of the corpus of C diffs, and the modules of many functions in guests.
fn c_diffs(context: &Context) -> Result<ExitCode> {
    for kernel in corpus::KERNELS {
        let code = corpus::run(&corpus::Args::all_files(kernel))?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    let mut cases = qemu_test::Args::of(&["identity-large", "corpus"], DEFAULT_KERNEL);
    cases.kernel.extend(corpus::KERNELS.map(str::to_owned));
    cases.cases = Some(context.project.root().join("tests/stress"));
    qemu_test::run(&cases)
}

/// Part of the full tier.
type Part<'a> = (&'static str, Box<dyn Fn() -> Result<ExitCode> + 'a>);

/// Checks of the full tier only, after the VM cases of all kernels.
fn parts(context: &Context) -> Vec<Part<'_>> {
    let root = context.project.root();
    vec![
        (
            "stress",
            Box::new(move || {
                let mut stress = qemu_test::Args::of(&["stress", "consistency"], DEFAULT_KERNEL);
                stress.cases = Some(root.join("tests/stress"));
                qemu_test::run(&stress)
            }),
        ),
        ("crashes", Box::new(crashes::run_all)),
        ("C diffs", Box::new(move || c_diffs(context))),
        ("draws", Box::new(|| draw::run(&draw::Args::full_tier()))),
        ("inlined copies", Box::new(|| draw::run(&draw::Args::copies_of_full_tier()))),
        ("lints", Box::new(|| lint_all_fixes(context).map(|()| ExitCode::SUCCESS))),
        ("fuzzing", Box::new(|| fuzz(context).map(|()| ExitCode::SUCCESS))),
        ("dnf5", Box::new(|| dnf5::check(context).map(|()| ExitCode::SUCCESS))),
        ("systems", Box::new(|| Ok(ExitCode::from(system_test::run_all(context)?.exit_code())))),
        ("selftests", Box::new(|| foreign::run_all(context))),
        (
            "walks fail",
            Box::new(|| Ok(ExitCode::from(system_test::run_faulty(context, DEFAULT_KERNEL)?.exit_code()))),
        ),
        ("benchmarks", Box::new(bench::run_all)),
    ]
}

/// Runs one part of the full tier.
fn only(name: &str) -> Result<ExitCode> {
    let context = Context::new()?;
    let parts = parts(&context);
    let known: Vec<&str> = parts.iter().map(|(what, _)| *what).collect();
    let part = parts.iter().find(|(what, _)| *what == name);
    let (_, work) =
        part.with_context(|| format!("there is no part {name}; there are {}", known.join(", ")))?;
    work()
}

/// Runs the parts of the full tier. They take hours, so a failed one does not prevent the others.
fn rest(context: &Context, cases: ExitCode) -> Result<ExitCode> {
    let mut results = vec![("VM cases", Ok(cases))];
    for (what, work) in parts(context) {
        say(context, what);
        results.push((what, work()));
    }
    context.terminal.note("== full tier".to_owned());
    let mut worst = Ok(ExitCode::SUCCESS);
    for (what, result) in results {
        let seen = match &result {
            Ok(ExitCode::SUCCESS) => "passed".to_owned(),
            Ok(_) => "FAILED".to_owned(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        context.terminal.note(format!("  {what:11}{seen}"));
        if matches!(worst, Ok(ExitCode::SUCCESS)) {
            worst = result;
        }
    }
    worst
}

/// Lints the code that is compiled for kernels: crate klp, the fixes based on it, and those fixes for foreign suites that need no
/// module of a suite.
fn lint_kernel_side(context: &Context) -> Result<()> {
    say(context, "lints of kernel-side code");
    let suites = context.project.root().join(foreign::FIXES);
    let fixes = foreign::with_suite(context, &suites)?.project.fixes()?;
    let (fixes, others): (Vec<Fix>, Vec<Fix>) =
        fixes.into_iter().partition(|fix| !fix.dir.starts_with(&suites) || changes_kernel_only(fix));
    for fix in others {
        let name = fix.name;
        context
            .terminal
            .note(format!("  clippy       {name}: linted in part lints, with the suite's modules"));
    }
    lint_fixes(context, fixes, true)
}

/// Lints crate klp and all fixes, those for foreign suites with the modules of a suite.
fn lint_all_fixes(context: &Context) -> Result<()> {
    let context = foreign::with_suite(context, &foreign::newest_modules(context)?)?;
    lint_fixes(&context, context.project.fixes()?, true)
}

/// True if a fix names no module.
fn changes_kernel_only(fix: &Fix) -> bool {
    fix.callbacks.iter().chain(fix.patch.iter().map(|patch| &patch.symbol.object)).all(ObjectName::is_vmlinux)
}

/// Lints fixes, and crate klp with the first of them.
fn lint_fixes(context: &Context, fixes: Vec<Fix>, mut with_klp: bool) -> Result<()> {
    let tree = context.kernel(DEFAULT_KERNEL)?;
    let mut failed = Vec::new();
    // A C diff alone has no Rust code of an author.
    for fix in fixes.into_iter().filter(|fix| !fix.is_diff_alone()) {
        if fix.runtime == Runtime::Kernel {
            context
                .terminal
                .note(format!("  clippy       {}: not linted, the kernel's build compiles it", fix.name));
            continue;
        }
        let target = Target::of_fix(fix);
        context.make_out_of_tree(&tree, &target)?;
        if let Err(error) = lint(&context.steps_of(&tree, &target, None), with_klp) {
            context.terminal.warn(error.to_string());
            failed.push(target.name);
        }
        with_klp = false;
    }
    anyhow::ensure!(failed.is_empty(), "lints reject {}; the messages are above", failed.join(", "));
    Ok(())
}

/// Option that hides cargo's progress outside of a terminal, where its lines would hide those of xtask.
fn quiet_off_terminal() -> Option<&'static str> {
    (!std::io::stderr().is_terminal()).then_some("--quiet")
}

/// Installs a sub-command of cargo if it is missing.
fn ensure_cargo_tool(context: &Context, name: &str) -> Result<()> {
    let (shell, verb) = (shell()?, name.trim_start_matches("cargo-"));
    let asked = cmd!(shell, "cargo {verb} --version").quiet().ignore_status().ignore_stdout().ignore_stderr();
    if !asked.output()?.status.success() {
        context.terminal.note(format!("  set-up       installing {name}"));
        cmd!(shell, "cargo install --quiet --locked {name}").quiet().run()?;
    }
    Ok(())
}

/// Duration of each fuzz target, in seconds.
const FUZZ_SECONDS: u32 = 30;

/// Runs each fuzz target for a while, from its corpus; new inputs go to the build directory. A failure of a parser ends
/// the run, with the path of the input in the output.
fn fuzz(context: &Context) -> Result<()> {
    let root = context.project.root();
    ensure_cargo_tool(context, "cargo-fuzz")?;
    for file in klp_base::cache::walk(&root.join("fuzz/fuzz_targets"))? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        stage(&context.terminal, "fuzz", &name, || {
            let found = root.join("build/fuzz").join(&name);
            std::fs::create_dir_all(&found).with_context(|| format!("could not make {}", found.display()))?;
            let (shell, corpus) = (shell()?, root.join("fuzz/corpus").join(&name));
            let fuzz = cmd!(shell, "cargo fuzz run --fuzz-dir fuzz {name} {found} {corpus}")
                .args(["--", &format!("-max_total_time={FUZZ_SECONDS}")])
                .env("RUSTC_BOOTSTRAP", "1");
            captured(fuzz).context("libFuzzer needs a C++ compiler (Debian: apt-get install g++)")?;
            Ok::<_, anyhow::Error>((StageEnd::Done, ()))
        })?;
    }
    Ok(())
}

/// Sources outside of the cargo workspace.
fn kernel_side(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![root.join("kmod/src/lib.rs")];
    for dir in ["patches", "tests/fixes", "tests/faults", "tests/foreign/fixes"] {
        let found = klp_base::cache::walk(&root.join(dir))?;
        files.extend(found.into_iter().filter(|path| path.ends_with("src/lib.rs") && !is_template(path)));
    }
    Ok(files)
}

/// True for a template, which is not valid Rust because of its placeholders.
fn is_template(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "_template")
}
