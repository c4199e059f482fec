// SPDX-License-Identifier: GPL-2.0-or-later
//! Repositories, read by dnf and apt.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root::{Root, fails, gpg_home, root_with_stub, run, stub};
use crate::support::{RELEASE, as_root, package_file, packages, tool, write};
use klp_package::repo::{GpgKey, Options, add, prune};
use klp_package::{Error, Format};

const OTHER: &str = "6.12.118+deb12-amd64";

/// Package files of both formats.
fn files(dir: &Path, kernel: &str, version: (u32, u32)) -> Vec<PathBuf> {
    Format::ALL.map(|format| package_file(dir, format, kernel, version)).to_vec()
}

fn deb_name(kernel: &str) -> String {
    packages(Format::Deb, kernel, (0, 0)).remove(0).name
}

/// All files below a directory with their content.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = klp_base::cache::walk(dir).unwrap();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Directory with a repository of 0-0 and 1-1 of a kernel, and 1-1 of another.
fn repository() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    for (kernel, version) in [(RELEASE, (0, 0)), (RELEASE, (1, 1)), (OTHER, (1, 1))] {
        add(&repo, &files(dir.path(), kernel, version), &Options::default()).unwrap();
    }
    (dir, repo)
}

#[test]
#[ignore = "needs createrepo_c, dnf and the static programs; run by cargo xtask test"]
fn dnf_subscribes_updates_and_removes() {
    let (dir, repo) = repository();
    let side = repo.join("rpm");
    let root = root_with_stub(Format::Rpm, RELEASE);
    let wanted = format!("kpatch-patch = {RELEASE}");
    let found = run(root.dnf(&side, &["search", RELEASE])).stdout_text();
    assert!(found.contains("kpatch-patch-6_12_117+deb12-amd64"), "{found}");
    assert!(!found.contains("6_12_118"), "{found}");
    run(root.dnf(&side, &["install", &wanted]));
    assert_eq!(root.loaded(), ["kpatch_6_12_117_deb12_amd64_1_1"]);
    assert_eq!(root.store(OTHER), [""; 0]);

    add(&repo, &files(dir.path(), RELEASE, (1, 2)), &Options::default()).unwrap();
    // Without --refresh, dnf takes metadata that it read in the same second for current.
    run(root.dnf(&side, &["--refresh", "update", &wanted]));
    assert_eq!(root.loaded(), ["kpatch_6_12_117_deb12_amd64_1_2"]);
    assert_eq!(root.store(RELEASE), ["kpatch_6_12_117_deb12_amd64_1_2.ko"]);
    run(root.dnf(&side, &["remove", "kpatch-patch-6_12_117+deb12-amd64"]));
    assert!(root.store(RELEASE).is_empty());
    // The kernel of this package is not there.
    let said = fails(root.dnf(&side, &["install", &format!("kpatch-patch = {OTHER}")]));
    assert!(said.contains(&format!("nothing provides kernel-uname-r = {OTHER}")), "{said}");
}

/// Packages that dnf selects for a kernel, in a repository of packages for several.
fn dnf_selects(running: &str, kernels: &[&str], wanted: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    let files: Vec<PathBuf> =
        kernels.iter().map(|kernel| package_file(dir.path(), Format::Rpm, kernel, (1, 1))).collect();
    add(&repo, &files, &Options::default()).unwrap();
    let root = root_with_stub(Format::Rpm, running);
    let output = root.dnf(&repo.join("rpm"), &["--downloadonly", "install", wanted]).output().unwrap();
    format!("{}{}", output.stdout_text(), output.stderr_text())
}

