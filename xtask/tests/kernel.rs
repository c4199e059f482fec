// SPDX-License-Identifier: GPL-2.0-or-later
//! Failures while a pinned kernel is fetched: one clear error, and no incomplete cache entry.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use klp_base::process::{Cmd, Output};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A project with one kernel: the default kernel with a changed `kernel.toml`.
fn project(change: impl Fn(String) -> String) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("kernel-configs/debian-6.12");
    fs::create_dir_all(&kernel).unwrap();
    let text = fs::read_to_string(root().join("kernel-configs/debian-6.12/kernel.toml")).unwrap();
    fs::write(kernel.join("kernel.toml"), change(text)).unwrap();
    dir
}

/// Replaces the image package of 100 MB, which is fetched first, by the smallest package.
fn small_image(text: &str) -> String {
    let kbuild = text.split("[packages.kbuild]").nth(1).unwrap().split("[packages.").next().unwrap();
    let head = text.split("[packages.image]").next().unwrap();
    let tail = text.split("[packages.headers]").nth(1).unwrap();
    format!("{head}[packages.image]{kbuild}\n[packages.headers]{tail}")
}

fn fetch(project: &Path, cache: &Path) -> Cmd {
    Cmd::new(XTASK)
        .args(["kernel", "fetch"])
        .env("FERROGRAFT_PROJECT", project)
        .env("FERROGRAFT_CACHE", cache)
        .env_remove("RUST_BACKTRACE")
}

/// The error message, after a check that no cache entry remains.
fn refused(output: &Output, cache: &Path, code: i32) -> String {
    let text = output.stderr_text();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.matches("error:").count(), 1, "one clear error:\n{text}");
    let kernels = cache.join("kernel");
    let left: Vec<_> = fs::read_dir(&kernels)
        .map(|dir| dir.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    assert!(left.iter().all(|name| name.ends_with(".lock")), "left behind: {left:?}");
    text
}

#[test]
#[ignore = "needs the archive; run by cargo xtask test"]
fn a_package_with_another_hash_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let project = project(|text| {
        let text = small_image(&text);
        let at = text.find("sha256 = \"").unwrap() + 10;
        format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..])
    });
    let text = refused(&fetch(project.path(), cache.path()).output().unwrap(), cache.path(), 1);
    assert!(text.contains(&"0".repeat(64)) && text.contains("linux-kbuild-"), "{text}");
}

#[test]
#[ignore = "needs the archive; run by cargo xtask test"]
fn missing_version_error_names_the_newest_version_and_repin() {
    let cache = tempfile::tempdir().unwrap();
    let project = project(|text| {
        text.replace("6.12.117+deb12", "6.12.1+deb12").replace("6.12.117-1~deb12u1", "6.12.1-1~deb12u1")
    });
    let text = refused(&fetch(project.path(), cache.path()).output().unwrap(), cache.path(), 69);
    assert!(text.contains("linux-image-6.12.1+deb12-amd64 6.12.1-1~deb12u1 is gone"), "{text}");
    assert!(text.contains("linux-image-6.12.") && text.contains("as the newest"), "{text}");
    assert!(text.contains("cargo xtask kernel repin"), "{text}");
}

#[test]
#[ignore = "needs apt; run by cargo xtask test"]
fn missing_network_is_reported() {
    let cache = tempfile::tempdir().unwrap();
    let project = project(|text| text);
    let nowhere = "http://127.0.0.1:9";
    let cmd = fetch(project.path(), cache.path()).env("http_proxy", nowhere).env("https_proxy", nowhere);
    let text = refused(&cmd.output().unwrap(), cache.path(), 69);
    assert!(text.contains("check the network"), "{text}");
}

#[test]
#[ignore = "needs the archive; run by cargo xtask test"]
fn full_disk_is_reported_and_leaves_no_entry() {
    let project = project(|text| text);
    let cache = tempfile::tempdir().unwrap();
    // Disk space for the smallest package only, in a separate mount namespace.
    let script = format!(
        "mount -t tmpfs -o size=8m none {0} && {1} kernel fetch; code=$?; find {0} -name 'debian*' ! -name '*.lock' ; exit $code",
        cache.path().display(),
        XTASK
    );
    let output = Cmd::new("unshare")
        .args(["-r", "-m", "sh", "-c", &script])
        .env("FERROGRAFT_PROJECT", project.path())
        .env("FERROGRAFT_CACHE", cache.path())
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let text = refused(&output, cache.path(), 69);
    assert!(text.contains("space"), "{text}");
    assert_eq!(output.stdout_text(), "", "left behind");
}

#[test]
#[ignore = "needs the archive; run by cargo xtask test"]
fn concurrent_and_killed_fetches_leave_one_complete_entry() {
    let cache = tempfile::tempdir().unwrap();
    let project = project(|text| text);
    let mut killed = fetch(project.path(), cache.path()).spawn().unwrap();
    let kernels = cache.path().join("kernel");
    let making = || {
        fs::read_dir(&kernels).is_ok_and(|mut dir| {
            dir.any(|entry| entry.unwrap().file_name().to_string_lossy().ends_with(".making"))
        })
    };
    while !making() && killed.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(making(), "the fetch did not begin");
    killed.kill();
    killed.wait().unwrap();
    let both = std::thread::scope(|scope| {
        let run = || fetch(project.path(), cache.path()).run().unwrap().stdout_text();
        let one = scope.spawn(run);
        (run(), one.join().unwrap())
    });
    assert_eq!(both.0, both.1);
    let verify =
        Cmd::new(XTASK).args(["cache", "verify"]).env("FERROGRAFT_CACHE", cache.path()).run().unwrap();
    assert_eq!(verify.stdout_text().matches("ok ").count(), 1, "{}", verify.stdout_text());
}
