// SPDX-License-Identifier: GPL-2.0-or-later
//! `package` and `repo`: packages of live patches and of kpatch, and repositories of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use klp_base::events::{Sink, StageEnd, stage};
use klp_kernel::Pin;
use klp_package::{
    DEFAULT_DATE, DEFAULT_MAINTAINER, Format, Loader, LoaderFiles, Origin, Package, Patch, PatchModule, repo,
};
use klp_pipeline::sign;
use klp_pipeline::stage::{Range, Stage};

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;
use crate::sign::SignerArgs;

/// Name of the target that stands for the loader.
const KPATCH: &str = "kpatch";
/// Directory of built packages, in the project.
const PACKAGES: &str = "build/packages";

/// Make RPM and DEB packages of a stream for kernels, or of the program kpatch.
///
/// Example: cargo xtask package demo --kernel debian-6.12 --format deb
///
/// A package is the same bytes in every directory and on every machine. Its date is the variable SOURCE_DATE_EPOCH
/// (seconds since 1970), or 1 January 2000.
#[derive(clap::Args)]
pub(crate) struct PackageArgs {
    /// Name of a stream (patches/streams/NAME.toml), or `kpatch` for the loader
    target: String,
    /// Id of the kernel (a directory of kernel-configs), or all; may be given several times. For `kpatch` only
    /// its architecture counts
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: Vec<String>,
    /// Format: rpm or deb; may be given several times. Both if none is given
    #[arg(long)]
    format: Vec<Format>,
    /// Make the empty package 0-0, which holds no module and subscribes machines to later versions
    #[arg(long)]
    empty: bool,
    /// Sign the module with the key from the build of the kernel (kernels that are built here)
    #[arg(long, conflicts_with = "empty")]
    sign: bool,
    #[command(flatten)]
    signer: SignerArgs,
    /// Package this file, which must be the module of the build with a signature (`cargo xtask sign`). With --sign-cert the
    /// signature is checked too
    #[arg(long, value_name = "FILE", conflicts_with_all = ["empty", "sign", "sign_key", "sign_command"])]
    signed_module: Option<PathBuf>,
    /// Maintainer of the packages
    #[arg(long, default_value = DEFAULT_MAINTAINER)]
    maintainer: String,
    /// Directory for the packages
    #[arg(long, default_value = PACKAGES)]
    out: PathBuf,
}

/// Add packages to the repositories DIR/rpm (dnf) and DIR/deb (apt), and publish them.
///
/// Example: cargo xtask repo /srv/live-patches --gpg-key releases@example.org
#[derive(clap::Args)]
pub(crate) struct RepoArgs {
    /// Directory of the repositories
    dir: PathBuf,
    /// Packages to add: files, or directories with packages
    #[arg(long, default_value = PACKAGES, conflicts_with = "prune")]
    from: Vec<PathBuf>,
    /// Sign RPM packages and the metadata with this key of gpg
    #[arg(long)]
    gpg_key: Option<String>,
    /// Percentage of machines that apt offers these packages as an update; run again with a higher one to go on
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100), conflicts_with = "prune")]
    phase: Option<u8>,
    /// Instead of adding: list the packages of which newer versions are in the repository
    #[arg(long)]
    prune: bool,
    /// With --prune: number of versions of each package that stay
    #[arg(long, requires = "prune", default_value = "2", value_parser = clap::value_parser!(u8).range(1..))]
    keep: u8,
    /// With --prune: remove them
    #[arg(long, requires = "prune")]
    yes: bool,
}

pub(crate) fn package(args: &PackageArgs) -> Result<ExitCode> {
    let context = Context::new()?;
    let out = place(context.project.root(), &args.out);
    let formats = if args.format.is_empty() { Format::ALL.to_vec() } else { args.format.clone() };
    let origin = origin(args)?;
    let mut packages = Vec::new();
    if args.target == KPATCH {
        ensure!(!args.empty, "kpatch has no empty package; --empty is for streams");
        ensure!(
            !args.sign && args.signed_module.is_none() && args.signer.signer()?.is_none(),
            "kpatch is a program; the signatures of modules are for streams"
        );
        for arch in archs(&context, &args.kernel)? {
            let loader = loader(&context, arch)?;
            for format in &formats {
                packages.push(loader.package(*format, &origin)?);
            }
        }
    } else {
        let kernels = context.kernels(&args.kernel)?;
        ensure!(
            args.signed_module.is_none() || kernels.len() == 1,
            "--signed-module is the module of one kernel; name that kernel alone"
        );
        for kernel in kernels {
            let patch = patch(&context, args, &kernel)?;
            for format in &formats {
                packages.extend(patch.packages(*format, &origin)?);
            }
        }
    }
    for package in packages {
        let file = write(&context, &package, &out)?;
        println!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Maintainer, and date of `SOURCE_DATE_EPOCH`.
fn origin(args: &PackageArgs) -> Result<Origin> {
    let date = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is {text:?}, not a number of seconds"))?
        }
        Err(_) => DEFAULT_DATE,
    };
    Ok(Origin { maintainer: args.maintainer.clone(), date })
}

