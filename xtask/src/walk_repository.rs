// SPDX-License-Identifier: GPL-2.0-or-later
//! Repositories of the walks: the packages of kpatch and of two versions of a live patch, intact or with one fault.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use klp_base::arch::Arch;
use klp_base::process::Cmd;
use klp_kernel::KernelTree;
use klp_package::{
    Entry, Format, Operator, Origin, Package, Patch, PatchModule, Phase, Relation, RelationKind, Version,
    repo,
};
use klp_pipeline::stage::Range;

use crate::context::Context;
use crate::package;
use crate::setup::Need;

/// Streams of the packages after the empty one, oldest first.
const STREAMS: [&str; 2] = ["demo-v1", "demo-v2"];

/// Fault in the packages, which a walk must report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The loader prints another text.
    LoaderText,
    /// The package of the live patch has no script after its installation.
    NoScript,
    /// The module asks for a function that the kernel does not have.
    Module,
}

impl Fault {
    pub(crate) const ALL: [Self; 3] = [Self::LoaderText, Self::NoScript, Self::Module];

    /// Name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LoaderText => "wrong text of the loader",
            Self::NoScript => "no script after the installation",
            Self::Module => "module that does not load",
        }
    }

    /// Check of `tests/lib/chapter.sh` that reports the fault.
    pub(crate) fn check(self) -> &'static str {
        match self {
            Self::LoaderText => "kpatch list shows the module",
            Self::NoScript | Self::Module => "the running kernel is patched",
        }
    }

    /// Puts the fault into a package. Packages that it does not concern stay as they are.
    fn put_into(self, package: &mut Package) -> Result<()> {
        let patch = package.name.starts_with(klp_package::PATCH);
        match self {
            Self::NoScript if patch => package.scripts.retain(|(phase, _)| *phase != Phase::AfterInstall),
            Self::LoaderText if !patch => {
                change(package, "/usr/sbin/kpatch", b"Loaded patch modules:", b"Loaded patch Modules:")?;
            }
            Self::Module if patch => change(package, ".ko", b"klp_enable_patch\0", b"klp_enable_patcX\0")?,
            _ => {}
        }
        Ok(())
    }
}

/// Replaces text in the file of a package whose path has this end. A package without such a file stays as it is.
fn change(package: &mut Package, end: &str, old: &[u8], new: &[u8]) -> Result<()> {
    for entry in &mut package.entries {
        let Entry::File { path, bytes, .. } = entry else { continue };
        if !path.ends_with(end) {
            continue;
        }
        let places: Vec<usize> = bytes
            .windows(old.len())
            .enumerate()
            .filter(|(_, found)| *found == old)
            .map(|(at, _)| at)
            .collect();
        let old = String::from_utf8_lossy(old);
        ensure!(!places.is_empty(), "{path} has no {old:?}, so that the fault cannot be put in");
        for at in places {
            bytes.splice(at..at + new.len(), new.iter().copied());
        }
    }
    Ok(())
}

/// Repositories of one format, as files of the guest: `/srv/0` has kpatch and the empty package of the kernel, each later
/// one has one more version of its live patch. With `signed`: `/srv/signed` is the last one with signatures, and `/srv/keys` has
/// another key, `trusted`.
pub(crate) fn repositories(
    context: &Context,
    tree: &KernelTree,
    format: Format,
    fault: Option<Fault>,
    signed: bool,
) -> Result<Vec<(String, u32, Vec<u8>)>> {
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
        for mut package in packages.drain(..) {
            if let Some(fault) = fault {
                fault.put_into(&mut package)?;
            }
            let file = scratch.path().join(package.file_name());
            klp_package::write(&file, &package.encode()?)?;
            made.push(file);
        }
        let repository = scratch.path().join(state.to_string());
        repo::add(&repository, &made, &repo::Options::default())?;
        files.extend(below(scratch.path(), &repository)?);
    }
    if signed {
        let (keys, home) = (scratch.path().join("keys"), scratch.path().join("gpg"));
        std::fs::create_dir(&keys)?;
        let key = new_key(&home, "releases@example.org")?;
        let repository = scratch.path().join("signed");
        repo::add(&repository, &made, &repo::Options { gpg_key: Some(key), phase: None })?;
        let other = scratch.path().join("other");
        export(new_key(&other, "somebody@example.org")?, &keys)?;
        files.extend(below(scratch.path(), &repository)?);
        files.extend(below(scratch.path(), &keys)?);
    }
    Ok(files)
}

/// Files below a directory of `scratch`, as files below `/srv` of the guest.
fn below(scratch: &Path, dir: &Path) -> Result<Vec<(String, u32, Vec<u8>)>> {
    let in_guest = |file: std::path::PathBuf| {
        let path = format!("/srv/{}", file.strip_prefix(scratch).unwrap_or(&file).display());
        Ok((path, 0o644, klp_base::files::read(&file)?))
    };
    klp_base::cache::walk(dir)?.into_iter().map(in_guest).collect()
}

fn gpg(home: &Path) -> Cmd {
    let cmd = Cmd::new("gpg").hint("install gpg (Debian: apt-get install gpg)");
    cmd.env("GNUPGHOME", home).args(["--batch", "--no-tty", "--yes"])
}

/// Makes a key in a new home directory of gpg.
fn new_key<'a>(home: &'a Path, id: &'a str) -> Result<repo::GpgKey<'a>> {
    std::fs::create_dir(home)?;
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700))?;
    gpg(home).args(["--passphrase", "", "--quick-generate-key", id, "rsa2048", "sign", "never"]).run()?;
    Ok(repo::GpgKey { id, home: Some(home) })
}

/// Writes the public part of a key as `trusted.asc` (rpm) and `trusted.gpg` (apt).
fn export(key: repo::GpgKey<'_>, keys: &Path) -> Result<()> {
    let home = key.home.context("the key is in no directory of its own")?;
    gpg(home).args(["--armor", "--output"]).arg(keys.join("trusted.asc")).args(["--export", key.id]).run()?;
    gpg(home).arg("--output").arg(keys.join("trusted.gpg")).args(["--export", key.id]).run()?;
    Ok(())
}

/// Package of what the guest has outside of the package manager: the kernel, and for RPM everything that comes from Debian.
fn base(tree: &KernelTree, format: Format) -> Package {
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
    Package { relations, ..plain(format, "guest-base", tree.arch) }
}

/// Package without content, for repositories of tests.
pub(crate) fn plain(format: Format, name: &str, arch: Arch) -> Package {
    Package {
        format,
        name: name.to_owned(),
        version: Version { epoch: 0, version: "1".to_owned(), release: "1".to_owned() },
        arch,
        section: "misc",
        license: "GPL-2.0-or-later",
        summary: "Package of a test".to_owned(),
        description: vec!["For tests.".to_owned()],
        changes: vec!["First.".to_owned()],
        relations: Vec::new(),
        entries: Vec::new(),
        scripts: Vec::new(),
        origin: Origin::default(),
    }
}
