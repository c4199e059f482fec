// SPDX-License-Identifier: GPL-2.0-or-later
//! Reproducible builds: the same sources give the same bytes, independent of paths, cache location and user.

use std::fs;
use std::path::{Path, PathBuf};

use klp_base::cache::Cache;
use klp_base::process::Cmd;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Copies the sources of a module to another directory, and builds there. Returns the module and the lines of the stages.
fn build(dir: &Path, cache: &Path, home: &Path, user: &str, zone: &str) -> (Vec<u8>, String) {
    fs::create_dir_all(dir.join("tests")).unwrap();
    fs::create_dir_all(home).unwrap();
    for part in ["kernel-configs", "kmod", "patches", "tests/fixes", "tests/streams"] {
        Cmd::new("cp").arg("-a").args([root().join(part), dir.join(part)]).run().unwrap();
    }
    rebuild(dir, cache, home, user, zone)
}

fn rebuild(dir: &Path, cache: &Path, home: &Path, user: &str, zone: &str) -> (Vec<u8>, String) {
    let original_home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let out = dir.join("out");
    let output = Cmd::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["build", "demo", "--out"])
        .arg(&out)
        .cwd(home)
        .env("FERROGRAFT_PROJECT", dir)
        .env("FERROGRAFT_CACHE", cache)
        .env("HOME", home)
        .env("USER", user)
        .env("LOGNAME", user)
        .env("TZ", zone)
        .env(
            "RUSTUP_HOME",
            std::env::var_os("RUSTUP_HOME").map_or_else(|| original_home.join(".rustup"), PathBuf::from),
        )
        .env(
            "CARGO_HOME",
            std::env::var_os("CARGO_HOME").map_or_else(|| original_home.join(".cargo"), PathBuf::from),
        )
        .env("RUSTUP_TOOLCHAIN", "1.95.0")
        .run()
        .unwrap();
    let module = klp_base::cache::walk(&out)
        .unwrap()
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "ko"));
    (fs::read(module.expect("a module")).unwrap(), output.stderr_text())
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn two_directories_two_homes_and_a_moved_cache_give_the_same_module() {
    let scratch = tempfile::tempdir().unwrap();
    let users_cache = Cache::from_env().unwrap();
    Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(["kernel", "fetch"]).run().unwrap();
    // Only the kernel is copied to the other cache; everything else is built there again.
    let moved = scratch.path().join("another/place/for/the/cache");
    fs::create_dir_all(&moved).unwrap();
    Cmd::new("cp").arg("-a").args([users_cache.root().join("kernel"), moved.join("kernel")]).run().unwrap();

    let near = scratch.path().join("a");
    let far = scratch.path().join("b/much/deeper/checkout");
    let (one, _) = build(&near, users_cache.root(), &scratch.path().join("home-one"), "one", "UTC");
    let (two, stages) = build(&far, &moved, &scratch.path().join("the/home/of/two"), "two", "Asia/Tokyo");
    assert!(one == two, "the two modules differ");
    assert!(!stages.contains("(cached)"), "the second build is not independent of the first:\n{stages}");
    let third = scratch.path().join("c");
    let (three, stages) = build(&third, &moved, &scratch.path().join("home-three"), "three", "UTC");
    assert_eq!(stages.matches("(cached)").count(), 2, "{stages}");
    assert!(two == three, "the module from the cache differs");
    let source = third.join("kmod/src/lib.rs");
    fs::write(&source, fs::read_to_string(&source).unwrap() + "\n// Changed.\n").unwrap();
    let (_, stages) = rebuild(&third, &moved, &scratch.path().join("home-three"), "three", "UTC");
    assert!(
        !stages.contains("compile      demo (cached)"),
        "a changed source takes the old result:\n{stages}"
    );
    for place in [scratch.path(), users_cache.root(), &root()] {
        let place = place.to_str().unwrap().as_bytes();
        assert!(
            !one.windows(place.len()).any(|window| window == place),
            "a path of this machine is in the module"
        );
    }
}
