// SPDX-License-Identifier: GPL-2.0-or-later
//! `bench`: ratios of figures measured in one run, without assertions on times.

mod cdiff;
mod check;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use klp_base::cache::Cache;
use klp_base::events::{Silent, Verdict};
use klp_base::process::Cmd;
use klp_vm::{ArtifactError, BootRun, CaseRun, Options, Start, Suite, Summary, Supply, Wanted, case};

use xshell::cmd;

use crate::context::{Context, DEFAULT_KERNEL};
use crate::machine::shell;
use crate::setup::Need;
use crate::{qemu_test, system_test};

/// Measure: boot (a case, booted and from a snapshot, compared with a bare boot), build (cold, warm, unchanged), image
/// (index and look-up, compared with other tools), call (a replaced function, in instructions), system (first command in a full
/// system from its snapshot), cdiff (a live patch of a C diff, and kpatch-build's), check (of a module's file, without a build, and the index of inlined copies).
///
/// Example: cargo xtask bench boot
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Benchmark to run; all of them if none is given
    #[arg(value_parser = ["boot", "build", "image", "call", "system", "cdiff", "check"])]
    name: Option<String>,
    /// Number of measured runs of each benchmark
    #[arg(long, default_value = "5")]
    runs: usize,
}

/// Runs all benchmarks with the default number of runs.
pub(crate) fn run_all() -> Result<ExitCode> {
    run(&Args { name: None, runs: 5 })
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Build, Need::Guest])?;
    let wanted = |name: &str| args.name.as_deref().is_none_or(|only| only == name);
    if wanted("boot") {
        boot(&context, args.runs)?;
    }
    if wanted("build") {
        build(&context, args.runs)?;
    }
    if wanted("image") {
        image(&context, args.runs)?;
    }
    if wanted("call") {
        call(&context)?;
    }
    if wanted("cdiff") {
        cdiff::run(&context, args.runs)?;
    }
    if wanted("check") {
        context.ensure(&[Need::Bench])?;
        check::run(&context, args.runs)?;
    }
    if wanted("system") {
        system(&context, args.runs)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// CPU time of QEMU until the first command in a full system has ended, from the snapshot of the booted system.
fn system(context: &Context, runs: usize) -> Result<()> {
    let (system, _) = system_test::system(context, DEFAULT_KERNEL, false)?;
    // The first run is not counted: it warms the page cache and makes the snapshot.
    system.first_command(&context.terminal)?;
    let times = (0..runs).map(|_| system.first_command(&context.terminal)).collect::<Result<Vec<_>, _>>()?;
    println!("full system from its snapshot ({DEFAULT_KERNEL}, {runs} rounds, CPU seconds of QEMU, median):");
    println!("  first command            {:.2} (target: under 3)", median(&times));
    Ok(())
}

/// Number of instructions per call of a function: original, replaced in C, replaced in Rust, all with the same body, and
/// replaced by a call of the original. QEMU's clock counts instructions, so one run is exact.
fn call(context: &Context) -> Result<()> {
    let root = context.project.root();
    let cases = case::load_all(&root.join("tests/bench"))?;
    let cases = case::select(&cases, &["call".to_owned()])?;
    let mut args = qemu_test::Args::of(&[], DEFAULT_KERNEL);
    args.accel = klp_vm::AccelChoice::Counted;
    let summary = qemu_test::run_cases(context, &args, cases)?.context("the benchmark gave no result")?;
    if summary.verdict() != Verdict::Passed {
        bail!("the benchmark did not pass: {}", klp_vm::ktap::render(&summary));
    }
    let file = qemu_test::evidence_dir(root, DEFAULT_KERNEL, "call").join("figures");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
    let figure = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("{} has no figure of {name}", file.display()))?.trim().parse()?)
    };
    let (plain, c, rust, around) = (figure("original")?, figure("c")?, figure("rust")?, figure("around")?);
    println!("one call, in instructions ({DEFAULT_KERNEL}, 100000 calls each, the same body):");
    println!("  not replaced     {plain:8.2}");
    println!("  replaced in C    {c:8.2}  {:.2} times the call that is not replaced", c / plain);
    println!("  replaced in Rust {rust:8.2}  {:.3} times the one in C", rust / c);
    println!(
        "  original called  {around:8.2}  {:+.2} instructions beside the one in C (target: at most +10)",
        around - c
    );
    Ok(())
}

/// Cost of a kernel's index from its image and of a look-up, each in its own process, optimised as in a release.
fn image(context: &Context, runs: usize) -> Result<()> {
    let tree = context.kernel(DEFAULT_KERNEL)?;
    let (shell, target_dir) = (shell()?, context.target_dir());
    cmd!(shell, "cargo build --quiet --release -p klp-image --example image --target-dir {target_dir}")
        .quiet()
        .run()?;
    let program = target_dir.join("release/examples/image");
    println!("{}", klp_testkit::image_bench::measure(&tree, &program, runs)?);
    Ok(())
}

