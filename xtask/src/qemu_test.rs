// SPDX-License-Identifier: GPL-2.0-or-later
//! `qemu-test`: VM cases × kernels.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use klp_base::events::Verdict;
use klp_base::files::make_dir;
use klp_kernel::{KernelTree, Pin, guest_program};
use klp_testkit::artifact::{self, Artifact, Maker};
use klp_vm::{
    AccelChoice, ArtifactError, Guest, GuestFiles, Kernel, Options, Suite, Summary, Supply, Wanted, case,
    junit, ktap,
};

use crate::context::{Context, DEFAULT_KERNEL};
use crate::machine::NotAble;
use crate::setup::Need;
use crate::{setup, support};

/// Run VM cases: boot a pinned kernel, load, prove, revert.
///
/// Example: cargo xtask qemu-test cmdline --kernel debian-6.12 --junit junit.xml
///
/// Exit codes: 0 passed, 1 a test failed, 2 usage, 5 a guest panicked, 6 a guest hung, 69 the environment is not able, or all
/// selected cases are skipped on these kernels, so that nothing was shown.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Cases whose names contain one of these words; all cases if none is given
    pub(crate) filter: Vec<String>,
    /// Id of a kernel, or all; may be given several times
    #[arg(long, default_value = DEFAULT_KERNEL)]
    pub(crate) kernel: Vec<String>,
    /// List the selected cases and kernels, and run nothing
    #[arg(long)]
    list: bool,
    /// Format of the list: for people, or JSON for CI systems that split the work (schema ferrograft.cases/1)
    #[arg(long, value_enum, default_value = "human", requires = "list")]
    format: Format,
    /// Write a JUnit report to this file
    #[arg(long)]
    pub(crate) junit: Option<PathBuf>,
    /// Acceleration of the guests: auto (KVM after a successful trial, else TCG), kvm, tcg
    #[arg(long, default_value = "auto")]
    pub(crate) accel: AccelChoice,
    /// Number of concurrent guests
    #[arg(long, default_value = "1")]
    pub(crate) jobs: NonZeroU32,
    /// Number of runs of each case, each in a fresh boot
    #[arg(long, default_value = "1")]
    repeat: NonZeroU32,
    /// Boot each guest, instead of continuing from the snapshot of a booted one
    #[arg(long)]
    pub(crate) no_snapshot: bool,
    /// Boot, and give the terminal a shell in the guest instead of running the cases
    #[arg(long)]
    shell: bool,
    /// Let each boot wait for a debugger
    #[arg(long)]
    gdb: bool,
    /// Record the kernels whose cases all passed, for the README's support matrix; needs a clean checkout
    #[arg(long, conflicts_with = "filter")]
    pub(crate) record: bool,
    /// Directory of the cases
    #[arg(long, hide = true)]
    pub(crate) cases: Option<PathBuf>,
}

