// SPDX-License-Identifier: GPL-2.0-or-later
//! Content of packages, as far as no other program is needed.

use std::path::{Path, PathBuf};

use crate::support::{RELEASE, Sample, packages, patch, release, tool};
use klp_base::arch::Arch;
use klp_package::{
    DEFAULT_DATE, Entry, Error, FileKind, Format, Loader, LoaderFiles, Operator, Origin, Package, Patch,
    PatchModule, Phase, RelationKind,
};

fn relations(package: &Package, kind: RelationKind) -> Vec<String> {
    let shown = |operator| match operator {
        Operator::Less => "<",
        Operator::Equal => "=",
        Operator::AtLeast => ">=",
    };
    let relations = package.relations.iter().filter(|relation| relation.kind == kind);
    relations
        .map(|relation| match &relation.version {
            Some((operator, version)) => format!("{} {} {version}", relation.name, shown(*operator)),
            None => relation.name.clone(),
        })
        .collect()
}

fn paths(package: &Package) -> Vec<&str> {
    package.entries.iter().map(Entry::path).collect()
}

#[test]
fn rpm_has_the_relations_of_the_convention() {
    let [package, debug] = packages(Format::Rpm, "5.14.0-362.8.1.el9_3.x86_64", (1, 2)).try_into().unwrap();
    assert_eq!(package.file_name(), "kpatch-patch-5_14_0-362_8_1-1-2.x86_64.rpm");
    assert_eq!(
        relations(&package, RelationKind::Provides),
        ["kpatch-patch = 5.14.0-362.8.1.el9_3.x86_64", "kpatch-patch = 5.14.0-362.8.1.el9_3"]
    );
    assert_eq!(
        relations(&package, RelationKind::Requires),
        [
            format!("kpatch >= 1:{}-1", klp_package::KPATCH_VERSION),
            "kernel-uname-r = 5.14.0-362.8.1.el9_3.x86_64".to_owned()
        ]
    );
    assert_eq!(relations(&package, RelationKind::Conflicts), ["kpatch-patch-5_14_0-362_8_1 < 1-2"]);
    assert_eq!(
        paths(&package),
        [
            "/usr/lib/kpatch",
            "/usr/lib/kpatch/5.14.0-362.8.1.el9_3.x86_64/kpatch_5_14_0_362_8_1_el9_3_x86_64_1_2.ko",
            "/usr/lib/kpatch/5.14.0-362.8.1.el9_3.x86_64"
        ]
    );
    assert_eq!(debug.file_name(), "kpatch-patch-5_14_0-362_8_1-debuginfo-1-2.x86_64.rpm");
    assert!(debug.scripts.is_empty() && relations(&debug, RelationKind::Provides).is_empty());
}

#[test]
fn deb_has_the_relations_of_debian() {
    let [package, debug] = packages(Format::Deb, RELEASE, (1, 1)).try_into().unwrap();
    assert_eq!(package.file_name(), "kpatch-patch-6.12.117+deb12-amd64_1-1_amd64.deb");
    assert_eq!(relations(&package, RelationKind::Provides), [format!("kpatch-patch = {RELEASE}")]);
    assert_eq!(
        relations(&package, RelationKind::Requires),
        [format!("kpatch >= 1:{}-1", klp_package::KPATCH_VERSION)]
    );
    assert_eq!(relations(&package, RelationKind::Recommends), [format!("linux-image-{RELEASE}")]);
    assert_eq!(debug.name, format!("kpatch-patch-{RELEASE}-dbgsym"));
    // Not a version in Debian: the package is found by its name.
    let [package, _] = packages(Format::Deb, "5.14.0-362.8.1.el9_3.x86_64", (1, 1)).try_into().unwrap();
    assert_eq!(relations(&package, RelationKind::Provides), ["kpatch-patch"]);
    assert!(relations(&package, RelationKind::Recommends).is_empty());
}

#[test]
fn empty_package_has_no_module() {
    for format in Format::ALL {
        let [package] = packages(format, RELEASE, (0, 0)).try_into().unwrap();
        assert_eq!(package.version.to_string(), "0-0");
        assert!(package.entries.is_empty());
        assert_eq!(relations(&package, RelationKind::Provides), [format!("kpatch-patch = {RELEASE}")]);
        // Debian's removes the module of the version before it.
        assert_eq!(package.scripts.is_empty(), format == Format::Rpm);
    }
}

