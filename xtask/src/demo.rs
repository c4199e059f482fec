// SPDX-License-Identifier: GPL-2.0-or-later
//! `demo`: the main use case on the default kernel, from an empty state.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use klp_base::events::Verdict;
use klp_kernel::Pin;
use klp_pipeline::stage::Range;
use klp_vm::case;

use crate::context::{Context, DEFAULT_KERNEL};
use crate::qemu_test;
use crate::setup::Need;

/// Fix of the demonstration, and the case that proves it.
const FIX: &str = "cmdline";

/// Show the main job from nothing: set up, build, check, boot, load, prove, revert.
///
/// Example: cargo xtask demo
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Build, Need::Guest])?;
    let arch = Pin::load(&context.project.kernel_configs(), DEFAULT_KERNEL)?.arch;
    // Both take minutes on a new machine, and each keeps one core busy.
    let (built, programs) = std::thread::scope(|scope| {
        let programs = scope.spawn(|| context.static_programs(arch));
        let built = context.kernel(DEFAULT_KERNEL).and_then(|tree| {
            let built = context.build(&tree, FIX, Range::default())?;
            Ok((tree, built))
        });
        (built, programs.join())
    });
    let (tree, built) = built?;
    programs.map_err(|_| anyhow!("the thread that builds the guest programs panicked"))??;

    let cases = case::load_all(&context.project.root().join("tests/cases")).map_err(klp_vm::Error::from)?;
    let cases = cases.into_iter().filter(|case| case.name == FIX).collect();
    let args = qemu_test::Args::of(&[FIX], DEFAULT_KERNEL);
    let Some(summary) = qemu_test::run_cases(&context, &args, cases)? else { return Ok(ExitCode::SUCCESS) };
    if summary.verdict() != Verdict::Passed {
        return Ok(ExitCode::from(summary.verdict().exit_code()));
    }

    println!("\nSeen in the guest, on Debian's unmodified {}:", tree.release);
    print!("{}", story(&context)?);
    println!(
        "\nThe source: {}",
        context.project.root().join("patches").join(FIX).join("src/lib.rs").display()
    );
    println!("The module: {}", built.ko.display());
    Ok(ExitCode::SUCCESS)
}

/// Summary of the case's observations, from its evidence.
fn story(context: &Context) -> Result<String> {
    let dir = qemu_test::evidence_dir(context.project.root(), DEFAULT_KERNEL, FIX);
    let read = |file: &str| {
        let path = dir.join(file);
        std::fs::read_to_string(&path)
            .with_context(|| format!("the case left no evidence {}", path.display()))
    };
    let functions = read("patched/sys/kernel/tracing/enabled_functions")?;
    let trampoline = functions.lines().find(|line| line.contains("klp_ftrace_handler")).unwrap_or_default();
    let mut text = String::new();
    for (what, file) in [
        ("before       /proc/cmdline:", "before/proc/cmdline"),
        ("kpatch load  says:", "load.out"),
        ("patched      /proc/cmdline:", "patched/proc/cmdline"),
        ("kpatch list  says:", "list.out"),
    ] {
        entry(&mut text, what, &read(file)?);
    }
    entry(&mut text, "the call goes through the livepatch trampoline (enabled_functions):", trampoline);
    entry(&mut text, "kpatch unload says:", &read("unload.out")?);
    entry(&mut text, "reverted     /proc/cmdline:", &read("reverted/proc/cmdline")?);
    Ok(text)
}

fn entry(text: &mut String, what: &str, seen: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {what}");
    seen.lines().filter(|line| !line.is_empty()).for_each(|line| {
        let _ = writeln!(text, "      {line}");
    });
}