/// Cost of a case (load, prove, revert) in its own boot and from a snapshot, compared with a boot of the same kernel to
/// a bare busybox shell.
fn boot(context: &Context, runs: usize) -> Result<()> {
    let tree = context.kernel(DEFAULT_KERNEL)?;
    let module = context.build(&tree, "cmdline", klp_pipeline::stage::Range::default())?.ko;
    let guest = qemu_test::guest(context, &tree)?;
    let cases = case::load_all(&context.project.root().join("tests/cases")).map_err(klp_vm::Error::from)?;
    let cases: Vec<_> = cases.into_iter().filter(|case| case.name == "cmdline").collect();
    let options =
        || Options::new(context.project.root().join("build/bench"), context.cache.root().join("state"));
    let provide = |_: &klp_vm::Kernel, _: Wanted<'_>| Ok::<_, ArtifactError>(Supply::from(module.clone()));
    let run_case = |snapshots: Option<Cache>| {
        let options = Options { snapshots, ..options()? };
        let suite = Suite { guests: vec![guest.clone()], cases: cases.clone(), provider: &provide, options };
        passed(&suite.run(&Silent)?)
    };
    let (mut bare, mut whole, mut restored, mut inside, mut waits) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first run is not counted: it warms the page cache and makes the snapshot.
    for run in 0..=runs {
        let cost = klp_vm::bench::bare_boot(&guest, &options()?, &context.terminal)?;
        let (from_snapshot, _) = run_case(Some(context.cache.clone()))?;
        ensure!(
            from_snapshot.start == Start::Snapshot,
            "the guest was not restored but {}",
            from_snapshot.start
        );
        let (boot, case) = run_case(None)?;
        if run > 0 {
            bare.push(cost.cpu);
            restored.push(from_snapshot.cpu);
            whole.push(boot.cpu);
            inside.push(case.cpu);
            let log = case.end.evidence.as_ref().map(|dir| dir.join("kernel.log"));
            let log = log.context("the case left no evidence")?;
            let text =
                std::fs::read_to_string(&log).with_context(|| format!("could not read {}", log.display()))?;
            waits.push(transitions(&text).with_context(|| format!("{} shows no transition", log.display()))?);
        }
    }
    let ratio = |times: &[Duration]| {
        median_of(times.iter().zip(&bare).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect())
    };
    println!("boot ({DEFAULT_KERNEL}, {runs} rounds, CPU seconds of QEMU, median of each):");
    println!("  bare busybox shell               {:.2}", median(&bare));
    println!("  boot + load, prove, revert       {:.2}", median(&whole));
    println!("    of which the case itself       {:.2}", median(&inside));
    println!("  snapshot + load, prove, revert   {:.2}", median(&restored));
    println!("  waiting for its transitions      {:.2} (seconds by the guest's clock)", median_of(waits));
    println!("  ratio with a boot                {:.2} (target: at most 1.5)", ratio(&whole));
    println!("  ratio from the snapshot          {:.2} (target: at most 0.6)", ratio(&restored));
    Ok(())
}

/// Machine and case of a run with one case, which must have passed.
fn passed(summary: &Summary) -> Result<(BootRun, CaseRun)> {
    let machine = summary.boots.iter().find(|boot| !boot.cases.is_empty()).cloned();
    let (Some(machine), Some(case)) = (machine, summary.cases.first().cloned()) else {
        bail!("the case was not run: {:?}", summary.verdict());
    };
    let reason = case.end.reason.clone().unwrap_or_default();
    ensure!(
        summary.verdict() == Verdict::Passed,
        "the case did not pass, so that its cost says nothing: {reason}"
    );
    Ok((machine, case))
}

/// Seconds between the start and the end of the transitions in a kernel log.
fn transitions(log: &str) -> Option<f64> {
    let at = |line: &str| line.trim_start_matches('[').split(']').next()?.trim().parse::<f64>().ok();
    let (mut started, mut waited) = (None, None);
    for line in log.lines().filter(|line| line.contains("livepatch: ")) {
        if line.ends_with("transition") {
            started = at(line);
        } else if line.ends_with("complete") {
            waited = Some(waited.unwrap_or(0.0) + at(line)? - started.take()?);
        }
    }
    waited
}

/// Cost of `build cmdline`: with an empty cache except for the kernel, with all inputs in the cache, and without
/// changes.
fn build(context: &Context, runs: usize) -> Result<()> {
    let tree = context.kernel(DEFAULT_KERNEL)?;
    let program = std::env::current_exe()?;
    let measure = |cache: &Cache, words: &[&str]| -> Result<Duration> {
        let cmd = Cmd::new(&program).args(["build", "cmdline", "--kernel", DEFAULT_KERNEL]).args(words);
        Ok(cmd.env("FERROGRAFT_CACHE", cache.root()).run()?.cpu)
    };
    let mut cold = Vec::new();
    for _ in 0..runs.min(2) {
        let dir = tempfile::tempdir()?;
        std::os::unix::fs::symlink(context.cache.root().join("kernel"), dir.path().join("kernel"))?;
        cold.push(measure(&Cache::new(dir.path()), &["--from", "resolve"])?);
    }
    let repeat =
        |words: &[&str]| (0..runs).map(|_| measure(&context.cache, words)).collect::<Result<Vec<_>>>();
    measure(&context.cache, &[])?;
    let warm = repeat(&["--from", "resolve"])?;
    let unchanged = repeat(&[])?;
    let ko = context.build(&tree, "cmdline", klp_pipeline::stage::Range::default())?.ko;
    println!("build cmdline ({DEFAULT_KERNEL}, CPU seconds with all children, medians):");
    println!("  cold, kernel fetched         {:.1} (target: under 30)", median(&cold));
    println!(
        "  warm, every stage run        {:.2} (target: under 3; kpatch-build on a tiny kernel: 28-31)",
        median(&warm)
    );
    println!("  unchanged                    {:.2}", median(&unchanged));
    println!("  size of the module           {} bytes (target: under 24576)", std::fs::metadata(ko)?.len());
    Ok(())
}

fn median(durations: &[Duration]) -> f64 {
    median_of(durations.iter().map(Duration::as_secs_f64).collect())
}

fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