#[test]
fn module_for_another_kernel_is_refused() {
    let kernel = release(RELEASE);
    let good = || Sample::of(RELEASE, (1, 1));
    assert!(PatchModule::parse(good().bytes(), &kernel, Arch::X86_64).is_ok());
    let other = "6.12.118+deb12-amd64".to_owned();
    for (sample, message) in [
        // The vermagic decides, whatever the rest of the module says.
        (Sample { vermagic: other.clone(), ..good() }, "its version magic is of kernel 6.12.118+deb12-amd64"),
        (Sample { manifest_release: other, ..good() }, "its manifest names kernel 6.12.118+deb12-amd64"),
        (
            Sample { name: "kpatch_6_12_117_deb12_amd64_1_2".to_owned(), ..good() },
            "that of a package's module is kpatch_6_12_117_deb12_amd64_1_1",
        ),
        (Sample { version: None, ..good() }, "demo is a single fix"),
        (Sample { version: Some((0, 1)), ..good() }, "version 0 is that of the empty package"),
        (Sample { livepatch: false, ..good() }, "it is no live patch"),
        (Sample { arch: object::Architecture::Aarch64, ..good() }, "it is for aarch64"),
    ] {
        let error = PatchModule::parse(sample.bytes(), &kernel, Arch::X86_64).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    assert!(PatchModule::parse(b"text".to_vec(), &kernel, Arch::X86_64).unwrap_err().contains("no ELF file"));
    let half = good().bytes();
    assert!(PatchModule::parse(half[..half.len() / 2].to_vec(), &kernel, Arch::X86_64).is_err());
}

#[test]
fn a_package_is_a_function_of_its_input() {
    for format in Format::ALL {
        for at in 0..2 {
            let encode = |origin: &Origin| {
                patch(RELEASE, (1, 1)).packages(format, origin).unwrap()[at].encode().unwrap()
            };
            let one = encode(&Origin::default());
            std::thread::sleep(std::time::Duration::from_millis(1100));
            assert!(one == encode(&Origin::default()), "the time is in the package");
            // The check sees a date.
            assert!(one != encode(&Origin { date: DEFAULT_DATE + 1, ..Origin::default() }));
        }
    }
}

#[test]
fn scripts_are_valid_and_have_no_gaps() {
    let loader = Loader::new(Arch::X86_64, LoaderFiles::default());
    for format in Format::ALL {
        let mut all = packages(format, RELEASE, (1, 1));
        all.extend(packages(format, RELEASE, (0, 0)));
        all.push(loader.package(format, &Origin::default()).unwrap());
        for (phase, text) in all.iter().flat_map(|package| &package.scripts) {
            assert!(!text.contains('@'), "{phase:?}: {text}");
            tool("sh").args(["-n", "-c", text]).run().unwrap();
        }
    }
    let script = packages(Format::Rpm, RELEASE, (1, 1)).remove(0);
    let script = script.script(Phase::AfterInstall).unwrap();
    assert!(script.trim_end().ends_with("\nexit 0"), "rpm does not fail for a live patch");
}

#[test]
fn text_of_a_fix_cannot_add_a_field() {
    let mut package = packages(Format::Deb, RELEASE, (1, 1)).remove(0);
    package.summary = "Text\nPre-Depends: other".to_owned();
    let error = package.encode().unwrap_err();
    assert!(
        matches!(&error, Error::Illegal { .. }) && error.to_string().contains("more than one line"),
        "{error}"
    );
    package.summary = "Text".to_owned();
    package.name = "Upper_case".to_owned();
    assert!(package.encode().unwrap_err().to_string().contains("not legal in Debian"));
    let mut package = packages(Format::Rpm, RELEASE, (1, 1)).remove(0);
    package.name = "tilde~".to_owned();
    assert!(package.encode().is_err());
}

#[test]
fn a_full_disk_leaves_the_old_package() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.rpm");
    klp_package::write(&file, b"old").unwrap();
    let error = klp_package::write(&dir.path().join("no-such-directory/a.rpm"), b"new").unwrap_err();
    assert!(error.to_string().contains("could not write") && !error.to_string().contains("cache"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
}

#[test]
fn loader_has_its_files_in_the_places_of_distributions() {
    let named = |name: &str| vec![(name.to_owned(), b"x".to_vec())];
    let completions = ["_kpatch", "kpatch", "kpatch.fish"].iter().flat_map(|name| named(name)).collect();
    let files = LoaderFiles {
        program: b"ELF".to_vec(),
        units: named("kpatch.service"),
        helpers: named("kpatch-follow"),
        pages: named("kpatch.1"),
        completions,
        plugins: PLUGINS.iter().flat_map(|name| named(name)).collect(),
    };
    for format in Format::ALL {
        let package = Loader::new(Arch::Arm64, files.clone()).package(format, &Origin::default()).unwrap();
        let plugins = match format {
            Format::Rpm => &[
                "/etc/dnf/plugins/kpatch.conf",
                "/usr/share/kpatch/dnf-plugins/kpatch.py",
                "/etc/dnf/libdnf5-plugins/actions.d/kpatch.actions",
            ][..],
            Format::Deb => &["/etc/apt/apt.conf.d/90kpatch", "/etc/apt/kpatch.conf"],
        };
        let is_config = |entry: &&Entry| matches!(entry, Entry::File { kind: FileKind::Config, .. });
        let configs = package.entries.iter().filter(is_config).map(Entry::path);
        assert!(configs.eq(plugins.iter().copied().filter(|path| path.starts_with("/etc/"))));
        assert_eq!(
            paths(&package),
            [
                &[
                    "/usr/sbin/kpatch",
                    "/usr/lib/systemd/system/kpatch.service",
                    "/usr/libexec/kpatch/kpatch-follow",
                    "/usr/share/man/man1/kpatch.1.gz",
                    "/usr/share/zsh/site-functions/_kpatch",
                    "/usr/share/bash-completion/completions/kpatch",
                    "/usr/share/fish/vendor_completions.d/kpatch.fish"
                ][..],
                plugins
            ]
            .concat()
        );
        assert_eq!(package.version.epoch, 1, "newer than the distributions' kpatch");
        package.encode().unwrap();
    }
    let wrong = LoaderFiles { completions: named("kpatch.csh"), ..files.clone() };
    assert!(Loader::new(Arch::X86_64, wrong).package(Format::Rpm, &Origin::default()).is_err());
    let wrong = LoaderFiles { plugins: named("zypp/kpatch"), ..files };
    assert!(Loader::new(Arch::X86_64, wrong).package(Format::Rpm, &Origin::default()).is_err());
}

/// Files of `dist/` for package managers.
const PLUGINS: [&str; 5] =
    ["apt/90kpatch", "apt/kpatch.conf", "dnf/kpatch.conf", "dnf/kpatch.py", "dnf5/kpatch.actions"];

/// Every program that a unit in `dist/` starts is in the package.
#[test]
fn programs_of_the_units_are_in_the_package() {
    let files = |dir: &str| -> Vec<(String, Vec<u8>)> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist").join(dir);
        let named = |path: PathBuf| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
        };
        klp_base::cache::walk(&dir).unwrap().into_iter().map(named).collect()
    };
    let (units, helpers) = (files("systemd"), files("follow"));
    let missing = |helpers: &[(String, Vec<u8>)]| -> Vec<String> {
        let all = LoaderFiles { units: units.clone(), helpers: helpers.to_vec(), ..LoaderFiles::default() };
        let package = Loader::new(Arch::X86_64, all).package(Format::Rpm, &Origin::default()).unwrap();
        let started = units.iter().flat_map(|(_, text)| {
            let lines =
                std::str::from_utf8(text).unwrap().lines().filter_map(|line| line.strip_prefix("ExecStart="));
            lines.map(|line| line.split_whitespace().next().unwrap().to_owned())
        });
        started.filter(|program| !package.entries.iter().any(|entry| entry.path() == program)).collect()
    };
    assert_eq!(missing(&helpers), [""; 0]);
    assert_eq!(missing(&[]), ["/usr/libexec/kpatch/kpatch-follow"]);
}

#[test]
fn all_releases_make_packages() {
    for kernel in [
        "5.14.0-427.13.1.el9_4.x86_64+rt-64k",
        "6.1.0-49-cloud-amd64",
        "6.12.0~rc3-amd64",
        "6.12.117+",
        "7.0.0-Custom_Build",
    ] {
        for format in Format::ALL {
            for package in packages(format, kernel, (1, 1)) {
                package.encode().unwrap();
            }
        }
    }
    // Text that a script would run.
    for kernel in ["6.12'$(reboot)'", "6.12;reboot", "6.12\\"] {
        let patch = Patch::empty(release(kernel), Arch::X86_64);
        let error = patch.packages(Format::Deb, &Origin::default()).unwrap_err().to_string();
        assert!(error.contains("paths and scripts cannot have"), "{error}");
    }
    // The name of the module would be too long.
    let long = release(&format!("6.12.117-{}", "x".repeat(50)));
    assert!(Patch::empty(long, Arch::X86_64).packages(Format::Rpm, &Origin::default()).is_err());
}
