// SPDX-License-Identifier: GPL-2.0-or-later
//! `system-test`: cases in a full system with systemd, through several boots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use klp_base::events::{Silent, Sink, Verdict};
use klp_kernel::host::apt::debian_mirror;
use klp_kernel::host::apt::unpacked_package;
use klp_kernel::{KernelTree, Package};
use klp_pipeline::stage::Range;
use klp_vm::{DiskImage, Guest, Options, PowerCuts, Summary, Supplies, System, SystemCase};

use crate::context::{Context, DEFAULT_KERNEL};
use crate::fleet::{self, Fleet};
use crate::setup::Need;
use crate::walk_repository::Fault;
use crate::{qemu_test, walk_repository};

/// Run cases in a full system with systemd, through reboots and crashes.
///
/// Example: cargo xtask system-test compatible
///
/// Exit codes are those of qemu-test.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Cases whose names contain one of these words; all cases if none is given
    filter: Vec<String>,
    /// Id of the kernel
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: String,
    /// List the selected cases, and run nothing
    #[arg(long)]
    list: bool,
    /// Boot each guest, instead of continuing the first boot from the snapshot of a booted system
    #[arg(long)]
    no_snapshot: bool,
    /// Number of power cuts in each case that is about them (cuts-*)
    #[arg(long, default_value_t = CUTS)]
    cuts: usize,
    /// Draw the power cuts with this seed; without it the seed is the time, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Run the walks (chapter-*) with faulty packages instead: each walk must fail at the check about the fault
    #[arg(long, conflicts_with_all = ["filter", "list", "no_snapshot"])]
    must_fail: bool,
}

/// Debian suite of the guest system, and its packages in addition to the essential ones: systemd, the
/// dependencies of Debian's kpatch, checkpolicy for building SELinux policies, and dnf.
const SUITE: &str = "bookworm";
const PACKAGES: [&str; 12] = [
    "binutils",
    "checkpolicy",
    "dbus",
    "dnf",
    "init-system-helpers",
    "kmod",
    "procps",
    "rpm",
    "strace",
    "systemd",
    "systemd-sysv",
    "udev",
];
/// Modules for an ext4 file system on a virtio disk with Debian's kernels, in load order.
const DISK_MODULES: [&str; 6] = ["crc32c_generic", "crc16", "mbcache", "jbd2", "ext4", "virtio_blk"];
/// Package of the original kpatch, for comparison.
const PEER: (&str, &str, &str, &str) =
    ("kpatch", "0.9.10-1", "trixie", "ddbbfe0dbceb269e3c499958df059468e66cbe87c8abb572bcb0b93a4c99a56a");
/// Number of power cuts of a case in the full tier.
const CUTS: usize = 10;
/// Start of the names of the walks.
const WALK: &str = "chapter-";
const UNITS: [&str; 4] =
    ["kpatch.service", "kpatch-confirm.service", "kpatch-settle.path", "kpatch-settle.service"];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    if args.must_fail {
        return Ok(ExitCode::from(run_faulty(&context, &args.kernel)?.exit_code()));
    }
    let all = load_all(&context)?;
    let wanted = |case: &SystemCase| {
        args.filter.is_empty() || args.filter.iter().any(|word| case.name.contains(word.as_str()))
    };
    let cases: Vec<SystemCase> = all.into_iter().filter(wanted).collect();
    if cases.is_empty() {
        bail!("no case of tests/systems has {} in its name", args.filter.join(" or "));
    }
    if args.list {
        cases.iter().for_each(|case| println!("{}: {}", case.name, case.description));
        return Ok(ExitCode::SUCCESS);
    }
    let cuts = (args.cuts, args.seed);
    let worst = run_cases(&context, cases, &args.kernel, args.no_snapshot, cuts)?;
    Ok(ExitCode::from(worst.exit_code()))
}

/// Runs every case on one kernel. Returns the most severe verdict.
pub(crate) fn run_all(context: &Context) -> Result<Verdict> {
    run_cases(context, load_all(context)?, DEFAULT_KERNEL, false, (CUTS, None))
}

fn load_all(context: &Context) -> Result<Vec<SystemCase>> {
    Ok(SystemCase::load_all(&context.project.root().join("tests/systems"))?)
}

fn run_cases(
    context: &Context,
    cases: Vec<SystemCase>,
    kernel: &str,
    no_snapshot: bool,
    (count, seed): (usize, Option<u64>),
) -> Result<Verdict> {
    let seed = seed.map_or_else(seed_of_time, Ok)?;
    let (system, tree) = system(context, kernel, no_snapshot)?;
    let mut summary = Summary::default();
    let mut fleets = Vec::new();
    for case in cases {
        if !case.guests.is_empty() {
            fleets.push(fleet_case(context, &tree, &system, &case)?);
            continue;
        }
        let supplies = supplies(context, &tree, system.guest(), &case, None)?;
        let one = if case.operations.is_empty() {
            system.run(&case, &supplies, &context.terminal)?
        } else {
            PowerCuts { system: &system, count, seed }.run(&case, &supplies, &context.terminal)?
        };
        context.terminal.note(cost_line(&case.name, &one));
        summary.cases.extend(one.cases);
        summary.boots.extend(one.boots);
    }
    println!("{}", qemu_test::machines_line(&summary));
    let others = (!summary.cases.is_empty()).then(|| summary.verdict());
    Ok(Verdict::of_all(fleets.into_iter().chain(others)))
}

