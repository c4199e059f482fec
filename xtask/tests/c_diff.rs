// SPDX-License-Identifier: GPL-2.0-or-later
//! The verbs of C diffs: a full disk, and the long name of a diff.

use std::fs;
use std::path::{Path, PathBuf};

use klp_base::cache::Cache;
use klp_base::process::{Cmd, Output};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");
const DIFF: &str = "tests/fixes/diff-ptrace/fix.patch";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A cache in which the kinds `own` are new, in a file system of this size, and all others are the user's. Prints what is left in
/// `own` after the words of xtask.
fn on_small_disk(size: &str, own: &[&str], words: &str) -> Output {
    let (user, dir) = (Cache::from_env().unwrap(), tempfile::tempdir().unwrap());
    let mut script =
        format!("mount -t tmpfs -o size={size} none {0} && cd {0} || exit 99\n", dir.path().display());
    for kind in fs::read_dir(user.root()).unwrap().map(|entry| entry.unwrap()) {
        let name = kind.file_name().into_string().unwrap();
        if kind.path().is_dir() && !own.contains(&name.as_str()) {
            script += &format!("ln -s {} {name}\n", kind.path().display());
        }
    }
    script += &format!("cd {}; {XTASK} {words}; code=$?\n", root().display());
    script += &format!("find {} -type f ! -name '*.lock' >&1; exit $code", dir.path().display());
    let project = root();
    Cmd::new("unshare")
        .args(["-r", "-m", "sh", "-c", &script])
        .env("FERROGRAFT_PROJECT", project)
        .env("FERROGRAFT_CACHE", dir.path())
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn full_disk_is_reported_and_leaves_no_entry() {
    let (sizes, mut failed) = (["16k", "64k", "100k", "128k"], 0);
    // The source itself has no place; then the compiler's objects or the result have none.
    let objects = sizes.map(|size| (size, ["c-object", "c-diff"]));
    for (size, own) in [("64m", ["c-source", "c-diff"])].into_iter().chain(objects) {
        let output = on_small_disk(size, &own, &format!("cdiff {DIFF} --kernel debian-6.12-old"));
        let text = output.stderr_text();
        if output.status.success() {
            continue;
        }
        failed += 1;
        assert_eq!(text.matches("error:").count(), 1, "{size}: one clear error:\n{text}");
        assert!(text.contains("space") && !text.contains("does not compile"), "{size}: {text}");
        let left = output.stdout_text();
        let left: Vec<&str> =
            left.lines().filter(|line| own.iter().any(|kind| line.contains(kind))).collect();
        // A stored object of the compiler is complete, and no fault.
        let faults = left.iter().filter(|line| !line.contains("/c-object/"));
        assert_eq!(faults.count(), 0, "{size}: left behind: {left:?}");
    }
    assert!(failed >= 3, "{failed} of {} disks were full", sizes.len() + 1);
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_diff_may_have_a_name_that_no_module_can_have() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join(format!("0001-{}.patch", "a-name-as-git-gives-it-".repeat(4)));
    fs::copy(root().join(DIFF), &long).unwrap();
    let cmd = Cmd::new(XTASK).arg("cdiff").arg(&long).args(["--kernel", "debian-6.12-old"]);
    let output = cmd.env("FERROGRAFT_PROJECT", root()).env_remove("RUST_BACKTRACE").output().unwrap();
    assert!(output.status.success(), "{}", output.stderr_text());
    assert!(output.stdout_text().contains("vmlinux:ptrace_request"), "{}", output.stdout_text());
}