impl Args {
    /// Arguments for the given cases on the given kernel, with defaults for the rest.
    pub(crate) fn of(filter: &[&str], kernel: &str) -> Self {
        Self {
            filter: filter.iter().map(|word| (*word).to_owned()).collect(),
            kernel: vec![kernel.to_owned()],
            list: false,
            format: Format::Human,
            junit: None,
            accel: AccelChoice::Auto,
            jobs: NonZeroU32::MIN,
            repeat: NonZeroU32::MIN,
            no_snapshot: false,
            shell: false,
            gdb: false,
            record: false,
            cases: None,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    let dir = args.cases.clone().unwrap_or_else(|| context.project.root().join("tests/cases"));
    let cases = case::load_all(&dir).map_err(klp_vm::Error::from)?;
    let known = context.project.kernel_ids();
    case::check_kernels(&cases, &known.iter().map(String::as_str).collect::<Vec<_>>())
        .map_err(klp_vm::Error::from)?;
    let cases = case::select(&cases, &args.filter).map_err(klp_vm::Error::from)?;
    let kernels = context.kernels(&args.kernel)?;
    if args.list {
        println!("{}", listing(&kernels, &cases, args.format)?);
        return Ok(ExitCode::SUCCESS);
    }
    let commit = args.record.then(support::commit_to_record).transpose()?;
    context.ensure(&[Need::Build, Need::Guest, Need::Sign])?;
    let summary = match run_cases(&context, args, cases)? {
        Some(summary) => summary,
        None => return Ok(ExitCode::SUCCESS),
    };
    print!("{}", ktap::render(&summary));
    if let Some(path) = &args.junit {
        junit::write(path, &summary)?;
    }
    if let Some(commit) = commit {
        support::record(&context, &commit, &summary)?;
    }
    println!("{}", machines_line(&summary));
    println!("{}", closing_line(&summary));
    Ok(ExitCode::from(summary.verdict().exit_code()))
}

/// Format of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// Selected cases of each kernel; skipped cases with the reason.
fn listing(kernels: &[String], cases: &[case::Case], format: Format) -> Result<String> {
    let selected = kernels.iter().flat_map(|kernel| {
        cases.iter().filter(|case| case.is_for(kernel)).map(move |case| (kernel, case, case.skip.get(kernel)))
    });
    if format == Format::Json {
        let entry = |(kernel, case, skip): (&String, &case::Case, Option<&String>)| {
            serde_json::json!({
                "kernel": kernel,
                "case": case.name,
                "description": case.description,
                "skipped": skip,
                "command": format!("cargo xtask qemu-test {} --kernel {kernel}", case.name),
            })
        };
        let cases: Vec<_> = selected.map(entry).collect();
        return Ok(serde_json::to_string_pretty(
            &serde_json::json!({ "schema": "ferrograft.cases/1", "cases": cases }),
        )?);
    }
    let line = |(kernel, case, skip): (&String, &case::Case, Option<&String>)| {
        let why = skip.map_or_else(String::new, |reason| format!(" (skipped: {reason})"));
        format!("{kernel} {}{why}", case.name)
    };
    Ok(selected.map(line).collect::<Vec<_>>().join("\n"))
}

/// Runs cases; returns `None` after a shell.
pub(crate) fn run_cases(context: &Context, args: &Args, cases: Vec<case::Case>) -> Result<Option<Summary>> {
    // The report is written after minutes of work: its directory must exist before.
    if let Some(parent) = args.junit.as_deref().and_then(Path::parent) {
        make_dir(parent)?;
    }
    let ids = context.kernels(&args.kernel)?;
    let trees: Vec<KernelTree> = ids.iter().map(|id| context.kernel(id)).collect::<Result<_>>()?;
    let guests = trees.iter().map(|tree| guest(context, tree)).collect::<Result<_>>()?;
    let provide = |kernel: &Kernel, wanted: Wanted<'_>| supply(context, &trees, kernel, wanted);
    let mut options =
        Options::new(context.project.root().join("build/evidence"), context.cache.root().join("state"))?;
    options.accel = args.accel;
    options.jobs = args.jobs;
    options.repeat = args.repeat;
    options.gdb = args.gdb;
    options.snapshots = (!args.no_snapshot).then(|| context.cache.clone());
    let suite = Suite { guests, cases, provider: &provide, options };
    if args.shell {
        suite.shell(&context.terminal)?;
        return Ok(None);
    }
    Ok(Some(suite.run(&context.terminal)?))
}

/// Kernel with the files of its guest.
pub(crate) fn guest(context: &Context, tree: &KernelTree) -> Result<Guest> {
    setup::ensure_guest_of(tree.arch, &context.terminal)?;
    let programs = context.static_programs(tree.arch)?;
    let pinned =
        Pin::load(&context.project.kernel_configs(), &tree.id)?.busybox(&context.cache, &context.terminal)?;
    let busybox = pinned
        .or_else(setup::busybox)
        .ok_or_else(|| NotAble("busybox is missing; install busybox-static".to_owned()))?;
    // The guest program loads the modules in the order of their names.
    let modules = tree.guest_modules.iter().zip(0..).map(|(file, position)| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        (format!("/modules/{position:02}-{name}"), file.clone())
    });
    Ok(Guest {
        kernel: Kernel {
            id: tree.id.clone(),
            arch: tree.arch,
            image: tree.image.clone(),
            release: tree.release.to_string(),
        },
        files: GuestFiles {
            program: programs.guest,
            busybox,
            lib: context.project.root().join("tests/lib"),
            extra: modules
                .chain([
                    ("/sbin/kpatch".to_owned(), programs.kpatch),
                    ("/bin/workload".to_owned(), programs.workload),
                ])
                .collect(),
        },
    })
}

/// Makes an artifact or a program of a case for a kernel.
fn supply(
    context: &Context,
    trees: &[KernelTree],
    kernel: &Kernel,
    wanted: Wanted<'_>,
) -> Result<Supply, ArtifactError> {
    let tree = trees.iter().find(|tree| tree.id == kernel.id);
    let tree = tree.ok_or_else(|| ArtifactError::Failed(format!("kernel {} was not fetched", kernel.id)))?;
    let maker = Maker { project: &context.project, cache: &context.cache, sink: &context.terminal };
    let make = |artifact: Artifact| -> Result<Supply, artifact::Error> {
        Ok(Supply { file: maker.make(tree, &artifact)?, needs: maker.needs(tree, &artifact)? })
    };
    match wanted {
        Wanted::Artifact(name) => {
            let made = name.parse().and_then(make);
            made.map_err(|error| unprovided(error.is_not_able(), &error))
        }
        Wanted::Program(source) => {
            setup::ensure_programs_of(tree.arch, &context.terminal)
                .map_err(|error| ArtifactError::NotAble(format!("{error:#}")))?;
            let made =
                guest_program::build(source, &tree.toolchain, tree.arch, &context.cache, &context.terminal);
            made.map(Supply::from).map_err(|error| unprovided(error.exit_code() == 69, &error))
        }
    }
}

/// Outcome of a case whose file cannot be made. If this machine lacks something, the result of the case is unknown.
fn unprovided(not_able: bool, error: &dyn std::error::Error) -> ArtifactError {
    let why = klp_base::chain(error);
    if not_able { ArtifactError::NotAble(why) } else { ArtifactError::Failed(why) }
}

pub(crate) fn machines_line(summary: &Summary) -> String {
    let restored = summary.restored();
    let booted = summary.boots.len() - restored;
    let cpu = summary.cpu().as_secs_f64();
    format!("{booted} machines booted, {restored} from a snapshot: {cpu:.1} s of CPU time")
}

fn closing_line(summary: &Summary) -> String {
    let passed = summary.count(Verdict::Passed);
    let skipped = summary.count(Verdict::Skipped);
    let failed = summary.cases.len() - passed - skipped;
    let nothing = if passed + failed == 0 { ": nothing was shown" } else { "" };
    format!("{passed} passed, {failed} failed, {skipped} skipped{nothing}")
}

/// Directory of the evidence of a case.
pub(crate) fn evidence_dir(root: &Path, kernel: &str, case: &str) -> PathBuf {
    root.join("build/evidence").join(kernel).join(case)
}

#[cfg(test)]
mod tests {
    use klp_base::process::Cmd;

    use super::*;

    #[test]
    fn an_artifact_that_this_machine_cannot_make_is_not_able_and_one_that_fails_has_failed() {
        let missing: artifact::Error =
            klp_pipeline::Error::from(Cmd::new("/nonexistent/tool").run().unwrap_err()).into();
        let ArtifactError::NotAble(why) = unprovided(missing.is_not_able(), &missing) else {
            panic!("{missing}")
        };
        assert_eq!(why, missing.to_string());
        let failed: artifact::Error = klp_pipeline::Error::from(Cmd::new("false").run().unwrap_err()).into();
        assert!(matches!(unprovided(failed.is_not_able(), &failed), ArtifactError::Failed(_)));
    }
}