/// Runs a case with several guests at once. They have an image of their own, with sshd.
fn fleet_case(context: &Context, tree: &KernelTree, system: &System, case: &SystemCase) -> Result<Verdict> {
    let fleet = Fleet::new(context)?;
    let image = DiskImage {
        mirror: debian_mirror()?,
        suite: SUITE.to_owned(),
        packages: PACKAGES.into_iter().chain(fleet::PACKAGES).map(str::to_owned).collect(),
    };
    let image = image.make(&context.cache, &context.terminal)?;
    let mut supplies = supplies(context, tree, system.guest(), case, None)?;
    supplies.files.extend(fleet.files()?);
    let modules = unpacked_modules(context, tree, DISK_MODULES.into_iter().chain(fleet::MODULES))?;
    let system = System::new(system.guest().clone(), image, modules, system.options().clone())?;
    fleet.run(&system, case, &supplies)
}

/// CPU time of the machines of a case.
pub(crate) fn cost_line(case: &str, summary: &Summary) -> String {
    let of_case = summary.boots.iter().filter(|boot| !boot.cases.is_empty());
    let boots: Vec<f64> = of_case.map(|boot| boot.cpu.as_secs_f64()).collect();
    let each: Vec<String> = boots.iter().map(|cpu| format!("{cpu:.1}")).collect();
    let (sum, each) = (boots.iter().sum::<f64>(), each.join(", "));
    format!("  cost         {case}: {sum:.1} s of CPU time; its boots: {each}")
}

fn seed_of_time() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

/// A case with all that it needs, ready to run.
pub(crate) struct Ready {
    system: System,
    case: SystemCase,
    supplies: Supplies,
}

impl Ready {
    /// Prepares one case: the system's image, and its packages.
    pub(crate) fn prepare(context: &Context, name: &str) -> Result<Self> {
        let named = load_all(context)?.into_iter().find(|case| case.name == name);
        let case = named.with_context(|| format!("there is no case tests/systems/{name}"))?;
        let (system, tree) = system(context, DEFAULT_KERNEL, false)?;
        let supplies = supplies(context, &tree, system.guest(), &case, None)?;
        Ok(Self { system, case, supplies })
    }

    /// Runs the case.
    pub(crate) fn run(&self, sink: &dyn Sink) -> Result<Summary> {
        Ok(self.system.run(&self.case, &self.supplies, sink)?)
    }
}

/// Runs each walk with each fault in its packages. A walk must fail, at the check that is about the fault.
pub(crate) fn run_faulty(context: &Context, kernel: &str) -> Result<Verdict> {
    let (system, tree) = system(context, kernel, false)?;
    let mut verdicts = Vec::new();
    for case in load_all(context)?.iter().filter(|case| case.name.starts_with(WALK)) {
        for fault in Fault::ALL {
            let supplies = supplies(context, &tree, system.guest(), case, Some(fault))?;
            let summary = system.run(case, &supplies, &Silent)?;
            let (verdict, seen) = judge_faulty(&summary, fault);
            context.terminal.note(format!(
                "  {:13}{}, {}: {seen}",
                verdict_word(verdict),
                case.name,
                fault.name()
            ));
            verdicts.push(verdict);
        }
    }
    Ok(Verdict::of_all(verdicts))
}

