// SPDX-License-Identifier: GPL-2.0-or-later
//! `system-test`: cases in a full system with systemd, through several boots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use klp_base::events::Verdict;
use klp_kernel::host::apt::debian_mirror;
use klp_kernel::host::apt::unpacked_package;
use klp_kernel::{KernelTree, Package};
use klp_package::{Format, Operator, Origin, Patch, PatchModule, Relation, RelationKind, Version, repo};
use klp_pipeline::stage::Range;
use klp_vm::{DiskImage, Guest, Options, System, SystemCase};

use crate::context::{Context, DEFAULT_KERNEL};
use crate::fleet::{self, Fleet};
use crate::setup::Need;
use crate::{package, qemu_test};

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
const UNITS: [&str; 4] =
    ["kpatch.service", "kpatch-confirm.service", "kpatch-settle.path", "kpatch-settle.service"];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    let all = SystemCase::load_all(&context.project.root().join("tests/systems"))?;
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
    context.ensure(&[Need::Build, Need::Guest, Need::System])?;
    let worst = run_cases(&context, &cases, &args.kernel)?;
    Ok(ExitCode::from(worst.exit_code()))
}

/// Runs every case on one kernel. Returns the most severe verdict.
pub(crate) fn run_all(context: &Context) -> Result<Verdict> {
    let cases = SystemCase::load_all(&context.project.root().join("tests/systems"))?;
    context.ensure(&[Need::System])?;
    run_cases(context, &cases, DEFAULT_KERNEL)
}

fn run_cases(context: &Context, cases: &[SystemCase], kernel: &str) -> Result<Verdict> {
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
    options.repeat_command = "cargo xtask system-test {case} --kernel {kernel}".to_owned();
    let mut system = System {
        guest: &guest,
        image: &image,
        modules: disk_modules(context, &tree)?,
        files: Vec::new(),
        options,
    };
    let mut verdicts = Vec::new();
    for case in cases {
        if !case.guests.is_empty() {
            verdicts.push(fleet_case(context, &tree, &system, case)?);
            continue;
        }
        system.files = match &case.packages {
            None => files(context, &guest)?,
            Some(format) => repositories(context, &tree, format.parse().map_err(anyhow::Error::msg)?)?,
        };
        let mut artifacts = BTreeMap::new();
        for name in &case.artifacts {
            artifacts.insert(name.clone(), context.build(&tree, name, Range::default())?.ko);
        }
        verdicts.push(system.run(case, &artifacts, &context.terminal)?);
    }
    Ok(Verdict::of_all(verdicts))
}

/// Runs a case with several guests at once. They have an image of their own, with sshd.
fn fleet_case(
    context: &Context,
    tree: &KernelTree,
    system: &System<'_>,
    case: &SystemCase,
) -> Result<Verdict> {
    let fleet = Fleet::new(context)?;
    let image = DiskImage {
        mirror: debian_mirror()?,
        suite: SUITE.to_owned(),
        packages: PACKAGES.into_iter().chain(fleet::PACKAGES).map(str::to_owned).collect(),
    };
    let image = image.make(&context.cache, &context.terminal)?;
    let format = case.packages.as_deref().context("a fleet installs packages: case.toml lacks `packages`")?;
    let format = format.parse().map_err(anyhow::Error::msg)?;
    let mut files = repositories(context, tree, format)?;
    files.extend(fleet.files()?);
    let modules = DISK_MODULES.into_iter().chain(fleet::MODULES);
    let system = System {
        guest: system.guest,
        image: &image,
        modules: unpacked_modules(context, tree, modules)?,
        files,
        options: system.options.clone(),
    };
    fleet.run(&system, case, &BTreeMap::new())
}

fn disk_modules(context: &Context, tree: &KernelTree) -> Result<Vec<(String, Vec<u8>)>> {
    unpacked_modules(context, tree, DISK_MODULES)
}

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
    names.into_iter().map(unpacked).collect()
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

/// Streams of the packages after the empty one, oldest first.
const STREAMS: [&str; 2] = ["demo-v1", "demo-v2"];

/// Repositories of one format, `/srv/<n>`: 0 has kpatch and the empty package of the kernel, each later one has one more
/// version of its live patch.
fn repositories(context: &Context, tree: &KernelTree, format: Format) -> Result<Vec<(String, u32, Vec<u8>)>> {
    context.ensure(&[Need::Packages])?;
    let origin = Origin::default();
    let scratch = tempfile::tempdir()?;
    let mut packages =
        vec![package::loader(context, tree.arch)?.package(format, &origin)?, base(tree, format)];
    packages.extend(Patch::empty(tree.release.clone(), tree.arch).packages(format, &origin)?);
    let (mut files, mut made) = (Vec::new(), Vec::new());
    for state in 0..=STREAMS.len() {
        if let Some(stream) = state.checked_sub(1).and_then(|at| STREAMS.get(at)) {
            let ko = context.build(tree, stream, Range::default())?.ko;
            let module = PatchModule::load(&ko, &tree.release, tree.arch)?;
            packages.extend(Patch::of_module(module, None).packages(format, &origin)?);
        }
        for package in packages.drain(..) {
            let file = scratch.path().join(package.file_name());
            klp_package::write(&file, &package.encode()?)?;
            made.push(file);
        }
        let repository = scratch.path().join(state.to_string());
        repo::add(&repository, &made, &repo::Options::default())?;
        for file in klp_base::cache::walk(&repository)? {
            let relative = file.strip_prefix(scratch.path()).unwrap_or(&file);
            files.push((format!("/srv/{}", relative.display()), 0o644, read(&file)?));
        }
    }
    Ok(files)
}

/// Package of what the guest has outside of the package manager: the kernel, and for RPM everything that comes from Debian.
fn base(tree: &KernelTree, format: Format) -> klp_package::Package {
    let provides = |name: &str, version: Option<&str>| match version {
        Some(version) => Relation::to(RelationKind::Provides, name, Operator::Equal, version),
        None => Relation::any(RelationKind::Provides, name),
    };
    let relations = match format {
        Format::Deb => Vec::new(),
        Format::Rpm => vec![
            provides("/bin/sh", None),
            provides("systemd", None),
            provides("kernel-uname-r", Some(tree.release.as_str())),
        ],
    };
    klp_package::Package {
        format,
        name: "guest-base".to_owned(),
        version: Version { epoch: 0, version: "1".to_owned(), release: "1".to_owned() },
        arch: tree.arch,
        section: "misc",
        license: "GPL-2.0-or-later",
        summary: "Files of the guest that have no package".to_owned(),
        description: vec!["For tests.".to_owned()],
        changes: Vec::new(),
        relations,
        entries: Vec::new(),
        scripts: Vec::new(),
        origin: Origin::default(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("could not read {}", PathBuf::from(path).display()))
}
