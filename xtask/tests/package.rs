// SPDX-License-Identifier: GPL-2.0-or-later
//! Verbs `package` and `repo`: real packages of a stream and of kpatch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use klp_base::process::{Cmd, Output, find_program};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn xtask(words: &[&str]) -> Cmd {
    Cmd::new(env!("CARGO_BIN_EXE_xtask"))
        .args(words)
        .env_remove("SOURCE_DATE_EPOCH")
        .env_remove("RUST_BACKTRACE")
}

fn refused(words: &[&str]) -> String {
    let output: Output = xtask(words).output().unwrap();
    assert!(!output.status.success(), "{words:?}");
    output.stderr_text()
}

/// Packages that verbs printed, by file name.
fn packages(output: &Output) -> BTreeMap<String, Vec<u8>> {
    let text = output.stdout_text();
    let files = text.lines().map(PathBuf::from);
    files
        .map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(file).unwrap()))
        .collect()
}

/// Packages of stream `demo`, its empty version, and kpatch.
const ALL: [&[&str]; 3] = [&["package", "demo"], &["package", "demo", "--empty"], &["package", "kpatch"]];

/// Packages that these verbs make in the checkout `project`.
fn make(verbs: &[&[&str]], project: &Path, out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for words in verbs {
        let made = xtask(words).arg("--out").arg(out).env("FERROGRAFT_PROJECT", project).run();
        all.extend(packages(&made.unwrap_or_else(|error| panic!("{error}"))));
    }
    all
}

/// Makes packages in this checkout and in a copy of it, and compares them. Returns their number.
fn compare_two_checkouts(verbs: &[&[&str]]) -> usize {
    let scratch = tempfile::tempdir().unwrap();
    let here = make(verbs, &root(), &scratch.path().join("one"));
    let other = scratch.path().join("another/checkout");
    fs::create_dir_all(&other).unwrap();
    // The files of the checkout as they are, without what is built and without the history.
    let listed = Cmd::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).cwd(root());
    for file in listed.read().unwrap().lines().filter(|file| root().join(file).is_file()) {
        fs::create_dir_all(other.join(file).parent().unwrap()).unwrap();
        fs::copy(root().join(file), other.join(file)).unwrap();
    }
    let there = make(verbs, &other, &scratch.path().join("two"));
    for (name, bytes) in &here {
        assert!(there.get(name) == Some(bytes), "{name} differs");
    }
    here.len()
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn packages_of_a_stream_are_the_same_in_two_checkouts() {
    assert_eq!(compare_two_checkouts(&ALL[..2]), 6);
}

/// Compiles kpatch for each checkout, which takes more than a minute.
mod full_tier {
    #[test]
    #[ignore = "run by cargo xtask ci --tier full"]
    fn packages_of_kpatch_are_the_same_in_two_checkouts() {
        assert_eq!(super::compare_two_checkouts(&super::ALL[2..]), 2);
    }
}

/// Everything in a package: the file itself, and the content of the archives in it.
fn unpacked(dir: &Path, name: &str, bytes: &[u8]) -> Vec<u8> {
    let file = dir.join(name);
    fs::write(&file, bytes).unwrap();
    let tool = |name: &str, words: &[&str]| {
        assert!(
            find_program(name).is_some(),
            "could not check: {name} is missing; run `cargo xtask doctor --fix`"
        );
        Cmd::new(name).args(words).arg(&file).run().unwrap().stdout
    };
    let mut all = bytes.to_vec();
    if name.ends_with(".rpm") {
        // The status of rpm2cpio is 1 where the header has no size of the archive, as crate rpm writes it.
        let archive = Cmd::new("rpm2cpio").arg(&file).output().unwrap().stdout;
        assert!(archive.windows(10).any(|window| window == b"TRAILER!!!"), "{name} is not read to the end");
        all.extend(archive);
        all.extend(tool("rpm", &["-qp", "--xml"]));
    } else {
        all.extend(tool("dpkg-deb", &["--fsys-tarfile"]));
        all.extend(tool("dpkg-deb", &["--ctrl-tarfile"]));
    }
    all
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn packages_have_no_path_of_this_machine() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = klp_base::cache::Cache::from_env().unwrap();
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let places = [root(), cache.root().to_owned(), cargo, home.join(".rustup"), scratch.path().to_owned()];
    let has = |bytes: &[u8], place: &Path| {
        let place = place.to_str().unwrap().as_bytes();
        bytes.windows(place.len()).any(|window| window == place)
    };
    for (name, bytes) in make(&ALL, &root(), &scratch.path().join("out")) {
        let all = unpacked(scratch.path(), &name, &bytes);
        assert!(all.len() > bytes.len());
        for place in &places {
            assert!(!has(&all, place), "{name} has {}", place.display());
        }
        // What packages do have is found.
        assert!(has(&all, Path::new("Ferrograft")), "{name}");
    }
}

