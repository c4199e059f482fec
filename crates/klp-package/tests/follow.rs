// SPDX-License-Identifier: GPL-2.0-or-later
//! Plug-ins that bring a live patch package with each kernel: that of dnf in a real dnf with the real `kpatch`, the hook of apt.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root::{Root, fails, root_with_stub, run, stub};
use crate::support::{RELEASE, package_file, tool, write};
use klp_package::repo::{Options, add};
use klp_package::{Format, Loader, LoaderFiles, Operator, Origin, Package, Relation, RelationKind, Version};

/// Kernels of the repository; only the first has a live patch package.
const NEXT: &str = "6.12.118+deb12-amd64";
const LAST: &str = "6.12.119+deb12-amd64";

/// Package of a kernel image, as Red Hat's `kernel-core`.
fn kernel(release: &str) -> Package {
    let version = release.split('+').next().unwrap().to_owned();
    Package {
        name: "kernel-core".to_owned(),
        version: Version { epoch: 0, version, release: "1".to_owned() },
        relations: vec![
            Relation::to(RelationKind::Provides, "kernel-uname-r", Operator::Equal, release),
            // dnf installs such a package beside the others of its name.
            Relation::any(RelationKind::Provides, "installonlypkg(kernel)"),
        ],
        entries: Vec::new(),
        ..stub(Format::Rpm, release)
    }
}

struct Machine {
    dir: tempfile::TempDir,
    root: Root,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut files: Vec<PathBuf> =
            [NEXT, LAST].map(|release| write(dir.path(), &kernel(release))).to_vec();
        files.extend([RELEASE, NEXT].map(|release| package_file(dir.path(), Format::Rpm, release, (1, 1))));
        add(&dir.path().join("repo"), &files, &Options::default()).unwrap();
        fs::create_dir(dir.path().join("config")).unwrap();
        Self { dir, root: root_with_stub(Format::Rpm, RELEASE) }
    }

    fn dnf(&self, words: &[&str]) -> klp_base::process::Cmd {
        let (repo, config) = (self.dir.path().join("repo/rpm"), self.dir.path().join("config"));
        self.root.dnf_kpatch(&repo, &config, words)
    }

    /// Output of dnf, which must succeed. dnf prints the error of a plug-in and goes on.
    fn says(&self, words: &[&str]) -> String {
        let output = run(self.dnf(words));
        let said = format!("{}{}", output.stdout_text(), output.stderr_text());
        assert!(!said.contains("Traceback"), "{said}");
        said
    }
}

#[test]
#[ignore = "needs createrepo_c, dnf and the static programs; run by cargo xtask test"]
fn a_kernel_brings_its_live_patch_package_where_that_is_switched_on() {
    let machine = Machine::new();
    let (running, next) = ("kpatch-patch-6_12_117+deb12-amd64", "kpatch-patch-6_12_118+deb12-amd64");
    let said = machine.says(&["kpatch", "status"]);
    assert!(said.contains("Kpatch update setting: manual"), "{said}");
    assert!(said.contains(&format!("{RELEASE}: {running} (offered)")), "{said}");
    machine.says(&["install", "kernel-core-6.12.118"]);
    assert!(
        machine.root.has_rpm("kernel-core") && !machine.root.has_rpm(next) && !machine.root.has_rpm(running)
    );

    machine.says(&["kpatch", "auto"]);
    assert!(machine.root.has_rpm(running) && machine.root.has_rpm(next));
    let said = machine.says(&["kpatch", "status"]);
    assert!(said.contains("Kpatch update setting: auto"), "{said}");
    assert!(said.contains(&format!("{NEXT}: {next} (installed)")), "{said}");
    machine.says(&["remove", "kernel-core"]);
    assert!(!machine.root.has_rpm(next), "it needs the kernel");
    machine.says(&["install", "kernel-core-6.12.118"]);
    assert!(machine.root.has_rpm(next));
    // A kernel without a live patch package is installed alone.
    machine.says(&["install", "kernel-core-6.12.119"]);
    assert!(machine.root.has_rpm("kernel-core-6.12.119"));

    machine.says(&["kpatch", "manual"]);
    machine.says(&["remove", "kernel-core"]);
    machine.says(&["install", "kernel-core-6.12.118"]);
    assert!(machine.root.has_rpm("kernel-core") && !machine.root.has_rpm(next));
}

#[test]
#[ignore = "needs createrepo_c, dnf and the static programs; run by cargo xtask test"]
fn kernels_without_a_live_patch_package_can_be_hidden() {
    let machine = Machine::new();
    let offered = || machine.says(&["repoquery", "--available", "kernel-core"]);
    assert!(offered().contains("6.12.119"));
    machine.says(&["kpatch", "auto-filter"]);
    let said = offered();
    assert!(said.contains("6.12.118") && !said.contains("6.12.119"), "{said}");
    machine.says(&["kpatch", "no-filter"]);
    assert!(offered().contains("6.12.119"));
}

