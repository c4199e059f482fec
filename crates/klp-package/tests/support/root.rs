// SPDX-License-Identifier: GPL-2.0-or-later
//! A root directory in which package managers run real scripts in a chroot. It has a shell, the real `kpatch`, and files in
//! the place of the kernel's. `kpatch load` changes these files and loads nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use klp_base::process::{Cmd, Output, find_program};
use klp_package::{Entry, Format, Origin, Package, Relation, RelationKind, Version};

use super::{as_root, tool, write};

/// The program `kpatch` of these roots. `load` puts the module into sysfs, and takes all others out, as atomic replace does.
pub const KPATCH: &str = r#"#!/bin/sh
echo "kpatch $*" >> /calls
if [ "$1" = load ]; then
    [ ! -e /load-fails ] || { echo "kpatch: refused" >&2; exit 5; }
    name="${2##*/}"
    rm -rf /sys/kernel/livepatch/*
    mkdir -p "/sys/kernel/livepatch/${name%.ko}"
    echo 1 > "/sys/kernel/livepatch/${name%.ko}/enabled"
    echo "loading patch module: $2"
    exit 0
fi
/usr/sbin/kpatch.real "$@"
code=$?
(cd /var/lib/kpatch 2>/dev/null && echo */*.ko || echo nothing) >> /states
exit "$code"
"#;

