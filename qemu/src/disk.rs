// SPDX-License-Identifier: GPL-2.0-or-later
//! Image of a full system with systemd: Debian packages, the guest program as a service, and no unit that only delays a
//! test. Files of a test are laid over the image at each boot.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::process::Cmd;

use crate::error::Error;

/// Contents of the image.
#[derive(Clone, Debug)]
pub struct DiskImage {
    /// Debian mirror in apt's notation.
    pub mirror: String,
    /// Debian suite.
    pub suite: String,
    /// Packages in addition to the essential ones.
    pub packages: Vec<String>,
}

/// Size of the file system; the file is sparse.
const SIZE: &str = "1500M";
/// Units without use in a guest without users, network or clock; they only take time.
const MASKED: [&str; 27] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "systemd-ask-password-console.path",
    "systemd-binfmt.service",
    "systemd-logind.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
];
const AGENT: &str = "[Unit]
Description=The harness's guest program
DefaultDependencies=no
After=systemd-journald.socket local-fs.target systemd-tmpfiles-setup.service
ConditionPathExists=/usr/sbin/klp-guest

[Service]
ExecStart=/usr/sbin/klp-guest
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

[Install]
WantedBy=multi-user.target
";

impl DiskImage {
    /// Path of the image, a qcow2 file in the cache; built if missing.
    ///
    /// # Errors
    /// A package is not available, or a tool failed.
    pub fn make(&self, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
        let key = Key::new("system image 2")
            .with(&self.suite)
            .with(self.packages.join(" "))
            .with(MASKED.join(" "))
            .with(AGENT)
            .with(SIZE);
        let entry = cache.entry("system", &self.suite, &key, |dir| {
            stage(sink, "system", &self.suite, || self.build(dir).map(|()| (StageEnd::Done, ())))
        })?;
        Ok(entry.join("disk.qcow2"))
    }

    fn build(&self, dir: &Path) -> Result<(), Error> {
        let work = tempfile::tempdir_in(dir).map_err(Error::io("make a directory in", dir))?;
        let (tar, root, raw) =
            (work.path().join("root.tar"), work.path().join("root"), work.path().join("disk"));
        Cmd::new("mmdebstrap")
            .hint("install the package mmdebstrap (or run `cargo xtask doctor --fix`); it must run as root")
            .args(["--quiet", "--mode=root", "--variant=minbase", "--format=tar"])
            .arg(format!("--include={}", self.packages.join(",")))
            .args(["man", "locale", "doc"].map(|what| format!("--dpkgopt=path-exclude=/usr/share/{what}/*")))
            .arg(&self.suite)
            .arg(&tar)
            .arg(&self.mirror)
            .run()?;
        fs::create_dir(&root).map_err(Error::io("make", &root))?;
        Cmd::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&root).arg("--exclude=./dev/*").run()?;
        configure(&root)?;
        Cmd::new("mke2fs")
            .hint("install the package e2fsprogs")
            .args(["-q", "-t", "ext4", "-O", "^metadata_csum", "-E", "lazy_itable_init=1", "-d"])
            .arg(&root)
            .arg(&raw)
            .arg(SIZE)
            .run()?;
        let image = dir.join("disk.qcow2");
        Cmd::new("qemu-img")
            .hint("install the package qemu-utils")
            .args(["convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd"])
            .arg(&raw)
            .arg(&image)
            .run()?;
        Ok(())
    }
}

fn configure(root: &Path) -> Result<(), Error> {
    let file = |path: &str, text: &str| {
        let path = root.join(path);
        // A file of a package may be a link to a path outside the tree.
        let _ = fs::remove_file(&path);
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(Error::io("write", &path))
    };
    let link = |target: &str, path: &str| {
        let path = root.join(path);
        let _ = fs::remove_file(&path);
        symlink(target, &path).map_err(Error::io("make the link", &path))
    };
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).map_err(Error::io("make", &wants))?;
    for unit in MASKED {
        link("/dev/null", &format!("etc/systemd/system/{unit}"))?;
    }
    link("/usr/lib/systemd/system/multi-user.target", "etc/systemd/system/default.target")?;
    file("etc/systemd/system/klp-guest.service", AGENT)?;
    link(
        "/etc/systemd/system/klp-guest.service",
        "etc/systemd/system/multi-user.target.wants/klp-guest.service",
    )?;
    file("etc/fstab", "")?;
    file("etc/hostname", "guest\n")?;
    file("etc/machine-id", "00000000000000000000000000000001\n")?;
    let conf = root.join("etc/systemd/journald.conf.d");
    fs::create_dir_all(&conf).map_err(Error::io("make", &conf))?;
    file("etc/systemd/journald.conf.d/volatile.conf", "[Journal]\nStorage=volatile\n")
}

/// Writes the content of an image to a raw file, which is sparse.
pub(crate) fn raw(image: &Path, raw: &Path) -> Result<(), Error> {
    Cmd::new("qemu-img")
        .hint("install the package qemu-utils")
        .args(["convert", "-f", "qcow2", "-O", "raw"])
        .arg(image)
        .arg(raw)
        .run()?;
    Ok(())
}

/// Creates an overlay disk for one test: it receives the test's writes, and the image stays unchanged.
pub(crate) fn overlay(image: &Path, overlay: &Path) -> Result<(), Error> {
    Cmd::new("qemu-img")
        .hint("install the package qemu-utils")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .arg(image)
        .arg(overlay)
        .run()?;
    Ok(())
}