#[test]
#[ignore = "needs createrepo_c, dnf and the static programs; run by cargo xtask test"]
fn a_configuration_that_cannot_be_read_is_named() {
    let machine = Machine::new();
    let file = machine.dir.path().join("config/kpatch.conf");
    fs::write(&file, "[main]\nautoupdate = perhaps\n").unwrap();
    let said = fails(machine.dnf(&["kpatch", "status"]));
    assert!(said.contains(file.to_str().unwrap()) && said.contains("perhaps"), "{said}");
}

/// Kernel of Red Hat: package kernel-core with version and release of the kernel itself.
fn red_hat_kernel(version: &str, release: &str) -> Package {
    let uname = format!("{version}-{release}.x86_64");
    Package {
        version: Version { epoch: 0, version: version.to_owned(), release: release.to_owned() },
        ..kernel(&uname)
    }
}

/// Name of the live patch package as upstream's plug-in (kpatch-dnf) forms it: dots are underscores, the release is cut at its last
/// `.el`. It asks for this name with the architecture of the kernel's package.
fn upstream_name(version: &str, release: &str) -> String {
    let release = release.rsplit_once(".el").unwrap().0;
    format!("kpatch-patch-{}-{}", version.replace('.', "_"), release.replace('.', "_"))
}

/// Upstream's plug-in itself runs where FERROGRAFT_KPATCH_DNF names a directory with its `kpatch.py`, unchanged.
#[test]
#[ignore = "needs createrepo_c, dnf and the static programs; run by cargo xtask test"]
fn upstreams_plug_in_finds_packages_of_red_hats_kernels() {
    const KERNELS: [(&str, &str); 2] = [("5.14.0", "362.8.1.el9_3"), ("4.18.0", "553.el8_10")];
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (version, release) in KERNELS {
        files.push(write(dir.path(), &red_hat_kernel(version, release)));
        let uname = format!("{version}-{release}.x86_64");
        for patch in [(1, 1), (1, 2)] {
            files.push(package_file(dir.path(), Format::Rpm, &uname, patch));
        }
    }
    let (repository, config) = (dir.path().join("repo"), dir.path().join("config"));
    add(&repository, &files, &Options::default()).unwrap();
    let repository = repository.join("rpm");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("kpatch.conf"), "[main]\nautoupdate = False\n").unwrap();
    let root = root_with_stub(Format::Rpm, RELEASE);
    for (version, release) in KERNELS {
        let name = upstream_name(version, release);
        let found = run(root.dnf(&repository, &["repoquery", "--latest-limit=1", &format!("{name}.x86_64")]));
        assert!(found.stdout_text().contains(&format!("{name}-0:1-2.x86_64")), "{}", found.stdout_text());
        run(root.dnf(&repository, &["install", &format!("kernel-core-{version}"), &name]));
        assert!(root.has_rpm(&format!("{name}-1-2")), "its kernel satisfies it");
        run(root.dnf(&repository, &["remove", "kernel-core"]));
    }
    let Some(plugins) = std::env::var_os("FERROGRAFT_KPATCH_DNF") else { return };
    let dnf = |words: &[&str]| {
        let output = run(root.dnf_plugin(Path::new(&plugins), &repository, &config, words));
        let said = format!("{}{}", output.stdout_text(), output.stderr_text());
        assert!(!said.contains("Traceback") && !said.contains("Failed loading plugin"), "{said}");
    };
    let [(old, release), (new, next)] = KERNELS;
    let (first, second) = (upstream_name(old, release), upstream_name(new, next));
    dnf(&["install", &format!("kernel-core-{old}")]);
    assert!(!root.has_rpm(&first));
    dnf(&["kpatch", "auto"]);
    assert!(root.has_rpm(&format!("{first}-1-2")));
    dnf(&["install", &format!("kernel-core-{new}")]);
    assert!(root.has_rpm(&format!("{second}-1-2")));
    dnf(&["kpatch", "manual"]);
    dnf(&["remove", "kernel-core"]);
    dnf(&["install", &format!("kernel-core-{old}")]);
    assert!(!root.has_rpm(&first));
}