#[test]
#[ignore = "needs createrepo_c, dnf and the static programs; run by cargo xtask test"]
fn dnf_finds_versions_that_the_convention_cannot_carry() {
    for (kernel, other, name) in [
        ("6.1.0-49-amd64", "6.1.0-50-amd64", "kpatch-patch-6_1_0-49-amd64"),
        ("6.1.0-49-cloud-amd64", "6.1.0-49-amd64", "kpatch-patch-6_1_0-49-cloud-amd64"),
        ("6.12.0~rc3-amd64", "6.12.0-amd64", "kpatch-patch-6_12_0_rc3-amd64"),
        (
            "5.14.0-427.13.1.el9_4.x86_64+rt-64k",
            "5.14.0-427.13.1.el9_4.x86_64",
            "kpatch-patch-5_14_0-427_13_1+rt-64k",
        ),
        (
            "5.14.0-427.13.1.el9_4.x86_64",
            "5.14.0-427.13.1.el9_4.x86_64+rt-64k",
            "kpatch-patch-5_14_0-427_13_1",
        ),
    ] {
        let said = dnf_selects(kernel, &[other, kernel], &format!("kpatch-patch = {kernel}"));
        let line = said.lines().find(|line| line.trim_start().starts_with("kpatch-patch-"));
        assert_eq!(line.and_then(|line| line.split_whitespace().next()), Some(name), "{said}");
    }
    // rpm takes 6.12.117+ for 6.12.117; the package of the former is found by its name alone.
    let said = dnf_selects("6.12.117", &["6.12.117+"], "kpatch-patch = 6.12.117");
    assert!(said.contains("No match for argument"), "{said}");
    let said = dnf_selects("6.12.117+", &["6.12.117", "6.12.117+"], "kpatch-patch-6_12_117+");
    assert!(said.contains("kpatch-patch-6_12_117+ "), "{said}");
}

/// Root that has installed the live patch of its kernel with apt.
fn subscribed(side: &Path) -> Root {
    let root = root_with_stub(Format::Deb, RELEASE);
    for words in [&["update"][..], &["install", &format!("kpatch-patch={RELEASE}")]] {
        run(root.apt(side, "trusted=yes", words));
    }
    root
}

#[test]
#[ignore = "needs apt-ftparchive, apt and the static programs; run by cargo xtask test"]
fn apt_subscribes_updates_and_removes() {
    let (dir, repo) = repository();
    let side = repo.join("deb");
    let root = subscribed(&side);
    let apt = |words: &[&str]| run(root.apt(&side, "trusted=yes", words)).stdout_text();
    assert_eq!(root.loaded(), ["kpatch_6_12_117_deb12_amd64_1_1"]);
    add(&repo, &files(dir.path(), RELEASE, (1, 2)), &Options::default()).unwrap();
    apt(&["update"]);
    apt(&["install", "--only-upgrade", "kpatch-patch*"]);
    assert_eq!(root.loaded(), ["kpatch_6_12_117_deb12_amd64_1_2"]);
    assert_eq!(root.store(RELEASE), ["kpatch_6_12_117_deb12_amd64_1_2.ko"]);
    // Back to an older version, which the repository still has.
    apt(&["install", "--allow-downgrades", &format!("{}=1-1", deb_name(RELEASE))]);
    assert_eq!(root.store(RELEASE), ["kpatch_6_12_117_deb12_amd64_1_1.ko"]);
    apt(&["remove", &deb_name(RELEASE)]);
    assert!(root.store(RELEASE).is_empty());
}

#[test]
#[ignore = "needs apt-ftparchive, apt and the static programs; run by cargo xtask test"]
fn apt_offers_a_phased_update_to_some_machines() {
    let (dir, repo) = repository();
    let side = repo.join("deb");
    let root = subscribed(&side);
    let apt = |words: &[&str]| run(root.apt(&side, "trusted=yes", words)).stdout_text();
    let new = files(dir.path(), RELEASE, (1, 2));
    let phased = |phase| Options { phase: Some(phase), ..Options::default() };
    let index = || fs::read_to_string(side.join("dists/stable/main/binary-amd64/Packages")).unwrap();
    add(&repo, &new, &phased(10)).unwrap();
    assert_eq!(index().matches("Phased-Update-Percentage: 10").count(), 1);
    let upgrade = |always: bool| {
        let option = if always { "Always" } else { "Never" };
        let option = format!("APT::Get::{option}-Include-Phased-Updates=true");
        apt(&["update"]);
        apt(&["-o", &option, "--simulate", "upgrade"])
    };
    let line = format!("Inst {} ", deb_name(RELEASE));
    assert!(!upgrade(false).contains(&line) && upgrade(true).contains(&line));
    // Another publication leaves the phase; a higher one goes on; 100 ends it.
    add(&repo, &files(dir.path(), OTHER, (1, 2)), &Options::default()).unwrap();
    assert_eq!(index().matches("Phased-Update-Percentage: 10").count(), 1);
    add(&repo, &new, &phased(50)).unwrap();
    assert_eq!(index().matches("Phased-Update-Percentage: 50").count(), 1);
    assert_eq!(index().matches("Phased-Update-Percentage").count(), 1);
    add(&repo, &new, &phased(100)).unwrap();
    assert!(!index().contains("Phased-Update-Percentage"));
    assert!(upgrade(false).contains(&line));
}

