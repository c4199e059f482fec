// SPDX-License-Identifier: GPL-2.0-or-later
//! Build of a kernel from its source package. The build tree (several gigabytes) is deleted afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use klp_base::arch::Arch;
use klp_base::cache::{self, Cache, Key};
use klp_base::events::{Event, Sink, StageEnd, stage};
use klp_base::files::{io_error, make_dir, read_text, write};
use klp_base::process::{Cmd, find_program};
use serde::Serialize;

use super::config::Wanted;
use super::{DEVEL, IMAGE, MODULES, SIGNING_KEY, VMLINUX};
use crate::error::Error;
use crate::host::apt::Apt;
use crate::host::libclang;
use crate::host::rustc::Rustc;
use crate::package::Package;
use crate::pin::{Pin, SOURCE_ROLE, SourcePin};
use crate::toolchain::Toolchain;

/// Peak disk space of a build in bytes: source and objects.
const PEAK: u64 = 5 << 30;

/// Resource usage of a build, stored with its result.
#[derive(Serialize)]
struct Cost {
    /// User and system time of all processes, in seconds.
    cpu_seconds: f64,
    /// Wall time, in seconds.
    wall_seconds: f64,
    /// Number of parallel jobs.
    jobs: usize,
    /// Peak memory of the largest process, in bytes.
    memory_bytes: u64,
    /// Peak disk usage, in bytes.
    disk_bytes: u64,
}