/// Files of a package of another vendor with the plug-in, which the package kpatch replaces.
#[test]
#[ignore = "needs createrepo_c, dnf and the static programs; run by cargo xtask test"]
fn kpatch_takes_the_place_of_kpatch_dnf_and_keeps_its_settings() {
    const CONFIG: &str = "/etc/dnf/plugins/kpatch.conf";
    let dir = tempfile::tempdir().unwrap();
    let theirs = Package {
        name: "kpatch-dnf".to_owned(),
        entries: vec![klp_package::Entry::config(CONFIG, "[main]\nautoupdate = False\n")],
        relations: Vec::new(),
        ..stub(Format::Rpm, RELEASE)
    };
    let plugins = ["dnf/kpatch.conf", "dnf/kpatch.py", "dnf5/kpatch.actions"];
    let files = LoaderFiles {
        program: b"ELF".to_vec(),
        plugins: plugins.map(|name| (name.to_owned(), b"# ours\n".to_vec())).to_vec(),
        ..LoaderFiles::default()
    };
    let ours = Loader::new(klp_base::arch::Arch::X86_64, files).package(Format::Rpm, &Origin::default());
    let ours = Package { relations: without_systemd(ours.as_ref().unwrap()), ..ours.unwrap() };
    let files = [write(dir.path(), &theirs), write(dir.path(), &ours)];
    add(&dir.path().join("repo"), &files, &Options::default()).unwrap();
    let repository = dir.path().join("repo/rpm");
    let root = Root::new(RELEASE);
    for name in ["ln", "readlink"] {
        root.host_program(name);
    }
    let shell = Package {
        relations: vec![Relation::any(RelationKind::Provides, "/bin/sh")],
        ..stub(Format::Rpm, RELEASE)
    };
    run(root.rpm(&["-i", write(dir.path(), &shell).to_str().unwrap()]));
    let plugin_dir = "/usr/lib/python3.9/site-packages/dnf-plugins";
    fs::create_dir_all(root.path(plugin_dir)).unwrap();
    run(root.dnf(&repository, &["install", "kpatch-dnf"]));
    fs::write(root.path(CONFIG), "[main]\nautoupdate = True\n").unwrap();
    run(root.dnf(&repository, &["install", "kpatch"]));
    assert!(!root.has_rpm("kpatch-dnf") && root.has_rpm("kpatch"));
    assert_eq!(fs::read_to_string(root.path(CONFIG)).unwrap(), "[main]\nautoupdate = True\n");
    let link = root.path(plugin_dir).join("kpatch.py");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("/usr/share/kpatch/dnf-plugins/kpatch.py"));
    // A file of the administrator is not replaced, and not removed.
    fs::remove_file(&link).unwrap();
    fs::write(&link, "# mine\n").unwrap();
    run(root.dnf(&repository, &["reinstall", "kpatch"]));
    assert_eq!(fs::read_to_string(&link).unwrap(), "# mine\n");
    run(root.dnf(&repository, &["remove", "kpatch"]));
    assert_eq!(fs::read_to_string(&link).unwrap(), "# mine\n");
}

/// Relations without that to systemd, which the root does not have.
fn without_systemd(package: &Package) -> Vec<Relation> {
    package.relations.iter().filter(|relation| relation.name != "systemd").cloned().collect()
}

/// A file below `/etc/apt/apt.conf.d` that apt cannot read stops every run of apt.
#[test]
#[ignore = "needs apt; run by cargo xtask test"]
fn apt_reads_the_hook() {
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/apt/90kpatch");
    let dump = |file: &Path| tool("apt-config").env("APT_CONFIG", file).arg("dump").output().unwrap();
    let output = dump(&hook);
    let said = output.stdout_text();
    assert!(output.status.success(), "{}", output.stderr_text());
    let command = said.lines().find_map(|line| line.strip_prefix("DPkg::Post-Invoke:: \""));
    let command = command.filter(|line| line.contains("kpatch follow")).unwrap_or_else(|| panic!("{said}"));
    run(tool("sh").arg("-n").arg("-c").arg(command.trim_end_matches("\";")));
    // The first form of the hook, with quotes inside, is refused.
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    let quoted = "[ -n \\\"$(kpatch follow 2>/dev/null)\\\" ]";
    let text = fs::read_to_string(&hook).unwrap().replace("kpatch follow 2>/dev/null | grep -q .", quoted);
    fs::write(&broken, text).unwrap();
    assert!(!dump(&broken).status.success());
}

/// The text is that of `kpatch uname` (docs/kpatch.md).
#[test]
#[ignore = "needs rpm and dpkg; run by cargo xtask test"]
fn the_version_of_kpatch_uname_is_ordered_as_documented() {
    let base = "6.12.117+deb12-amd64";
    let rows = [
        base.to_owned(),
        format!("{base}+kpatch.1.2"),
        format!("{base}+kpatch.1.10"),
        format!("{base}+kpatch.2.1"),
        NEXT.to_owned(),
    ];
    for pair in rows.windows(2) {
        let [one, two] = pair else { unreachable!() };
        run(tool("dpkg").args(["--compare-versions", one, "lt", two]));
        let compared =
            run(tool("rpm").arg("--eval").arg(format!("%{{lua: print(rpm.vercmp('{one}', '{two}'))}}")));
        assert_eq!(compared.stdout_text().trim(), "-1", "{one} {two}");
    }
}
