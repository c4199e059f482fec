// SPDX-License-Identifier: GPL-2.0-or-later
//! Check of the full tier: the file for dnf 5 and `kpatch-follow` with the real dnf 5, which Debian has in its unstable suite only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use klp_base::cache::Key;
use klp_base::events::{StageEnd, stage};
use klp_base::process::{Cmd, Output};
use klp_format::KernelRelease;
use klp_kernel::host::apt::debian_mirror;
use klp_package::{Format, Operator, Origin, Package, Patch, Relation, RelationKind, Version, repo};

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;
use crate::walk_repository;

const SUITE: &str = "sid";
/// Kernels of the repository; only the first has a live patch package.
const NEXT: &str = "6.12.118+deb12-amd64";
const LAST: &str = "6.12.119+deb12-amd64";
const FOLLOW: &str = "/usr/libexec/kpatch/kpatch-follow";
/// Directory with the only programs that `kpatch-follow` finds: a machine with dnf 5 has no apt.
const PROGRAMS: &str = "/only";

/// Runs the check.
///
/// # Errors
/// A claim does not hold, or this machine cannot make the root directory with dnf 5.
pub(crate) fn check(context: &Context) -> Result<()> {
    context.ensure(&[Need::System, Need::Packages])?;
    let root = Root::new(context)?;
    root.dnf(&["install", "other"])?;
    ensure!(root.calls() == "", "a package that is no kernel started {}", root.calls());
    root.dnf(&["install", "kernel-core-6.12.118"])?;
    let expected = "systemctl --no-block start kpatch-follow.service\n";
    ensure!(root.calls() == expected, "after a kernel dnf5 ran {:?}, not {expected:?}", root.calls());

    root.write("etc/dnf/plugins/kpatch.conf", 0o644, b"[main]\nautoupdate=False\n")?;
    root.follow()?;
    let package = "kpatch-patch-6_12_118+deb12-amd64";
    ensure!(!root.has(package)?, "kpatch-follow installed {package} with autoupdate=False");
    root.write("etc/dnf/plugins/kpatch.conf", 0o644, b"[main]\nautoupdate=True\n")?;
    root.follow()?;
    ensure!(root.has(package)?, "kpatch-follow did not install {package}");
    // The package of the other kernel is still missing, and no error.
    root.follow()?;
    Ok(())
}