pub struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    /// Root of a machine that runs the kernel `running`.
    pub fn new(running: &str) -> Self {
        let root = Self { dir: tempfile::tempdir().unwrap() };
        for dir in [
            "bin",
            "dev",
            "usr/bin",
            "usr/sbin",
            "proc/1",
            "proc/sys/kernel",
            "sys/kernel/livepatch",
            "tmp",
            "etc",
        ] {
            fs::create_dir_all(root.path(dir)).unwrap();
        }
        fs::set_permissions(root.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // busybox would run its own `uname`.
        for name in ["sh", "cat", "sort", "tail", "stat", "rm", "mkdir"] {
            root.host_program(name);
        }
        let guest =
            std::env::var_os("FERROGRAFT_TEST_GUEST").expect("FERROGRAFT_TEST_GUEST names the guest program");
        fs::copy(Path::new(&guest).with_file_name("kpatch"), root.path("usr/sbin/kpatch.real")).unwrap();
        root.program("usr/sbin/kpatch", KPATCH);
        root.program("usr/bin/uname", &format!("#!/bin/sh\necho '{running}'\n"));
        root.program("usr/bin/systemctl", "#!/bin/sh\necho \"systemctl $*\" >> /calls\n");
        fs::write(root.path("proc/sys/kernel/osrelease"), format!("{running}\n")).unwrap();
        symlink("/", root.path("proc/1/root")).unwrap();
        fs::write(root.path("dev/null"), "").unwrap();
        root
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below.trim_start_matches('/'))
    }

    /// Copies a program of this machine with its libraries.
    pub fn host_program(&self, name: &str) {
        let program = find_program(name).unwrap_or_else(|| panic!("could not check: {name} is missing"));
        let mut files = vec![(PathBuf::from("/bin").join(name), program.canonicalize().unwrap())];
        for line in run(tool("ldd").arg(&program)).stdout_text().lines() {
            if let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) {
                files.push((library.into(), library.into()));
            }
        }
        for (to, from) in files {
            let to = self.path(to.to_str().unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
    }

    pub fn program(&self, path: &str, text: &str) {
        let _ = fs::remove_file(self.path(path));
        fs::write(self.path(path), text).unwrap();
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Commands that scripts ran since the last call.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// Modules in the store after each `kpatch install` and `uninstall` since the last call.
    pub fn states(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("states")).unwrap_or_default();
        let _ = fs::remove_file(self.path("states"));
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// Names of the entries of a directory, sorted.
    pub fn names(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(dir)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Modules in the loader's store for a kernel.
    pub fn store(&self, kernel: &str) -> Vec<String> {
        self.names(&format!("var/lib/kpatch/{kernel}"))
    }

    /// Live patches in the kernel.
    pub fn loaded(&self) -> Vec<String> {
        self.names("sys/kernel/livepatch")
    }

    /// Puts an enabled live patch into the kernel.
    pub fn set_loaded(&self, name: &str) {
        fs::create_dir_all(self.path("sys/kernel/livepatch").join(name)).unwrap();
        fs::write(self.path("sys/kernel/livepatch").join(name).join("enabled"), "1\n").unwrap();
    }

    fn home(&self, cmd: Cmd) -> Cmd {
        // Debian's rpm has its database in the home directory.
        let home = self.path("tmp");
        fs::write(home.join(".rpmmacros"), "%_dbpath /var/lib/rpm\n").unwrap();
        cmd.env("HOME", home).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    }

    /// `rpm` on this root.
    pub fn rpm(&self, words: &[&str]) -> Cmd {
        let cmd = as_root("rpm").arg("--root").arg(self.dir.path());
        self.home(cmd).args(["--nodeps", "--force-debian"]).args(words)
    }

    /// True if rpm has a package of this name on this root.
    pub fn has_rpm(&self, name: &str) -> bool {
        let cmd = self.home(as_root("rpm").arg("--root").arg(self.dir.path()));
        cmd.args(["-q", name]).output().unwrap().status.success()
    }

    /// `dnf` on this root, with one repository and without plug-ins.
    pub fn dnf(&self, repository: &Path, words: &[&str]) -> Cmd {
        self.dnf_with(repository, &["--disableplugin=*", "--noplugins"]).args(words)
    }

    /// `dnf` on this root, with one repository, and with the plug-in of `dist/dnf`. `config` is the directory of its
    /// configuration. The plug-in runs the real `kpatch`.
    pub fn dnf_kpatch(&self, repository: &Path, config: &Path, words: &[&str]) -> Cmd {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/dnf").canonicalize().unwrap();
        self.dnf_plugin(&plugins, repository, config, words)
    }

    /// As [`Self::dnf_kpatch`], with the plug-in in the directory `plugins`.
    pub fn dnf_plugin(&self, plugins: &Path, repository: &Path, config: &Path, words: &[&str]) -> Cmd {
        let plugins = format!("--setopt=pluginpath={}", plugins.display());
        let config = format!("--setopt=pluginconfpath={}", config.display());
        let guest =
            std::env::var_os("FERROGRAFT_TEST_GUEST").expect("FERROGRAFT_TEST_GUEST names the guest program");
        let programs = Path::new(&guest).parent().unwrap();
        self.dnf_with(repository, &[&plugins, &config])
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(words)
    }

    fn dnf_with(&self, repository: &Path, plugins: &[&str]) -> Cmd {
        let installroot = format!("--installroot={}", self.dir.path().display());
        let from = format!("--repofrompath=klp,file://{}", repository.display());
        let cmd = self.home(as_root("dnf")).args([&installroot, &from]);
        cmd.args(["--repo=klp", "--releasever=12", "--setopt=gpgcheck=0", "--setopt=metadata_expire=0"])
            .args(["--setopt=keepcache=0", "--setopt=install_weak_deps=0", "-y"])
            .args(plugins)
    }

    /// `dpkg` on this root.
    pub fn dpkg(&self, words: &[&str]) -> Cmd {
        for dir in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"] {
            fs::create_dir_all(self.path(dir)).unwrap();
        }
        let status = self.path("var/lib/dpkg/status");
        if !status.exists() {
            fs::write(status, "").unwrap();
        }
        let cmd = as_root("dpkg").arg(format!("--root={}", self.dir.path().display()));
        self.home(cmd)
            .args(["--force-depends", "--force-architecture", "--force-not-root", "--log=/dev/null"])
            .args(words)
    }

    /// `apt-get` on this root, with one repository.
    pub fn apt(&self, repository: &Path, trust: &str, words: &[&str]) -> Cmd {
        self.dpkg(&[]);
        let root = self.dir.path().display().to_string();
        for dir in ["etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"] {
            fs::create_dir_all(self.path(dir)).unwrap();
        }
        let line = format!("deb [{trust}] file:{} stable main\n", repository.display());
        fs::write(self.path("etc/apt/sources.list"), line).unwrap();
        let mut cmd = self.home(as_root("apt-get"));
        for option in [
            &format!("Dir={root}"),
            &format!("Dir::State::status={root}/var/lib/dpkg/status"),
            &format!("DPkg::Options::=--root={root}"),
            "DPkg::Options::=--log=/dev/null",
            "Dir::Log::Terminal=/dev/null",
            "Dir::Bin::dpkg=/usr/bin/dpkg",
            "APT::Architecture=amd64",
            "APT::Architectures=amd64",
            "APT::Sandbox::User=root",
            "APT::Install-Recommends=false",
            "Acquire::Languages=none",
        ] {
            cmd = cmd.arg("-o").arg(option);
        }
        cmd.arg("-y").args(words)
    }
}

/// Package that stands for the rest of the system.
pub fn stub(format: Format, kernel: &str) -> Package {
    let provides = |name: &str| Relation::any(RelationKind::Provides, name);
    let equal = |name: &str, version: &str| {
        Relation::to(RelationKind::Provides, name, klp_package::Operator::Equal, version)
    };
    let kpatch = format!("{}:{}-1", klp_package::KPATCH_EPOCH, klp_package::KPATCH_VERSION);
    let relations = match format {
        Format::Rpm => vec![
            provides("/bin/sh"),
            provides("systemd"),
            equal("kpatch", &kpatch),
            equal("kernel-uname-r", kernel),
        ],
        Format::Deb => vec![equal("kpatch", &kpatch)],
    };
    Package {
        format,
        name: "test-system".to_owned(),
        version: Version { epoch: 0, version: "1".to_owned(), release: "1".to_owned() },
        arch: klp_base::arch::Arch::X86_64,
        section: "misc",
        license: "GPL-2.0-or-later",
        summary: "System of a test".to_owned(),
        description: vec!["System of a test.".to_owned()],
        changes: vec!["First.".to_owned()],
        relations,
        entries: vec![Entry::Directory { path: "/usr/share/test-system".to_owned() }],
        scripts: Vec::new(),
        origin: Origin::default(),
    }
}

/// Root with the stub installed.
pub fn root_with_stub(format: Format, running: &str) -> Root {
    let root = Root::new(running);
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), &stub(format, running));
    let file = file.to_str().unwrap();
    match format {
        Format::Rpm => run(root.rpm(&["-i", file])),
        Format::Deb => run(root.dpkg(&["--install", file])),
    };
    root
}

/// Runs a command that must succeed.
#[allow(clippy::needless_pass_by_value, reason = "shorter at the many callers")]
pub fn run(cmd: Cmd) -> Output {
    cmd.run().unwrap_or_else(|error| panic!("{error}"))
}

/// Standard output and error of a command that must fail.
#[allow(clippy::needless_pass_by_value, reason = "shorter at the many callers")]
pub fn fails(cmd: Cmd) -> String {
    let output = cmd.output().unwrap();
    assert!(!output.status.success(), "{}", output.stdout_text());
    format!("{}{}", output.stdout_text(), output.stderr_text())
}

/// Key of gpg in a home directory of its own.
pub fn gpg_home() -> (tempfile::TempDir, &'static str) {
    const KEY: &str = "releases@example.org";
    let home = tempfile::tempdir().unwrap();
    let cmd = tool("gpg").env("GNUPGHOME", home.path());
    run(cmd.args(["--batch", "--passphrase", "", "--quick-generate-key", KEY, "rsa2048", "sign", "never"]));
    (home, KEY)
}