#[test]
#[ignore = "needs createrepo_c and apt-ftparchive; run by cargo xtask test"]
fn published_packages_stay_as_they_are() {
    let (dir, repo) = repository();
    let before = content(&repo);
    let again = add(&repo, &files(dir.path(), RELEASE, (1, 1)), &Options::default()).unwrap();
    assert_eq!((again.new.len(), again.present.len()), (0, 2));
    for format in Format::ALL {
        let before = content(&repo.join(format.name()).join("packages"));
        let mut package = packages(format, RELEASE, (1, 1)).remove(0);
        package.summary = "Another build".to_owned();
        let file = write(dir.path(), &package);
        let error = add(&repo, &[file], &Options::default()).unwrap_err();
        assert!(matches!(error, Error::Published { .. }), "{error}");
        assert_eq!(before, content(&repo.join(format.name()).join("packages")));
    }
    let packages = |all: BTreeMap<PathBuf, Vec<u8>>| -> Vec<PathBuf> {
        all.into_keys().filter(|file| file.parent().unwrap().ends_with("packages")).collect()
    };
    assert_eq!(packages(before), packages(content(&repo)));
}

#[test]
#[ignore = "needs createrepo_c and apt-ftparchive; run by cargo xtask test"]
fn broken_packages_change_nothing() {
    let (dir, repo) = repository();
    let before = content(&repo);
    for format in Format::ALL {
        let good = package_file(dir.path(), format, OTHER, (1, 2));
        let bad = package_file(dir.path(), format, OTHER, (1, 3));
        let bytes = fs::read(&bad).unwrap();
        for broken in [&bytes[..bytes.len() / 2], &bytes[..bytes.len() - 30], b"text", b""] {
            fs::write(&bad, broken).unwrap();
            let error = add(&repo, &[good.clone(), bad.clone()], &Options::default()).unwrap_err();
            assert!(error.to_string().contains(bad.to_str().unwrap()), "{error}");
            assert!(before == content(&repo), "{error}");
        }
    }
}

#[test]
#[ignore = "needs createrepo_c and apt-ftparchive; run by cargo xtask test"]
fn readers_of_the_old_metadata_still_find_its_files() {
    let (dir, repo) = repository();
    let old = content(&repo);
    add(&repo, &files(dir.path(), RELEASE, (1, 2)), &Options::default()).unwrap();
    let new = content(&repo);
    let mut kept = 0;
    for (file, bytes) in &old {
        let name = file.file_name().unwrap().to_str().unwrap();
        if file.to_str().unwrap().contains("by-hash")
            || name.contains("-primary")
            || name.contains("-filelists")
        {
            // Files of the generation before the last may be gone.
            kept += usize::from(new.get(file) == Some(bytes));
        }
    }
    assert!(kept >= 4, "{kept} of {:?}", old.keys());
    let count = |all: &BTreeMap<PathBuf, Vec<u8>>| {
        all.keys().filter(|f| f.to_str().unwrap().contains("by-hash")).count()
    };
    for release in 3..6 {
        add(&repo, &files(dir.path(), RELEASE, (1, release)), &Options::default()).unwrap();
    }
    assert_eq!(count(&content(&repo)), 4, "two generations of Packages and Packages.gz");
    assert!(
        fs::read_dir(repo.join("rpm")).unwrap().all(|e| !e
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .starts_with('.'))
    );
}

