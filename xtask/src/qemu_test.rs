// SPDX-License-Identifier: GPL-2.0-or-later
//! `qemu-test`: VM cases × kernels.

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use klp_base::events::Verdict;
use klp_base::process;
use klp_pipeline::build::{Range, Stage};
use klp_pipeline::kernel::{KernelTree, Pin};
use klp_vm::{
    AccelChoice, ArtifactError, Guest, GuestFiles, Kernel, Options, Suite, Summary, case, junit, ktap,
};

use crate::context::{Context, DEFAULT_KERNEL, NotAble, exit_code};
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
    /// Cases whose names contain one of these words; all of them where none is given
    pub(crate) filter: Vec<String>,
    /// Id of a kernel, or all; may be given several times
    #[arg(long, default_value = DEFAULT_KERNEL)]
    pub(crate) kernel: Vec<String>,
    /// List the selected cases and kernels, and run nothing
    #[arg(long)]
    list: bool,
    /// How to list: for people, or as JSON for CI systems that split the work (schema ferrograft.cases/1)
    #[arg(long, value_enum, default_value = "human", requires = "list")]
    format: Format,
    /// Write a JUnit report to this file
    #[arg(long)]
    pub(crate) junit: Option<PathBuf>,
    /// What runs the guests: auto (KVM where it proves itself), kvm, tcg
    #[arg(long, default_value = "auto")]
    pub(crate) accel: AccelChoice,
    /// Guests at a time
    #[arg(long, default_value = "1")]
    pub(crate) jobs: NonZeroU32,
    /// Run everything this often, each time in a fresh boot
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
    /// Keep what came of kernels whose cases all passed, for the README's support matrix; needs a clean checkout
    #[arg(long, conflicts_with = "filter")]
    pub(crate) record: bool,
    /// Directory of the cases
    #[arg(long, hide = true)]
    pub(crate) cases: Option<PathBuf>,
}

