// SPDX-License-Identifier: GPL-2.0-or-later
//! Installations by the verbs, and the checkout that the verbs use.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use klp_base::process::{Cmd, Output, find_program};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A `PATH` with one directory that contains every program of this machine except those that `left_out`
/// selects.
fn path_without(dir: &Path, left_out: impl Fn(&str) -> bool) -> PathBuf {
    let bin = dir.join("bin");
    fs::create_dir(&bin).unwrap();
    for from in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
        for entry in fs::read_dir(&from).into_iter().flatten().map(Result::unwrap) {
            let name = entry.file_name();
            let to = bin.join(&name);
            if !left_out(&name.to_string_lossy()) && fs::symlink_metadata(&to).is_err() {
                symlink(entry.path(), to).unwrap();
            }
        }
    }
    bin
}

fn script(file: &Path, text: &str) {
    let _ = fs::remove_file(file);
    fs::write(file, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

fn xtask(path: &Path, words: &[&str]) -> Output {
    Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(words).env("PATH", path).output().unwrap()
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn build_does_not_require_tools_of_guests_and_tests() {
    let scratch = tempfile::tempdir().unwrap();
    let bin = path_without(scratch.path(), |name| {
        name.starts_with("qemu-") || ["busybox", "pahole", "strace", "apt-get"].contains(&name)
    });
    let asked = scratch.path().join("asked");
    script(&bin.join("apt-get"), &format!("echo \"$@\" >> {}\nexit 100\n", asked.display()));
    let output = xtask(&bin, &["build", "cmdline"]);
    assert!(output.status.success(), "{}", output.stderr_text());
    assert!(!asked.exists(), "apt-get was called: {}", fs::read_to_string(&asked).unwrap());
    // Counter-check: a verb that boots a guest requires QEMU.
    let output = xtask(&bin, &["qemu-test", "cmdline"]);
    assert_eq!(output.status.code(), Some(69), "{}", output.stderr_text());
    assert!(fs::read_to_string(&asked).unwrap().contains("qemu-system-x86"));
}

/// `rustup toolchain install` does not change an existing toolchain, so each component must be installed by
/// its name.
#[test]
fn toolchain_components_are_installed_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let real = Cmd::new("rustc").args(["--print", "sysroot"]).cwd(root()).read().unwrap();
    // The same toolchain without the source of core and without musl's libraries.
    let sysroot = scratch.path().join("sysroot");
    fs::create_dir_all(sysroot.join("lib/rustlib")).unwrap();
    symlink(Path::new(&real).join("bin"), sysroot.join("bin")).unwrap();
    let bin = path_without(scratch.path(), |name| ["rustc", "rustup", "apt-get"].contains(&name));
    let rustc = find_program("rustc").unwrap();
    script(
        &bin.join("rustc"),
        &format!(
            "[ \"$*\" = '--print sysroot' ] && {{ echo {}; exit; }}\nexec {} \"$@\"\n",
            sysroot.display(),
            rustc.display()
        ),
    );
    let asked = scratch.path().join("asked");
    let rustlib = sysroot.join("lib/rustlib");
    script(
        &bin.join("rustup"),
        &format!(
            "echo \"$@\" >> {}\ncase \"$*\" in\n'component add rust-src') mkdir -p {rustlib}/src/rust/library/core/src; : > {rustlib}/src/rust/library/core/src/lib.rs ;;\n\
             'target add '*) mkdir -p {rustlib}/$3/lib ;;\nesac\n",
            asked.display(),
            rustlib = rustlib.display()
        ),
    );
    script(&bin.join("apt-get"), "exit 100\n");
    // The cache is empty, so it contains no source of core. The verb then fails because it cannot fetch the
    // kernel.
    let cache = scratch.path().join("cache");
    let verb = |words: &[&str]| {
        let cmd = Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(words).env("PATH", &bin);
        cmd.env("FERROGRAFT_CACHE", &cache).output().unwrap()
    };
    let output = verb(&["qemu-test", "cmdline"]);
    let asked = fs::read_to_string(&asked).unwrap_or_else(|_| panic!("{}", output.stderr_text()));
    assert_eq!(asked, "component add rust-src\ntarget add x86_64-unknown-linux-musl\n");
    let text = verb(&["doctor"]).stdout_text();
    assert!(text.contains("ok       Rust with the source of core"), "{text}");
    assert!(text.contains("built for x86_64-unknown-linux-musl"), "{text}");
}

#[test]
fn verb_uses_the_checkout_of_its_cargo_run() {
    let scratch = tempfile::tempdir().unwrap();
    let other = scratch.path().join("other");
    for dir in ["xtask", "kernel-configs/debian-6.1"] {
        fs::create_dir_all(other.join(dir)).unwrap();
    }
    for file in ["xtask/Cargo.toml", "kernel-configs/debian-6.1/kernel.toml"] {
        fs::copy(root().join(file), other.join(file)).unwrap();
    }
    let list = |dir: PathBuf| {
        let listed =
            Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(["kernel", "list"]).env("CARGO_MANIFEST_DIR", dir);
        listed.read().unwrap().lines().count()
    };
    assert!(list(root().join("xtask")) >= 5);
    assert_eq!(list(other.join("xtask")), 1);
    // The directory of another package, which its tests pass on, is not used as the checkout.
    assert!(list(root().join("pipeline")) >= 5);
}

/// Cargo cannot distinguish checkouts that share a target directory; see `.cargo/config.toml`.
#[test]
fn every_crate_is_compiled_separately_for_each_checkout() {
    let metadata = Cmd::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .cwd(root())
        .read()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() >= 8);
    for package in packages {
        let dir = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let local = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .any(|dependency| dependency["path"].is_string() && dependency["kind"].is_null());
        let marked = fs::read_to_string(dir.join("src/lib.rs"))
            .is_ok_and(|text| text.contains("option_env!(\"FERROGRAFT_CHECKOUT\")"));
        assert!(
            local || marked,
            "{} neither reads FERROGRAFT_CHECKOUT nor stands on a crate that does",
            package["name"]
        );
    }
    let config = fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
    assert!(config.contains("FERROGRAFT_CHECKOUT = { value = \"\", relative = true, force = true }"));
    // The first compilation takes minutes on a fresh machine, and its progress must be visible from the
    // start.
    assert!(config.contains("xtask = \"run --package xtask --\""), "{config}");
}

/// `.ci/run` with a cargo that prints where it runs.
#[test]
fn ci_runs_a_commit_in_one_place_and_a_changed_checkout_where_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let (bin, clone, cache) =
        (scratch.path().join("bin"), scratch.path().join("clone"), scratch.path().join("cache"));
    for dir in [&bin, &clone.join(".ci")] {
        fs::create_dir_all(dir).unwrap();
    }
    script(&bin.join("cargo"), "pwd\ncat file\nls\necho left behind > left\n");
    let git = |words: &[&str]| Cmd::new("git").args(words).cwd(&clone).run().unwrap();
    let commit = |text: &str| {
        fs::write(clone.join("file"), text).unwrap();
        git(&["add", "--all"]);
        git(&["-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message", text]);
    };
    fs::copy(root().join(".ci/run"), clone.join(".ci/run")).unwrap();
    git(&["init", "--quiet"]);
    let usual = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&usual))).unwrap();
    let run = |here: &str| {
        let cmd =
            Cmd::new("bash").arg(clone.join(".ci/run")).env("PATH", &path).env("FERROGRAFT_CI_HERE", here);
        cmd.env("FERROGRAFT_CACHE", &cache).read().unwrap()
    };
    let place = cache.join("checkout").display().to_string();
    commit("first");
    let said = run("");
    assert!(said.contains(&place) && said.contains("first") && !said.contains("left"), "{said}");
    commit("second");
    let said = run("");
    assert!(said.contains(&place) && said.contains("second"), "{said}");
    assert!(!said.contains("left"), "a file that git does not know is still there: {said}");
    assert!(!run("1").contains(&place));
    git(&["clean", "--quiet", "-fdx"]);
    fs::write(clone.join("file"), "changed").unwrap();
    let said = run("");
    assert!(!said.contains(&place) && said.contains("changed"), "{said}");
}

#[test]
fn path_with_special_characters_of_make_is_rejected_before_any_work() {
    let scratch = tempfile::tempdir().unwrap();
    let checkout = scratch.path().join("my checkout");
    fs::create_dir_all(&checkout).unwrap();
    for dir in ["kernel-configs", "patches", "kmod"] {
        symlink(root().join(dir), checkout.join(dir)).unwrap();
    }
    let run = |project: &Path, cache: &Path| {
        let cmd = Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(["build", "cmdline"]);
        cmd.env("FERROGRAFT_PROJECT", project).env("FERROGRAFT_CACHE", cache).output().unwrap()
    };
    let output = run(&checkout, &scratch.path().join("cache"));
    let text = output.stderr_text();
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("my checkout") && text.contains("move the checkout"), "{text}");
    let output = run(&root(), &scratch.path().join("my cache"));
    let text = output.stderr_text();
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("my cache") && text.contains("FERROGRAFT_CACHE"), "{text}");
    assert!(!checkout.join("build").exists() && !scratch.path().join("my cache/kernel").exists());
}