#[test]
#[ignore = "needs createrepo_c and apt-ftparchive; run by cargo xtask test"]
fn leftovers_of_a_killed_run_do_no_harm() {
    let (dir, repo) = repository();
    for format in Format::ALL {
        let aside = repo.join(format.name()).join(".aside-killed");
        fs::create_dir(&aside).unwrap();
        fs::write(aside.join("half.rpm"), "half").unwrap();
        // The package was in place, and the metadata was not.
        let pool = repo.join(format.name()).join("packages");
        package_file(&pool, format, RELEASE, (1, 2));
    }
    let again = add(&repo, &files(dir.path(), RELEASE, (1, 2)), &Options::default()).unwrap();
    assert_eq!(again.present.len(), 2);
    for (format, index) in [(Format::Rpm, "repodata"), (Format::Deb, "dists/stable/main")] {
        let side = repo.join(format.name());
        assert!(!side.join(".aside-killed").exists());
        let mut text = String::new();
        for (file, bytes) in content(&side.join(index)) {
            if file.ends_with("Packages") {
                text.push_str(&String::from_utf8(bytes).unwrap());
            } else if file.to_str().unwrap().ends_with("-primary.xml.gz") {
                text.push_str(&run(tool("gzip").arg("-dc").arg(&file)).stdout_text());
            }
        }
        let name = packages(format, RELEASE, (1, 2)).remove(0).file_name();
        assert!(text.contains(&name), "{name}");
    }
}