fn archs(context: &Context, kernels: &[String]) -> Result<Vec<klp_base::arch::Arch>> {
    let mut archs = Vec::new();
    for kernel in context.kernels(kernels)? {
        archs.push(Pin::load(&context.project.kernel_configs(), &kernel)?.arch);
    }
    archs.sort();
    archs.dedup();
    Ok(archs)
}

/// Live patch of a stream for one kernel: built, or empty.
fn patch(context: &Context, args: &PackageArgs, kernel: &str) -> Result<Patch> {
    let target = context.project.target(&args.target)?;
    ensure!(
        target.version.is_some(),
        "`{}` is a single fix, and packages are made of streams, which have a version: name it in `fixes` of \
         patches/streams/NAME.toml",
        args.target
    );
    if args.empty {
        let pin = Pin::load(&context.project.kernel_configs(), kernel)?;
        return Ok(Patch::empty(pin.release, pin.arch));
    }
    context.ensure(&[Need::Build])?;
    let tree = context.kernel(kernel)?;
    let signer = args.signer.signer()?;
    let signed = args.sign || signer.is_some();
    if signed || args.signed_module.is_some() {
        context.ensure(&[Need::Sign])?;
    }
    let to = if signed { Stage::Sign } else { Stage::Verify };
    let range = Range { from: None, to };
    let built = context.build_signed(&tree, &target, range, signer.as_ref())?;
    let ko = match &args.signed_module {
        Some(file) => {
            sign::check(file, &built.ko, args.signer.sign_cert.as_deref())?;
            file
        }
        None if signed => &built.signed,
        None => &built.ko,
    };
    let module = PatchModule::load(ko, &tree.release, tree.arch)?;
    Ok(Patch::of_module(module, Some(read(&built.debug)?)))
}

/// kpatch with the files of `dist/`.
pub(crate) fn loader(context: &Context, arch: klp_base::arch::Arch) -> Result<Loader> {
    let program = read(&context.static_programs(arch)?.kpatch)?;
    let dist = context.project.root().join("dist");
    let files = |name: &str| -> Result<Vec<(String, Vec<u8>)>> {
        let named = |path: PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, read(&path)?))
        };
        klp_base::cache::walk(&dist.join(name))?.into_iter().map(named).collect()
    };
    let files = LoaderFiles {
        program,
        units: files("systemd")?,
        helpers: files("follow")?,
        pages: files("man")?,
        completions: files("completions")?,
        plugins: plugins(&dist)?,
    };
    Ok(Loader::new(arch, files))
}

/// Plug-ins of package managers, by their paths in `dist`.
fn plugins(dist: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut plugins = Vec::new();
    for manager in ["apt", "dnf", "dnf5"] {
        for file in klp_base::cache::walk(&dist.join(manager))? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            plugins.push((format!("{manager}/{name}"), read(&file)?));
        }
    }
    Ok(plugins)
}

/// Writes a package file into the directory of its format; returns its path.
fn write(context: &Context, package: &Package, out: &Path) -> Result<PathBuf> {
    let dir = out.join(package.format.name());
    let file = dir.join(package.file_name());
    stage(&context.terminal, "package", &package.file_name(), || -> Result<_> {
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("could not make the directory {}", dir.display()))?;
        klp_package::write(&file, &package.encode()?)?;
        Ok((StageEnd::Done, ()))
    })?;
    Ok(file)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    Ok(klp_base::files::read(path)?)
}

pub(crate) fn repo(args: &RepoArgs) -> Result<ExitCode> {
    let context = Context::new()?;
    context.ensure(&[Need::Packages])?;
    let gpg_key = args.gpg_key.as_deref().map(|id| repo::GpgKey { id, home: None });
    let options = repo::Options { gpg_key, phase: args.phase };
    if args.prune {
        let files = repo::prune(&args.dir, args.keep.into(), args.yes, &options)?;
        let word = if args.yes { "removed" } else { "would remove" };
        files.iter().for_each(|file| println!("{word} {}", file.display()));
        if !args.yes && !files.is_empty() {
            context.terminal.note("to remove them: --prune --yes".to_owned());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let files = packages_in(context.project.root(), &args.from)?;
    let added = repo::add(&args.dir, &files, &options)?;
    added.new.iter().for_each(|file| println!("added {}", file.display()));
    added.present.iter().for_each(|file| println!("present {}", file.display()));
    Ok(ExitCode::SUCCESS)
}

/// Path on the command line: the default is relative to the project, others to the working directory.
fn place(project: &Path, given: &Path) -> PathBuf {
    if given == Path::new(PACKAGES) { project.join(given) } else { given.to_owned() }
}

/// Package files among the given files and in the given directories; at least one in each.
fn packages_in(project: &Path, given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let is_package =
        |file: &PathBuf| file.extension().is_some_and(|suffix| suffix == "rpm" || suffix == "deb");
    let mut files = Vec::new();
    for path in given {
        let path = place(project, path);
        let found = if path.is_dir() { klp_base::cache::walk(&path)? } else { vec![path.clone()] };
        let found: Vec<PathBuf> = found.into_iter().filter(is_package).collect();
        ensure!(
            !found.is_empty(),
            "{} has no packages; make some with `cargo xtask package`",
            path.display()
        );
        files.extend(found);
    }
    Ok(files)
}