/// Findings of lintian and rpmlint that dist/README.md gives a reason for.
fn known_findings() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("dist/README.md")).unwrap();
    let table = text.split("## Findings").nth(1).unwrap();
    table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|row| {
            row.split('|').next().unwrap().split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|word| !word.trim().is_empty())
        .collect()
}

#[test]
#[ignore = "needs the pinned kernel, lintian and rpmlint; run by cargo xtask test"]
fn findings_of_lintian_and_rpmlint_have_a_reason() {
    let scratch = tempfile::tempdir().unwrap();
    make(&ALL, &root(), scratch.path());
    let files = |suffix: &str| klp_base::cache::walk(&scratch.path().join(suffix)).unwrap();
    let mut found = BTreeSet::new();
    for (program, suffix) in [("lintian", "deb"), ("rpmlint", "rpm")] {
        assert!(find_program(program).is_some(), "could not check: {program} is missing");
        let output = Cmd::new(program).args(files(suffix)).env("LC_ALL", "C").output().unwrap();
        let text = output.stdout_text();
        for line in text.lines() {
            // `E: package: tag ...` and `package.arch: E: tag ...`
            let Some((_, rest)) = line.split_once("E: ").or_else(|| line.split_once("W: ")) else { continue };
            let rest =
                if program == "lintian" { rest.split_once(": ").map_or(rest, |(_, tag)| tag) } else { rest };
            found.insert(rest.split_whitespace().next().unwrap().to_owned());
        }
        assert!(!found.is_empty(), "could not check: {program} said nothing\n{text}{}", output.stderr_text());
    }
    let known = known_findings();
    assert_eq!(found.difference(&known).collect::<Vec<_>>(), [""; 0], "not in dist/README.md");
    assert_eq!(known.difference(&found).collect::<Vec<_>>(), [""; 0], "in dist/README.md, and not found");
}

#[test]
fn wrong_arguments_are_explained() {
    for (words, message) in [
        (&["package", "no-such-stream"][..], "demo"),
        (&["package", "cmdline"], "`cmdline` is a single fix, and packages are made of streams"),
        (&["package", "cmdline", "--empty"], "is a single fix"),
        (&["package", "demo", "--format", "msi"], "there is no format \"msi\"; there are rpm and deb"),
        (&["package", "demo", "--kernel", "no-such-kernel"], "debian-6.12"),
        (&["package", "kpatch", "--empty"], "kpatch has no empty package"),
        (&["repo", "/tmp", "--phase", "0"], "1..=100"),
        (&["repo", "/tmp", "--yes"], "--prune"),
    ] {
        let said = refused(words);
        assert!(said.contains(message), "{words:?}: {said}");
    }
    let epoch =
        xtask(&["package", "demo", "--empty"]).env("SOURCE_DATE_EPOCH", "yesterday").output().unwrap();
    assert!(epoch.stderr_text().contains("SOURCE_DATE_EPOCH is \"yesterday\""), "{}", epoch.stderr_text());
}

#[test]
#[ignore = "needs the programs of repositories; run by cargo xtask test"]
fn repo_publishes_packages_and_prunes() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    let repo = scratch.path().join("repo").to_str().unwrap().to_owned();
    let out = out.to_str().unwrap();
    assert!(refused(&["repo", &repo, "--from", out]).contains("has no packages"));
    xtask(&["package", "demo", "--empty", "--out", out]).run().unwrap();
    let added = xtask(&["repo", &repo, "--from", out]).read().unwrap();
    assert_eq!(added.lines().filter(|line| line.starts_with("added ")).count(), 2, "{added}");
    let again = xtask(&["repo", &repo, "--from", out]).read().unwrap();
    assert_eq!(again.lines().filter(|line| line.starts_with("present ")).count(), 2, "{again}");
    assert_eq!(xtask(&["repo", &repo, "--prune"]).read().unwrap(), "");
    assert!(
        refused(&["repo", &repo, "--from", out, "--gpg-key", "nobody@example.org"])
            .contains("nobody@example.org")
    );
}