#[test]
#[ignore = "needs createrepo_c, apt-ftparchive and dnf; run by cargo xtask test"]
fn prune_removes_old_versions_only() {
    let (dir, repo) = repository();
    for release in [2, 10] {
        add(&repo, &files(dir.path(), RELEASE, (1, release)), &Options::default()).unwrap();
    }
    let before = content(&repo);
    let names = |files: Vec<PathBuf>| -> Vec<String> {
        files.iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let expected = [
        "kpatch-patch-6_12_117+deb12-amd64-0-0.x86_64.rpm",
        "kpatch-patch-6_12_117+deb12-amd64-1-1.x86_64.rpm",
        "kpatch-patch-6.12.117+deb12-amd64_0-0_amd64.deb",
        "kpatch-patch-6.12.117+deb12-amd64_1-1_amd64.deb",
    ];
    assert_eq!(names(prune(&repo, 2, false, &Options::default()).unwrap()), expected);
    assert!(before == content(&repo), "a dry run");
    assert_eq!(names(prune(&repo, 2, true, &Options::default()).unwrap()), expected);
    assert!(prune(&repo, 2, true, &Options::default()).unwrap().is_empty());
    let index = fs::read_to_string(repo.join("deb/dists/stable/main/binary-amd64/Packages")).unwrap();
    assert_eq!(index.matches("Filename: ").count(), 3, "{index}");
    for line in index.lines().filter_map(|line| line.strip_prefix("Filename: ")) {
        assert!(repo.join("deb").join(line).is_file());
    }
    let listed = root_with_stub(Format::Rpm, RELEASE);
    let listed = run(listed.dnf(&repo.join("rpm"), &["repoquery", "--available"])).stdout_text();
    assert_eq!(listed.lines().filter(|line| line.starts_with("kpatch-patch-")).count(), 3, "{listed}");
}

#[test]
#[ignore = "needs gpg, rpmsign, createrepo_c, apt-ftparchive and the static programs; run by cargo xtask test"]
fn signatures_are_good_and_necessary() {
    let (home, key) = gpg_home();
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("public.asc");
    let exported = run(tool("gpg").env("GNUPGHOME", home.path()).args(["--armor", "--export", key]));
    fs::write(&script, &exported.stdout).unwrap();
    let repo = dir.path().join("repo");
    let signed =
        |dir: &Path, version| add(&repo, &files(dir, RELEASE, version), &signed_by(home.path(), key));
    signed(dir.path(), (1, 1)).unwrap();
    // rpm: packages and metadata.
    let database = tempfile::tempdir().unwrap();
    let database = format!("--dbpath={}", database.path().display());
    run(tool("rpmkeys").arg(&database).arg("--import").arg(&script));
    let package = klp_base::cache::walk(&repo.join("rpm/packages")).unwrap().remove(0);
    let checked = run(tool("rpmkeys").arg(&database).arg("-Kv").arg(&package)).stdout_text();
    assert!(
        checked.contains("Signature") && checked.contains("OK") && !checked.contains("NOKEY"),
        "{checked}"
    );
    let gpg = |words: &[&str]| tool("gpg").env("GNUPGHOME", home.path()).args(words);
    let metadata = repo.join("rpm/repodata/repomd.xml");
    run(gpg(&["--verify"]).arg(metadata.with_extension("xml.asc")).arg(&metadata));
    // apt.
    let suite = repo.join("deb/dists/stable");
    run(gpg(&["--verify"]).arg(suite.join("InRelease")));
    run(gpg(&["--verify"]).arg(suite.join("Release.gpg")).arg(suite.join("Release")));
    let root = root_with_stub(Format::Deb, RELEASE);
    let trust = format!("signed-by={}", script.display());
    let side = repo.join("deb");
    run(root.apt(&side, &trust, &["update"]));
    run(root.apt(&side, &trust, &["install", &format!("kpatch-patch={RELEASE}")]));
    assert_eq!(root.loaded(), ["kpatch_6_12_117_deb12_amd64_1_1"]);

    // The same packages again, unsigned as they were built: nothing changes.
    assert_eq!(signed(dir.path(), (1, 1)).unwrap().present.len(), 2);
    // Without the key, or with a wrong one, nothing is published.
    let before = content(&repo);
    let error = add(&repo, &files(dir.path(), RELEASE, (1, 2)), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("its metadata is signed"), "{error}");
    let nobody = signed_by(home.path(), "nobody@example.org");
    let error = add(&repo, &files(dir.path(), RELEASE, (1, 2)), &nobody).unwrap_err();
    assert!(error.to_string().contains("nobody@example.org"), "{error}");
    assert!(before == content(&repo));
    // A manipulated index is refused.
    let index = suite.join("main/binary-amd64/Packages");
    let text = fs::read_to_string(&index).unwrap().replace("Live patches", "Dead patches");
    for file in klp_base::cache::walk(&suite.join("main")).unwrap() {
        fs::write(file, &text).unwrap();
    }
    let root = root_with_stub(Format::Deb, RELEASE);
    let said = fails(root.apt(&side, &trust, &["update"]));
    assert!(said.contains("mismatch") || said.contains("unexpected size"), "{said}");
}

#[test]
#[ignore = "needs gpg, createrepo_c and apt-ftparchive; run by cargo xtask test"]
fn signed_and_unsigned_packages_do_not_mix() {
    let (_dir, repo) = repository();
    let (home, key) = gpg_home();
    let other = tempfile::tempdir().unwrap();
    let before = content(&repo);
    let signed = signed_by(home.path(), key);
    let error = add(&repo, &files(other.path(), OTHER, (1, 2)), &signed).unwrap_err();
    assert!(error.to_string().contains("without a signature"), "{error}");
    assert!(before == content(&repo));
}

#[test]
#[ignore = "needs to mount a file system; run by cargo xtask test"]
fn a_full_disk_changes_nothing() {
    if std::env::var_os("KLP_PACKAGE_IN_NAMESPACE").is_none() {
        // Again in a mount namespace of its own, where a small file system is mounted.
        let test = std::env::current_exe().unwrap();
        let again = as_root("unshare").arg("--mount").arg(test).env("KLP_PACKAGE_IN_NAMESPACE", "1");
        let said = run(again.args(["--exact", "repo::a_full_disk_changes_nothing", "--include-ignored"]))
            .stdout_text();
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("small");
    fs::create_dir(&small).unwrap();
    run(tool("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&small));
    let repo = small.join("repo");
    add(&repo, &files(dir.path(), RELEASE, (1, 1)), &Options::default()).unwrap();
    let before = content(&repo);
    for room in [0, 8, 40, 64] {
        let free = klp_base::cache::free_space(&small).unwrap();
        let filler = small.join("filler");
        fs::write(&filler, vec![0; usize::try_from(free).unwrap() - (room << 10)]).unwrap();
        let result = add(&repo, &files(dir.path(), RELEASE, (1, 2)), &Options::default());
        fs::remove_file(&filler).unwrap();
        if room <= 8 {
            let error = result.as_ref().unwrap_err().to_string();
            assert!(error.contains("No space left on device"), "with {room} KiB: {error}");
        }
        if let Err(error) = result {
            assert!(!error.to_string().is_empty());
            let after = content(&repo);
            assert!(before.iter().all(|(file, bytes)| after.get(file) == Some(bytes)), "{room}: {error}");
        } else {
            break;
        }
    }
    add(&repo, &files(dir.path(), RELEASE, (1, 2)), &Options::default()).unwrap();
}

/// Options to sign with a key.
fn signed_by<'a>(home: &'a Path, id: &'a str) -> Options<'a> {
    Options { gpg_key: Some(GpgKey { id, home: Some(home) }), phase: None }
}

#[test]
fn stubs_are_packages() {
    for format in Format::ALL {
        stub(format, RELEASE).encode().unwrap();
    }
}
