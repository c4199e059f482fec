// SPDX-License-Identifier: GPL-2.0-or-later
//! Exit codes and messages of the verbs.

use std::path::{Path, PathBuf};

use klp_base::process::{Cmd, Output};

fn xtask(words: &[&str]) -> Output {
    Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(words).env_remove("RUST_BACKTRACE").output().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

#[test]
fn a_filter_that_selects_nothing_is_an_error() {
    let output = xtask(&["qemu-test", "no-such-case"]);
    let text = output.stderr_text();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no-such-case") && text.contains("cmdline"), "{text}");
}

#[test]
fn unknown_name_error_lists_valid_names() {
    for (words, known) in [
        (["build", "no-such-fix"].as_slice(), "cmdline"),
        (&["build", "cmdline", "--kernel", "no-such-kernel"], "debian-6.12"),
        (&["build", "cmdline", "--to", "no-such-stage"], "postlink"),
        (&["qemu-test", "--list", "--kernel", "no-such-kernel"], "debian-6.12"),
    ] {
        let output = xtask(words);
        let text = output.stderr_text();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(known), "{words:?}: {text}");
    }
}

#[test]
fn every_verb_has_help_with_an_example() {
    let help = xtask(&["--help"]).stdout_text();
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(verbs.len() >= 10, "{verbs:?}");
    for verb in verbs {
        let help = xtask(&[verb, "--help"]).stdout_text();
        assert!(help.contains(&format!("Example: cargo xtask {verb}")), "{verb}: {help}");
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn look_shows_a_function_a_pattern_a_file_and_what_it_cannot_tell() {
    let text = xtask(&["look", "version_proc_show"]).stdout_text();
    for line in ["prototype:      int version_proc_show(struct seq_file *m, void *v)", "replaceable:    yes"]
    {
        assert!(text.contains(line), "{text}");
    }
    let json = xtask(&["look", "ptrace_request", "--json"]).stdout_text();
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found[0]["symbol"], "vmlinux:ptrace_request");
    assert!(found[0]["callers"].as_array().unwrap().iter().any(|caller| caller["name"] == "arch_ptrace"));
    let listed = xtask(&["look", "ptrace_re*"]).stdout_text();
    assert!(listed.lines().any(|line| line == "vmlinux:ptrace_request"), "{listed}");
    let source = root().join("tests/modules/klp_around.c");
    let defined = xtask(&["look", &format!("klp_around:{}", source.display())]).stdout_text();
    assert!(defined.lines().any(|line| line.starts_with("klp_around:klp_around_")), "{defined}");
    for (asked, says) in [
        ("fs/no_such_file.c", "fs/no_such_file.c"),
        ("ptrace_reques", "similar names are ptrace_request"),
        ("no_such_*_name", "no function with a name like"),
    ] {
        let output = xtask(&["look", asked]);
        let text = output.stderr_text();
        assert!(!output.status.success() && text.contains(says), "{asked}: {text}");
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn new_patch_writes_nothing_for_an_unsupported_function() {
    let long = "a".repeat(49);
    for (name, function, says) in [
        ("refused-notrace", "vmlinux:klp_ftrace_handler", "it cannot be replaced"),
        ("refused-several", "vmlinux:start_show,5", "has 5 functions of that name"),
        ("refused-variadic", "vmlinux:seq_printf", "variable number of arguments"),
        ("refused-init", "vmlinux:start_kernel", "it cannot be replaced"),
        (long.as_str(), "vmlinux:cmdline_proc_show", "a fix's name has at most 48"),
        ("version_kernel", "vmlinux:cmdline_proc_show", "`version-kernel` is there already"),
        ("demo", "vmlinux:cmdline_proc_show", "`demo` is there already"),
    ] {
        let output = xtask(&["new-patch", name, "--patch", function]);
        let text = output.stderr_text();
        assert!(!output.status.success() && text.contains(says), "{name}: {text}");
        for dir in ["patches", "tests/cases"] {
            assert!(!root().join(dir).join(name).exists(), "{dir}/{name}");
        }
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn look_and_new_patch_take_a_module_that_is_not_the_kernels_own() {
    // The build of the fix for this module makes it.
    let built = xtask(&["build", "vendor-ring", "--to", "resolve"]);
    assert!(built.status.success(), "{}", built.stderr_text());
    let file = root().join("build/debian-6.12/.out-of-tree/vendor_ring.ko").display().to_string();
    let prototype = "int vendor_ring_fill(struct vendor_ring *ring, u64 bytes)";
    for asked in ["vendor_ring_fill", "vendor_ring:vendor_ring_fill"] {
        let text = xtask(&["look", asked, "--module", &file]).stdout_text();
        assert!(text.contains(prototype) && text.contains("replaceable:    yes"), "{text}");
    }
    let listed = xtask(&["look", "vendor_*", "--module", &file]).stdout_text();
    assert!(listed.lines().any(|line| line == "vendor_ring:vendor_ring_fill"), "{listed}");
    let source = root().join("tests/out-of-tree/vendor_ring.c").display().to_string();
    let defined = xtask(&["look", &source, "--module", &file]).stdout_text();
    assert!(defined.lines().any(|line| line == "vendor_ring:vendor_ring_fill"), "{defined}");

    let made = ["patches", "tests/cases"].map(|dir| root().join(dir).join("test-of-a-vendors-module"));
    let new = |function: &str, more: &[&str]| {
        let words = ["new-patch", "test-of-a-vendors-module", "--patch", function];
        let output = xtask(&[&words, more].concat());
        let read = |path: &str| std::fs::read_to_string(made[0].join(path)).unwrap_or_default();
        let texts = (read("patch.toml"), read("src/lib.rs"));
        made.iter().filter(|dir| dir.exists()).for_each(|dir| std::fs::remove_dir_all(dir).unwrap());
        (output, texts)
    };
    let (output, (toml, rust)) = new("vendor_ring:vendor_ring_fill", &["--module", &file]);
    assert!(output.status.success(), "{}", output.stderr_text());
    let line = "out_of_tree = { vendor_ring = \"../../build/{kernel}/.out-of-tree/vendor_ring.ko\" }";
    assert!(toml.lines().any(|found| found == line), "{toml}");
    assert!(rust.contains("(ring: *mut vendor_ring, bytes: u64) -> c_int"), "{rust}");

    for (function, more, says) in [
        ("vendor_ring:vendor_ring_fill", [].as_slice(), "vendor_ring"),
        ("loop:lo_open", &["--module", &file], "is module vendor_ring, and --patch names loop"),
        ("vendor_ring:vendor_ring_show_", &["--module", &file], "vendor_ring_show_"),
        ("vendor_ring:vendor_ring_fill", &["--module", &source], "vendor_ring.c"),
        ("vendor_ring:vendor_ring_fill", &["--module", "no/such/file.ko"], "no/such/file.ko"),
    ] {
        let (output, (toml, _)) = new(function, more);
        let text = output.stderr_text();
        assert!(!output.status.success() && text.contains(says) && toml.is_empty(), "{function}: {text}");
    }
}

mod with_guests {
    use super::{root, xtask};

    /// A guest that panics, a guest that hangs and a guest whose test fails.
    #[test]
    #[ignore = "needs the pinned kernel; run by cargo xtask test"]
    fn exit_codes_distinguish_panic_hang_and_failure() {
        let cases = root().join("tests/harness").display().to_string();
        for (case, code) in [("fails", 1), ("panics", 5), ("hangs", 6)] {
            let output = xtask(&["qemu-test", case, "--cases", &cases]);
            let text = output.stdout_text() + &output.stderr_text();
            assert_eq!(output.status.code(), Some(code), "{case}: {text}");
            assert!(
                text.contains(&format!("cargo xtask qemu-test {case} --kernel debian-6.12")),
                "{case}: {text}"
            );
            assert!(text.contains("0 passed, 1 failed"), "{case}: {text}");
        }
    }
}