impl Args {
    /// The given cases on the given kernel, everything else as usual.
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
    let commit = args.record.then(|| support::commit_to_record(&context)).transpose()?;
    setup::ensure(&context, &[Need::Build, Need::Guest])?;
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

/// How a listing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// The selected cases of each kernel, those that are skipped with the reason.
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

/// Runs cases; nothing comes back of a shell.
pub(crate) fn run_cases(context: &Context, args: &Args, cases: Vec<case::Case>) -> Result<Option<Summary>> {
    let ids = context.kernels(&args.kernel)?;
    let trees: Vec<KernelTree> = ids.iter().map(|id| context.kernel(id)).collect::<Result<_>>()?;
    let guests = trees.iter().map(|tree| guest(context, tree)).collect::<Result<_>>()?;
    let provide = |kernel: &Kernel, artifact: &str| artifact_of(context, &trees, kernel, artifact);
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

/// A kernel and what its guest needs.
pub(crate) fn guest(context: &Context, tree: &KernelTree) -> Result<Guest> {
    setup::ensure_guest_of(tree.arch, &context.terminal)?;
    let programs = context.static_programs(tree.arch)?;
    let pinned = Pin::load(&context.project, &tree.id)?.busybox(&context.cache, &context.terminal)?;
    let busybox = pinned
        .or_else(setup::busybox)
        .ok_or_else(|| NotAble("busybox is missing; install busybox-static".to_owned()))?;
    // The guest program loads them in the order of their names.
    let modules = tree.guest_modules.iter().zip(0..).map(|(file, position)| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        (format!("/modules/{position:02}-{name}"), file.clone())
    });
    Ok(Guest {
        kernel: Kernel {
            id: tree.id.clone(),
            arch: setup::vm_arch(tree.arch),
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

/// What a case names: the module of a fix or stream; `<name>@kbuild` for the one that was not converted;
/// `module:<name>` for a module of the kernel's own; `without:<option>,...:<name>` for a fix compiled as if the kernel did
/// not have these options, which `verify` must refuse; `signed:<name>` for a fix with the kernel's signature; `version:<number>:<stream>` for a stream as if
/// that were its version, which follows the one before; `traceability` for what the image says of ftrace's list.
fn artifact_of(
    context: &Context,
    trees: &[KernelTree],
    kernel: &Kernel,
    artifact: &str,
) -> Result<PathBuf, ArtifactError> {
    let tree = trees.iter().find(|tree| tree.id == kernel.id);
    let tree = tree.ok_or_else(|| ArtifactError::Failed(format!("kernel {} was not fetched", kernel.id)))?;
    make_artifact(context, tree, artifact).map_err(|error| unprovided(artifact, &error))
}

fn make_artifact(context: &Context, tree: &KernelTree, artifact: &str) -> Result<PathBuf> {
    if let Some(module) = artifact.strip_prefix("module:") {
        return own_module(context, tree, module);
    }
    if let Some(fix) = artifact.strip_prefix("signed:") {
        return signed(context, tree, fix);
    }
    if let Some((options, fix)) = artifact.strip_prefix("without:").and_then(|rest| rest.split_once(':')) {
        return unprotected(context, tree, options, fix);
    }
    if let Some((version, stream)) = artifact.strip_prefix("version:").and_then(|rest| rest.split_once(':')) {
        return version_of(context, tree, version, stream);
    }
    if artifact == "traceability" {
        return predictions(context, tree);
    }
    let (name, stage) = artifact.split_once('@').unwrap_or((artifact, "verify"));
    match stage.parse() {
        Ok(Stage::Verify) => Ok(context.build(tree, name, Range::default())?.ko),
        Ok(Stage::Kbuild) => {
            let range = Range { from: None, to: Stage::Kbuild };
            Ok(context.build(tree, name, range)?.unconverted)
        }
        _ => bail!("only the stages kbuild and verify give a module"),
    }
}

/// What a case comes to whose artifact there is not: where this machine lacks a tool, a package or the network, nothing is
/// known of what the case claims.
pub(crate) fn unprovided(artifact: &str, error: &anyhow::Error) -> ArtifactError {
    let why = format!("artifact {artifact}: {error:#}");
    if exit_code(error) == Verdict::NotAble.exit_code() || lacks_program(error) {
        ArtifactError::NotAble(why)
    } else {
        ArtifactError::Failed(why)
    }
}

/// Whether the cause is a program that is not there.
fn lacks_program(error: &anyhow::Error) -> bool {
    let in_pipeline = match error.downcast_ref() {
        Some(klp_pipeline::Error::Process(cause)) => Some(cause),
        _ => None,
    };
    let missing = |cause: &process::Error| match cause {
        process::Error::Start { source, .. } => source.kind() == ErrorKind::NotFound,
        _ => false,
    };
    in_pipeline.or_else(|| error.downcast_ref()).is_some_and(missing)
}

/// A module of the kernel's own, unpacked, so that the guest's insmod can take it.
fn own_module(context: &Context, tree: &KernelTree, name: &str) -> Result<PathBuf> {
    let file = klp_pipeline::objects::module_file(
        &context.project,
        tree,
        &name.parse()?,
        &context.cache,
        &context.terminal,
    )?;
    let bytes = std::fs::read(&file).with_context(|| format!("could not read {}", file.display()))?;
    let unpacked = klp_pipeline::image::unpack_module(&bytes)?;
    for_guest(context, tree, &format!("{name}.ko"), &unpacked)
}

/// A fix, signed with the key that the kernel trusts.
fn signed(context: &Context, tree: &KernelTree, fix: &str) -> Result<PathBuf> {
    let built = context.build(tree, fix, Range::default())?;
    Ok(klp_pipeline::sign::sign(tree, &built.ko, None, &built.dir.join("7-sign"))?)
}

/// A stream in another version; all versions share a build directory, in which only what differs is made again.
fn version_of(context: &Context, tree: &KernelTree, version: &str, stream: &str) -> Result<PathBuf> {
    let mut target = context.project.target(stream)?;
    let number: u32 = version.parse().with_context(|| format!("version `{version}` is no number"))?;
    let (_, release) = target.version.with_context(|| format!("`{stream}` is no stream"))?;
    target.version = Some((number, release));
    target.predecessor = (number > 1).then(|| (number - 1, release));
    let built = context.build_target(tree, &target, Range::default())?;
    let bytes = std::fs::read(&built.ko).with_context(|| format!("could not read {}", built.ko.display()))?;
    for_guest(context, tree, &format!("{stream}/{}.ko", built.module), &bytes)
}

/// A module that lacks what the kernel's options ask of code; it is an error if `verify` lets it pass.
fn unprotected(context: &Context, tree: &KernelTree, options: &str, fix: &str) -> Result<PathBuf> {
    let mut without = KernelTree { id: format!("{}-unprotected", tree.id), ..tree.clone() };
    for option in options.split(',') {
        ensure!(tree.config.is_on(option), "{} is built without CONFIG_{option}", tree.id);
        without.config = without.config.without(option);
    }
    let built = context.build(&without, fix, Range { from: None, to: Stage::Postlink })?;
    let bytes = std::fs::read(&built.ko).with_context(|| format!("could not read {}", built.ko.display()))?;
    let report =
        klp_pipeline::verify::verify(&bytes, &klp_pipeline::verify::Expected::of_build(tree, &built)?);
    ensure!(
        report.refusals() > 0,
        "{fix} without {options}: verify should have refused it, and found nothing"
    );
    Ok(built.ko)
}

/// What the image says of ftrace's list, with a seed to draw by: FERROGRAFT_SEED, or the time.
fn predictions(context: &Context, tree: &KernelTree) -> Result<PathBuf> {
    let seed = match std::env::var("FERROGRAFT_SEED") {
        Ok(text) => text.parse().with_context(|| format!("FERROGRAFT_SEED={text} is no number"))?,
        Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs(),
    };
    let image = klp_pipeline::image::KernelImage::load(tree, &context.cache, &context.terminal)?;
    let text = klp_pipeline::image::predictions(&image, seed);
    for_guest(context, tree, "traceability", text.as_bytes())
}

fn for_guest(context: &Context, tree: &KernelTree, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let file = context.project.build_dir(&tree.id, ".artifacts").join(name);
    let dir = file.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(dir)
        .with_context(|| format!("could not make the directory {}", dir.display()))?;
    klp_base::cache::write_durable(&file, bytes)?;
    Ok(file)
}

fn machines_line(summary: &Summary) -> String {
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

/// Where the evidence of a case lies.
pub(crate) fn evidence_dir(root: &Path, kernel: &str, case: &str) -> PathBuf {
    root.join("build/evidence").join(kernel).join(case)
}

#[cfg(test)]
mod tests {
    use klp_base::process::Cmd;
    use klp_pipeline::Error;

    use super::*;

    #[test]
    fn an_artifact_that_this_machine_cannot_make_is_not_able_and_one_that_fails_has_failed() {
        let not_able = || Error::NotAble { what: "no network".to_owned(), help: "connect it".to_owned() };
        let no_program = || Cmd::new("/nonexistent/tool").run().unwrap_err();
        for error in [
            anyhow::Error::from(not_able()),
            anyhow::Error::from(not_able()).context("could not read x"),
            NotAble("install it".to_owned()).into(),
            no_program().into(),
            Error::from(no_program()).into(),
        ] {
            for artifact in
                ["module:a", "signed:a", "without:B:a", "version:2:a", "traceability", "a", "a@kbuild"]
            {
                let unprovided = unprovided(artifact, &error);
                let ArtifactError::NotAble(why) = unprovided else { panic!("{unprovided:?}") };
                assert!(why.contains(artifact) && why.contains(&format!("{error:#}")), "{why}");
            }
        }
        let failed = Cmd::new("false").run().unwrap_err();
        for error in [anyhow::anyhow!("verify should have refused it"), Error::from(failed).into()] {
            assert!(matches!(unprovided("without:B:a", &error), ArtifactError::Failed(_)));
        }
    }
}