/// Root directory with dnf 5, the project's files for it, and a repository.
struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    fn new(context: &Context) -> Result<Self> {
        let root = Self { dir: tempfile::tempdir()? };
        Cmd::new("tar")
            .arg("-xf")
            .arg(archive(context)?)
            .arg("--exclude=./dev/*")
            .arg("-C")
            .arg(root.dir.path())
            .run()?;
        root.repository()?;
        let dist = context.project.root().join("dist");
        let kernel = klp_kernel::Pin::load(&context.project.kernel_configs(), DEFAULT_KERNEL)?;
        let kpatch = context.static_programs(kernel.arch)?.kpatch;
        for (path, mode, file) in [
            ("usr/sbin/kpatch", 0o755, kpatch),
            (FOLLOW, 0o755, dist.join("follow/kpatch-follow")),
            ("etc/dnf/libdnf5-plugins/actions.d/kpatch.actions", 0o644, dist.join("dnf5/kpatch.actions")),
        ] {
            root.write(path, mode, &klp_base::files::read(&file)?)?;
        }
        root.write("usr/bin/systemctl", 0o755, b"#!/bin/sh\necho \"systemctl $*\" >> /calls\n")?;
        root.write("etc/dnf/vars/releasever", 0o644, b"1\n")?;
        // Debian enables this plug-in without the program that it runs.
        root.write("etc/dnf/libdnf5-plugins/local.conf", 0o644, b"[main]\nname = local\nenabled = 0\n")?;
        let repository = "[klp]\nname=klp\nbaseurl=file:///srv/repo/rpm\ngpgcheck=0\n";
        root.write("etc/yum.repos.d/klp.repo", 0o644, repository.as_bytes())?;
        for release in [NEXT, LAST] {
            root.write(&format!("boot/vmlinuz-{release}"), 0o644, b"")?;
            root.write(&format!("usr/lib/modules/{release}/modules.dep"), 0o644, b"")?;
        }
        for (name, program) in [("sh", "/bin/sh"), ("rpm", "/usr/bin/rpm"), ("dnf5", "/usr/bin/dnf5")] {
            root.write(
                &format!("{PROGRAMS}/{name}"),
                0o755,
                format!("#!/bin/sh\nexec {program} \"$@\"\n").as_bytes(),
            )?;
        }
        // The root is Debian's, so kpatch would choose Debian's names.
        let kpatch = b"#!/bin/sh\nexec /usr/sbin/kpatch \"$@\" --packages rpm\n";
        root.write(&format!("{PROGRAMS}/kpatch"), 0o755, kpatch)?;
        Ok(root)
    }

    fn repository(&self) -> Result<()> {
        let packages = self.dir.path().join("srv/packages");
        fs::create_dir_all(&packages)?;
        let release: KernelRelease = KernelRelease::new(NEXT).map_err(anyhow::Error::msg)?;
        let patch =
            Patch::empty(release, klp_base::arch::Arch::X86_64).packages(Format::Rpm, &Origin::default())?;
        let kernel = Package {
            relations: vec![Relation::to(RelationKind::Provides, "kernel-uname-r", Operator::Equal, NEXT)],
            ..plain("kernel-core", "6.12.118")
        };
        let kpatch = Package {
            version: Version { epoch: klp_package::KPATCH_EPOCH, ..version(klp_package::KPATCH_VERSION) },
            ..plain("kpatch", klp_package::KPATCH_VERSION)
        };
        let mut files = Vec::new();
        for package in patch.into_iter().chain([kernel, kpatch, plain("other", "1")]) {
            let file = packages.join(package.file_name());
            klp_package::write(&file, &package.encode()?)?;
            files.push(file);
        }
        repo::add(&self.dir.path().join("srv/repo"), &files, &repo::Options::default())?;
        Ok(())
    }

    fn write(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let path = self.dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        // A file of a package may be a link.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).with_context(|| format!("could not write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    fn chroot(&self, words: &[&str]) -> Cmd {
        Cmd::new("chroot").arg(self.dir.path()).args(words).clean_env()
    }

    fn dnf(&self, words: &[&str]) -> Result<Output> {
        Ok(self.chroot(&[&["dnf5", "-y"], words].concat()).run()?)
    }

    fn follow(&self) -> Result<()> {
        self.chroot(&["/usr/bin/env", &format!("PATH={PROGRAMS}"), FOLLOW]).run()?;
        Ok(())
    }

    fn has(&self, package: &str) -> Result<bool> {
        Ok(self.chroot(&["rpm", "-q", package]).output()?.status.success())
    }

    /// Commands of systemctl so far.
    fn calls(&self) -> String {
        fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default()
    }
}

fn version(version: &str) -> Version {
    Version { epoch: 0, version: version.to_owned(), release: "1".to_owned() }
}

/// Package without files.
fn plain(name: &str, number: &str) -> Package {
    let arch = klp_base::arch::Arch::X86_64;
    Package { version: version(number), ..walk_repository::plain(Format::Rpm, name, arch) }
}

/// Archive of a Debian system with dnf 5, in the cache.
fn archive(context: &Context) -> Result<PathBuf> {
    let key = Key::new("dnf5 root 1").with(SUITE);
    let make = |dir: &Path| -> Result<()> {
        stage(&context.terminal, "system", SUITE, || {
            Cmd::new("mmdebstrap")
                .args(["--quiet", "--mode=root", "--variant=minbase", "--format=tar", "--include=dnf5"])
                // The suite of a mirror that stands still has an end of validity in the past.
                .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
                .args(
                    ["man", "locale", "doc"]
                        .map(|what| format!("--dpkgopt=path-exclude=/usr/share/{what}/*")),
                )
                .arg(SUITE)
                .arg(dir.join("root.tar"))
                .arg(debian_mirror()?)
                .run()?;
            Ok((StageEnd::Done, ()))
        })
    };
    let entry = context.cache.entry("system", SUITE, &key, make)?;
    Ok(entry.join("root.tar"))
}
