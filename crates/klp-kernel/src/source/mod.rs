// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernels built here: source package of a distribution and the project's configuration fragments. Each
//! kernel is built once. The cache keeps the image, its ELF file, the kernel's modules, and an archive of the
//! tree for building modules; the unpacked tree is a separate cache entry. No entry contains a machine path
//! that affects a build.

mod build;
mod config;

use std::path::{Path, PathBuf};

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, make_dir, read_text};
use klp_base::process::Cmd;

use self::config::Wanted;
use crate::config::KernelConfig;
use crate::error::Error;
use crate::pin::{Pin, SourcePin};
use crate::tree::{KernelTree, OwnModules};

pub(super) use self::build::{check_space, unpack_package};

/// File names in a cache entry.
const IMAGE: &str = "image";
const VMLINUX: &str = "vmlinux";
const MODULES: &str = "modules";
const DEVEL: &str = "devel.tar.zst";
/// Key and certificate for module signatures that the kernel trusts, if it checks signatures: both in one PEM
/// file.
const SIGNING_KEY: &str = "signing_key.pem";

/// Finds a directory of the source package in the cache, or unpacks it.
pub(super) fn directory(pin: &Pin, part: &str, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
    let mut key = Key::new("part of a source 1").with(part);
    if let Some(package) = pin.packages.get("source") {
        key = key.with(&package.name).with(&package.version).with(&package.sha256);
    }
    let entry = cache.entry("source-part", &pin.id, &key, |dir| {
        stage(sink, "source", part, || {
            let work = dir.join("work");
            make_dir(&work)?;
            let source = build::unpack_part(pin, part, &work, cache, sink)?;
            let (from, to) = (source.join(part), dir.join("part"));
            std::fs::rename(&from, &to).map_err(io_error("rename", &from))?;
            std::fs::remove_dir_all(&work).map_err(io_error("remove", &work))?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })
    })?;
    Ok(entry.join("part"))
}

/// Finds the kernel in the cache, or builds it.
pub(super) fn fetch(pin: &Pin, cache: &Cache, sink: &dyn Sink) -> Result<KernelTree, Error> {
    let source = pin.source.as_ref().ok_or_else(|| Error::Config {
        file: pin.file.clone(),
        message: "`fragments` and `toolchain` are missing".to_owned(),
    })?;
    let wanted = wanted(pin, source)?;
    let mut key = Key::new("source kernel 1")
        .with(pin.arch.name())
        .with(pin.release.as_str())
        .with(wanted.text())
        .with(format!("{:?}", source.toolchain));
    if source.toolchain.rust.is_some() {
        key = key.with("paths of core left out");
    }
    for (role, package) in pin.packages.iter().filter(|(role, _)| *role == "source") {
        key = key.with(role).with(&package.name).with(&package.version).with(&package.sha256);
    }
    let entry = cache
        .entry("source-kernel", &pin.id, &key, |dir| build::build(pin, source, &wanted, dir, cache, sink))?;
    let key = Key::new("kernel tree 1").with(key.hex());
    let tree = cache.entry("kernel-tree", &pin.id, &key, |dir| {
        stage(sink, "unpack", &pin.id, || {
            Cmd::new("tar")
                .args(["--zstd", "-xf"])
                .arg(entry.join(DEVEL))
                .arg("-C")
                .arg(dir)
                .hint("install the packages tar and zstd")
                .run()?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })
    })?;
    open(pin, source, &entry, &tree, &key)
}

/// All options that the kernel configuration must contain.
fn wanted(pin: &Pin, source: &SourcePin) -> Result<Wanted, Error> {
    let mut wanted = Wanted::default();
    let dir = pin.file.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join("fragments");
    for name in &source.fragments {
        let file = dir.join(format!("{name}.config"));
        let wrong = |message| Error::Config { file: file.clone(), message };
        wanted.add(&read_text(&file)?).map_err(wrong)?;
    }
    let wrong = |message| Error::Config { file: pin.file.clone(), message: format!("`config`: {message}") };
    wanted.add(&source.config.join("\n")).map_err(wrong)?;
    Ok(wanted)
}

fn open(pin: &Pin, source: &SourcePin, entry: &Path, tree: &Path, key: &Key) -> Result<KernelTree, Error> {
    let config = KernelConfig::parse(&read_text(&tree.join(".config"))?);
    if let Some(message) = config.refusal() {
        return Err(Error::Kernel { kernel: pin.id.clone(), message });
    }
    let signing_key = entry.join(SIGNING_KEY);
    Ok(KernelTree {
        id: pin.id.clone(),
        arch: pin.arch,
        release: pin.release.clone(),
        root: tree.to_owned(),
        image: entry.join(IMAGE),
        vmlinux: entry.join(VMLINUX),
        guest_modules: Vec::new(),
        modules: OwnModules::Dir(entry.join(MODULES)),
        headers: tree.to_owned(),
        config,
        toolchain: source.toolchain.clone(),
        make: source.toolchain.make_words(pin.arch),
        source: pin.packages.get("source").cloned(),
        debug: None,
        signing_key: signing_key.is_file().then_some(signing_key),
        fingerprint: key.hex(),
    })
}