/// Builds the kernel into `dir`.
pub(super) fn build(
    pin: &Pin,
    source: &SourcePin,
    wanted: &Wanted,
    dir: &Path,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<(), Error> {
    check_host(pin, source, dir)?;
    let work = dir.join("work");
    make_dir(&work)?;
    let rust = rust_words(pin, source, &work, cache, sink)?;
    let tree = stage(sink, "source", &pin.id, || {
        unpack_part(pin, "", &work, cache, sink).map(|tree| (StageEnd::Done, tree))
    })?;
    let objects = work.join("objects");
    make_dir(&objects)?;
    let log = dir.join("log");
    let maker = Maker { pin, source, tree: &tree, objects: &objects, log: &log, rust };

    stage(sink, "configure", &pin.id, || configure(&maker, wanted, &work).map(|()| (StageEnd::Done, ())))?;
    if read_text(&objects.join(".config"))?.lines().any(|line| line == "CONFIG_MODULE_SIG=y") {
        make_signing_key(&objects)?;
    }
    let jobs = available_parallelism().map_or(1, usize::from);
    let output = stage(sink, "build", &pin.id, || {
        let mut done = 0;
        let target = image_of(pin.arch).0;
        let cmd = maker.cmd().args([format!("-j{jobs}"), target.to_owned(), "modules".to_owned()]);
        let output = cmd.run_by_line(&mut |line| {
            if line.starts_with(b"  ") {
                done += 1;
                let label = format!("build {}, steps", pin.id);
                sink.event(&Event::Progress { label, done, total: None });
            }
        })?;
        Ok::<_, Error>((StageEnd::Done, output))
    })?;
    let cost = Cost {
        cpu_seconds: output.cpu.as_secs_f64(),
        wall_seconds: output.wall.as_secs_f64(),
        jobs,
        memory_bytes: output.peak_kib << 10,
        disk_bytes: cache::walk(&work)?
            .iter()
            .filter_map(|file| fs::symlink_metadata(file).ok())
            .map(|m| m.len())
            .sum(),
    };
    write(&dir.join("cost.json"), serde_json::to_vec_pretty(&cost).unwrap_or_default())?;
    stage(sink, "keep", &pin.id, || keep(&maker, &work, dir).map(|()| (StageEnd::Done, ())))?;
    // The log contains directory names of this machine.
    fs::remove_file(&log).map_err(io_error("remove", &log))?;
    fs::remove_dir_all(&work).map_err(io_error("remove", &work))?;
    Ok(())
}

/// Checks tools, libraries and disk space before a build of about one hour.
fn check_host(pin: &Pin, source: &SourcePin, dir: &Path) -> Result<(), Error> {
    let mut packages: Vec<String> = source
        .toolchain
        .tools()
        .into_iter()
        .filter(|tool| find_program(&tool.program).is_none())
        .map(|tool| tool.package)
        .collect();
    packages.extend(
        Toolchain::LIBRARIES
            .iter()
            .filter(|(header, _)| !Path::new(header).is_file())
            .map(|(_, package)| (*package).to_owned()),
    );
    if !packages.is_empty() {
        return Err(Error::NotAble {
            what: format!("kernel {} is built from source, and tools for it are missing", pin.id),
            help: format!("apt-get install --no-install-recommends {}", packages.join(" ")),
        });
    }
    check_space(&format!("building {}", pin.id), dir, PEAK)
}

/// Checks that the disk of the cache has room for work that takes up to `peak` bytes. `what` names the work.
pub(crate) fn check_space(what: &str, dir: &Path, peak: u64) -> Result<(), Error> {
    let free = cache::free_space(dir)?;
    if free >= peak {
        return Ok(());
    }
    Err(Error::NotAble {
        what: format!(
            "{what} takes {} GiB of disk for a while, and {} has {:.1} GiB free",
            peak >> 30,
            dir.display(),
            free as f64 / f64::from(1 << 30)
        ),
        help: "free some space, or set FERROGRAFT_CACHE to a directory on another disk".to_owned(),
    })
}

/// Rust arguments for make: the pinned compiler itself. rustup's wrapper would read the home directory.
fn rust_words(
    pin: &Pin,
    source: &SourcePin,
    work: &Path,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<String>, Error> {
    let (Some(version), Some(bindgen)) = (&source.toolchain.rust, &source.toolchain.bindgen) else {
        return Ok(Vec::new());
    };
    let rustc = Rustc::find(cache)?;
    rustc.must_be(version, &pin.id)?;
    let key = Key::new("bindgen-cli 1").with(bindgen);
    let tools = cache.entry("tools", "bindgen", &key, |dir| {
        stage(sink, "bindgen-cli", bindgen, || {
            Cmd::new("cargo")
                .args(["install", "--quiet", "--locked", "--version", bindgen, "bindgen-cli", "--root"])
                .arg(dir)
                .env("CARGO_TARGET_DIR", dir.join("target"))
                .run()?;
            let target = dir.join("target");
            fs::remove_dir_all(&target).map_err(io_error("remove", &target))?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })
    })?;
    let mut words = rustc.make_words();
    words.push(format!("BINDGEN={}", tools.join("bin/bindgen").display()));
    let library = rustc.library().display();
    words.push(format!("RUST_LIB_SRC={library}"));
    // Panic messages in the kernel's crates contain source file names, and some are inlined into modules.
    words.push(format!(
        "KRUSTFLAGS=--remap-path-prefix={library}=library --remap-path-prefix={}=.",
        work.display()
    ));
    Ok(words)
}

fn damaged(package: &Package) -> Error {
    Error::Package {
        package: format!("{} {}", package.name, package.version),
        message: "holds no source".to_owned(),
    }
}

/// Unpacks `part`, a directory below the top of the source, or all of it for an empty text. Returns the source directory.
pub(super) fn unpack_part(
    pin: &Pin,
    part: &str,
    work: &Path,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, Error> {
    let package = pin.packages.get(SOURCE_ROLE).ok_or_else(|| Error::Config {
        file: pin.file.clone(),
        message: "`packages.source` is missing".to_owned(),
    })?;
    unpack_package(package, part, work, cache, sink)
}

/// As [`unpack_part`], for a package.
pub(crate) fn unpack_package(
    package: &Package,
    part: &str,
    work: &Path,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, Error> {
    sink.note(format!("  source       fetching {} {}", package.name, package.version));
    let deb = Apt::that_has(package, cache, sink)?.download_checked(package, work)?;
    let unpacked = work.join("package");
    Cmd::new("dpkg-deb").arg("-x").args([&deb, &unpacked]).hint("install the package dpkg").run()?;
    fs::remove_file(&deb).map_err(io_error("remove", &deb))?;
    let archive = cache::walk(&unpacked)?
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with(&format!("{}.tar.xz", package.name)))
        .ok_or_else(|| damaged(package))?;
    let member = Path::new(&package.name).join(part);
    Cmd::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(work)
        .arg(&member)
        .hint("install tar and xz-utils")
        .run()?;
    fs::remove_dir_all(&unpacked).map_err(io_error("remove", &unpacked))?;
    let top = work.join(&package.name);
    if !part.is_empty() || top.join("Makefile").is_file() { Ok(top) } else { Err(damaged(package)) }
}

/// make in the kernel source, with an environment independent of the user.
struct Maker<'a> {
    pin: &'a Pin,
    source: &'a SourcePin,
    tree: &'a Path,
    objects: &'a Path,
    log: &'a Path,
    rust: Vec<String>,
}

impl Maker<'_> {
    fn cmd(&self) -> Cmd {
        let work = self.objects.parent().unwrap_or(self.objects).display();
        let mut cmd = Cmd::new("make")
            .arg("-C")
            .arg(self.tree)
            .arg(format!("O={}", self.objects.display()))
            .args(self.source.toolchain.make_words(self.pin.arch))
            .args(&self.rust)
            .arg(format!("KCFLAGS=-ffile-prefix-map={work}=."))
            .clean_env()
            .env("LC_ALL", "C")
            .env("KBUILD_BUILD_TIMESTAMP", "2026-01-01 00:00:00 UTC")
            .env("KBUILD_BUILD_USER", "ferrograft")
            .env("KBUILD_BUILD_HOST", "ferrograft")
            .hint("install the package make (or run `cargo xtask doctor --fix`)")
            .log(self.log);
        if let Some(dir) = libclang::dir() {
            cmd = cmd.env("LIBCLANG_PATH", dir);
        }
        cmd
    }
}

/// Generates the configuration and compares it with the requested options.
fn configure(maker: &Maker<'_>, wanted: &Wanted, work: &Path) -> Result<(), Error> {
    let fragment = work.join("wanted.config");
    write(&fragment, wanted.text())?;
    maker.cmd().env("KCONFIG_ALLCONFIG", &fragment).arg("allnoconfig").run()?;
    let wrong = |message: String| Error::Config { file: maker.pin.file.clone(), message };
    let differs = wanted.not_in(&read_text(&maker.objects.join(".config"))?);
    if !differs.is_empty() {
        return Err(wrong(format!(
            "Kconfig did not take what the fragments ask for; an option that it depends on is missing:\n    {}",
            differs.join("\n    ")
        )));
    }
    let release = maker.cmd().args(["-s", "kernelrelease"]).read()?;
    let release = release.lines().last().unwrap_or_default();
    if release != maker.pin.release.as_str() {
        return Err(wrong(format!(
            "`release`: the source makes {release:?}, not {:?}; correct it, or CONFIG_LOCALVERSION in `config`",
            maker.pin.release.as_str()
        )));
    }
    Ok(())
}

/// Creates a separate key for signing kernel modules. kbuild adds its certificate to the trusted keys of the
/// kernel.
fn make_signing_key(objects: &Path) -> Result<(), Error> {
    let dir = objects.join("certs");
    make_dir(&dir)?;
    let key = dir.join(SIGNING_KEY);
    Cmd::new("openssl")
        .args([
            "req", "-new", "-nodes", "-utf8", "-sha256", "-days", "36500", "-batch", "-x509", "-newkey",
            "rsa:2048",
        ])
        .args(["-subj", "/O=Ferrograft/CN=key of a kernel for tests", "-addext", "keyUsage=digitalSignature"])
        .args(["-outform", "PEM", "-out"])
        .arg(&key)
        .arg("-keyout")
        .arg(&key)
        .hint("install the package openssl")
        .run()?;
    Ok(())
}

/// make target of the bootable image, and its path.
fn image_of(arch: Arch) -> (&'static str, &'static str) {
    match arch {
        Arch::X86_64 => ("bzImage", "arch/x86/boot/bzImage"),
        Arch::Arm64 => ("Image", "arch/arm64/boot/Image"),
    }
}

/// Copies the permanent files from the build tree to `dir`.
fn keep(maker: &Maker<'_>, work: &Path, dir: &Path) -> Result<(), Error> {
    let objects = maker.objects;
    let copy = |from: &Path, to: &Path| fs::copy(from, to).map(|_| ()).map_err(io_error("copy", from));
    copy(&objects.join(image_of(maker.pin.arch).1), &dir.join(IMAGE))?;
    let strip = maker.source.toolchain.strip();
    Cmd::new(&strip)
        .arg("--strip-debug")
        .arg("-o")
        .arg(dir.join(VMLINUX))
        .arg(objects.join("vmlinux"))
        .run()?;
    let modules = dir.join(MODULES);
    make_dir(&modules)?;
    for module in cache::walk(objects)?.iter().filter(|path| path.extension().is_some_and(|e| e == "ko")) {
        let name = module.file_name().unwrap_or_default();
        Cmd::new(&strip).arg("--strip-debug").arg("-o").arg(modules.join(name)).arg(module).run()?;
    }
    let key = objects.join("certs").join(SIGNING_KEY);
    if key.is_file() {
        copy(&key, &dir.join(SIGNING_KEY))?;
    }

    let devel = work.join("devel");
    let install = format!("$(srctree)/scripts/package/install-extmod-build {}", devel.display());
    maker.cmd().args(["-s", "run-command"]).arg(format!("KBUILD_RUN_COMMAND={install}")).run()?;
    copy(&objects.join(".config"), &devel.join(".config"))?;
    // The kernel's own install script omits files that Rust modules need.
    let rust = objects.join("rust");
    if rust.is_dir() && !maker.rust.is_empty() {
        make_dir(&devel.join("rust"))?;
        let bindings = rust.join("bindings/bindings_generated.rs");
        copy(&bindings, &devel.join("rust/bindings_generated.rs"))?;
        for item in fs::read_dir(&rust).map_err(io_error("read", &rust))?.filter_map(Result::ok) {
            let path = item.path();
            if path.extension().is_some_and(|extension| extension == "rmeta" || extension == "so") {
                copy(&path, &devel.join("rust").join(item.file_name()))?;
            }
        }
    }
    Cmd::new("tar")
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--zstd", "-cf"])
        .arg(dir.join(DEVEL))
        .arg("-C")
        .arg(&devel)
        .arg(".")
        .hint("install the packages tar and zstd")
        .run()?;
    Ok(())
}
