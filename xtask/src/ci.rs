// SPDX-License-Identifier: GPL-2.0-or-later
//! `test` and `ci`: everything that must hold, in the order in which it is cheapest to find out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use klp_base::events::Sink;
use klp_base::process::Cmd;

use crate::context::{Context, DEFAULT_KERNEL};
use crate::{bench, qemu_test, setup};

/// Run the host tests, then the VM cases on the default kernel.
///
/// Example: cargo xtask test
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Write the VM cases' JUnit report to this file
    #[arg(long)]
    junit: Option<PathBuf>,
}

/// Run what CI runs.
///
/// Example: cargo xtask ci --tier fast
#[derive(clap::Args)]
pub(crate) struct CiArgs {
    /// fast: what `test` runs; full: all kernels, licences and benchmarks too
    #[arg(long, value_parser = ["fast", "full"], default_value = "fast")]
    tier: String,
    /// Write the VM cases' JUnit report to this file
    #[arg(long)]
    junit: Option<PathBuf>,
}

pub(crate) fn test(args: &TestArgs) -> Result<ExitCode> {
    run(&args.junit, false)
}

pub(crate) fn ci(args: &CiArgs) -> Result<ExitCode> {
    run(&args.junit, args.tier == "full")
}

fn run(junit: &Option<PathBuf>, full: bool) -> Result<ExitCode> {
    let context = Context::new()?;
    setup::ensure(&context)?;
    let root = context.project.root();
    let say = |what: &str| context.terminal.note(format!("== {what}"));

    say("format");
    Cmd::new("cargo").args(["fmt", "--all", "--check"]).cwd(root).run_inherited()?;
    Cmd::new("rustfmt")
        .args(["--check", "--edition", "2024"])
        .args(kernel_side(root)?)
        .cwd(root)
        .run_inherited()?;
    say("lints");
    Cmd::new("cargo")
        .args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
        .cwd(root)
        .run_inherited()?;
    if full {
        say("licences and sources of dependencies");
        Cmd::new("cargo")
            .args(["deny", "--log-level", "error", "check", "licenses", "bans", "sources"])
            .cwd(root)
            .hint("install it: cargo install cargo-deny --locked")
            .run_inherited()?;
    }

    say("host tests");
    let tree = context.kernel(DEFAULT_KERNEL)?;
    let programs = context.static_programs(tree.arch)?;
    Cmd::new("cargo")
        .args(["test", "--quiet", "--workspace", "--", "--include-ignored"])
        .env("FERROGRAFT_TEST_KERNEL", &tree.image)
        .env("FERROGRAFT_TEST_GUEST", &programs.guest)
        .cwd(root)
        .run_inherited()?;

    say("VM cases");
    let mut cases = qemu_test::Args::of(&[], DEFAULT_KERNEL);
    cases.junit = Some(junit.clone().unwrap_or_else(|| root.join("build/junit.xml")));
    if full {
        cases.kernel = context.project.kernel_ids();
    }
    let code = qemu_test::run(&cases)?;
    if full && code == ExitCode::SUCCESS {
        say("benchmarks");
        return bench::run_all();
    }
    Ok(code)
}

/// Sources that plain cargo does not see.
fn kernel_side(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![root.join("kmod/src/lib.rs")];
    for dir in ["patches", "tests/fixes"] {
        let found = klp_base::cache::walk(&root.join(dir))?;
        files.extend(found.into_iter().filter(|path| path.ends_with("src/lib.rs") && !is_template(path)));
    }
    Ok(files)
}

/// The template has placeholders, so that it is no Rust yet.
fn is_template(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "_template")
}