/// Verdict about a walk with a fault: it passes if the walk failed for the fault's sake.
fn judge_faulty(summary: &Summary, fault: Fault) -> (Verdict, String) {
    let Some(end) = summary.cases.first().map(|run| &run.end) else {
        return (Verdict::NotAble, "the walk did not run".to_owned());
    };
    let failed = |name: &str| end.checks.iter().any(|check| !check.ok && check.name == name);
    match end.verdict {
        Verdict::Failed if failed(fault.check()) => {
            (Verdict::Passed, format!("the walk fails at `{}`", fault.check()))
        }
        Verdict::Failed => (
            Verdict::Failed,
            format!(
                "the walk fails, but not at `{}`: {}",
                fault.check(),
                end.reason.clone().unwrap_or_default()
            ),
        ),
        Verdict::Passed => (Verdict::Failed, "the walk passes".to_owned()),
        other => (other, end.reason.clone().unwrap_or_default()),
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    if verdict == Verdict::Passed { "ok" } else { "NOT OK" }
}

/// The full system on a kernel, with its tools and its image, which is made if it is not in the cache.
pub(crate) fn system(context: &Context, kernel: &str, no_snapshot: bool) -> Result<(System, KernelTree)> {
    system_of(context, kernel, no_snapshot, "cargo xtask system-test {case} --kernel {kernel}")
}

/// As [`system`], with the command that repeats a case.
pub(crate) fn system_of(
    context: &Context,
    kernel: &str,
    no_snapshot: bool,
    repeat: &str,
) -> Result<(System, KernelTree)> {
    context.ensure(&[Need::Build, Need::Guest, Need::System])?;
    let tree = context.kernel(kernel)?;
    let guest = qemu_test::guest(context, &tree)?;
    let image = DiskImage {
        mirror: debian_mirror()?,
        suite: SUITE.to_owned(),
        packages: PACKAGES.map(str::to_owned).to_vec(),
    };
    let image = image.make(&context.cache, &context.terminal)?;
    let mut options =
        Options::new(context.project.root().join("build/evidence"), context.cache.root().join("state"))?;
    options.repeat_command = repeat.to_owned();
    options.snapshots = (!no_snapshot).then(|| context.cache.clone());
    let system = System::new(guest, image, disk_modules(context, &tree)?, options)?;
    Ok((system, tree))
}

/// Files and artifacts of a case; `fault` is in its packages.
fn supplies(
    context: &Context,
    tree: &KernelTree,
    guest: &Guest,
    case: &SystemCase,
    fault: Option<Fault>,
) -> Result<Supplies> {
    let files = match &case.packages {
        None => files(context, guest)?,
        Some(format) => {
            let format = format.parse().map_err(anyhow::Error::msg)?;
            walk_repository::repositories(context, tree, format, fault, case.signed)?
        }
    };
    let mut artifacts = BTreeMap::new();
    for name in &case.artifacts {
        artifacts.insert(name.clone(), context.build(tree, name, Range::default())?.ko);
    }
    Ok(Supplies { files, artifacts })
}

fn disk_modules(context: &Context, tree: &KernelTree) -> Result<Vec<(String, Vec<u8>)>> {
    unpacked_modules(context, tree, DISK_MODULES)
}

/// Modules for the guest's connection to the host, which those of the disk need too, and the modules with these names.
fn unpacked_modules(
    context: &Context,
    tree: &KernelTree,
    names: impl IntoIterator<Item = &'static str>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let unpacked = |name: &str| -> Result<(String, Vec<u8>)> {
        let file = tree.module(&name.parse()?, &context.cache, &context.terminal)?;
        let bytes = read(&file)?;
        Ok((name.to_owned(), klp_image::unpack_module(&bytes)?.into_owned()))
    };
    let of_guest = tree.guest_modules.iter().map(|file| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, read(file)?))
    });
    of_guest.chain(names.into_iter().map(unpacked)).collect()
}

/// kpatch and its units as installed by packages, and the original kpatch next to them.
fn files(context: &Context, guest: &Guest) -> Result<Vec<(String, u32, Vec<u8>)>> {
    let (name, version, suite, sha256) = PEER;
    let peer =
        unpacked_package(&Package::new(name, version, sha256), suite, &context.cache, &context.terminal)?;
    let kpatch = guest.files.extra.get("/sbin/kpatch").context("the guest has no kpatch")?;
    let mut files = vec![
        ("/usr/sbin/kpatch".to_owned(), 0o755, read(kpatch)?),
        ("/usr/local/lib/original/kpatch".to_owned(), 0o755, read(&peer.join("usr/sbin/kpatch"))?),
    ];
    for unit in UNITS {
        let file = context.project.root().join("dist/systemd").join(unit);
        files.push((format!("/usr/lib/systemd/system/{unit}"), 0o644, read(&file)?));
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("could not read {}", PathBuf::from(path).display()))
}

#[cfg(test)]
mod tests {
    use klp_base::events::{CaseEnd, Check};
    use klp_vm::CaseRun;

    use super::*;

    fn summary(verdict: Verdict, failed: &str) -> Summary {
        let end = CaseEnd {
            case: "chapter".to_owned(),
            kernel: "k".to_owned(),
            verdict,
            checks: vec![Check { name: failed.to_owned(), ok: false, detail: None }],
            reason: Some("why".to_owned()),
            console: String::new(),
            evidence: None,
            repeat: String::new(),
            accel: String::new(),
            wall: std::time::Duration::ZERO,
        };
        let cpu = std::time::Duration::ZERO;
        let run = CaseRun { end, start: None, iteration: 1, cpu, phases: Vec::new(), taint: 0 };
        Summary { cases: vec![run], boots: Vec::new() }
    }

    #[test]
    fn a_walk_with_a_fault_must_fail_at_the_check_about_it() {
        let of = |summary| judge_faulty(&summary, Fault::Module).0;
        assert_eq!(of(summary(Verdict::Failed, Fault::Module.check())), Verdict::Passed);
        assert_eq!(of(summary(Verdict::Failed, "the package manager is set up")), Verdict::Failed);
        let passed = Summary { cases: summary(Verdict::Passed, "").cases, boots: Vec::new() };
        assert_eq!(of(passed), Verdict::Failed);
        assert_eq!(of(summary(Verdict::Hung, Fault::Module.check())), Verdict::Hung);
        assert_eq!(of(Summary::default()), Verdict::NotAble);
    }
}
