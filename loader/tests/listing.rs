// SPDX-License-Identifier: GPL-2.0-or-later
//! Read-only verbs `list`, `info`, `version`, `help`, and usage errors. Scripts depend on the messages.

use crate::support::{MODULE, Machine, RELEASE};

#[test]
fn list_of_an_empty_machine_has_two_headers() {
    let ran = Machine::new().run(&["list"]);
    assert_eq!(ran.out, "Loaded patch modules:\n\nInstalled patch modules:\n");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn list_works_on_a_kernel_without_live_patching() {
    let machine = Machine::new();
    machine.files.remove("/sys/kernel/livepatch");
    let ran = machine.run(&["list"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Loaded patch modules:\n\nInstalled patch modules:\n"));
}

#[test]
fn list_shows_all_states_and_kernels() {
    let machine = Machine::new();
    machine.files.patch("d_disabled", false, false);
    machine.files.patch("b_enabling", true, true);
    machine.files.patch("a_enabled", true, false);
    machine.install(RELEASE, "kpatch-6_12-1-1.ko");
    machine.install(RELEASE, "another.ko");
    machine.install("6.1.0-56-amd64", "old_one.ko");
    machine.files.write("/var/lib/kpatch/6.1.0-56-amd64/notes.txt", "");
    machine.files.write("/var/lib/kpatch/.previous-6.1.0-56-amd64:kept.ko", "");
    machine.files.write("/var/lib/kpatch/stray.ko", "");
    let ran = machine.run(&["list"]);
    assert_eq!(
        ran.out,
        format!(
            "Loaded patch modules:
a_enabled [enabled]
b_enabling [enabling...]
d_disabled [disabled]

Installed patch modules:
old_one (6.1.0-56-amd64)
another ({RELEASE})
kpatch_6_12_1_1 ({RELEASE})
"
        )
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn list_shows_stalled_processes() {
    let machine = Machine::new();
    machine.files.patch("fix", false, true);
    machine.files.task(1, 1, "init", "0", "");
    machine.files.task(20, 20, "idle", "-1", "");
    machine.files.task(3, 3, "sleeper one", "1", "[<0>] a+0x1/0x2\n[<0>] b+0x1/0x2\n");
    machine.files.task(3, 4, "thread", "1", "[<0>] c+0x1/0x2\n");
    machine.files.task(10, 10, "last", "1", "");
    machine.files.write("/proc/5/task/.keep", "");
    let ran = machine.run(&["list"]);
    assert_eq!(
        ran.out,
        "Loaded patch modules:
fix [disabling...]

Stalled processes:
3 sleeper one
stack:
[<0>] a+0x1/0x2
[<0>] b+0x1/0x2
4 thread
stack:
[<0>] c+0x1/0x2
10 last
stack:

Installed patch modules:
"
    );
}

#[test]
fn list_skips_patches_and_tasks_that_vanish() {
    let machine = Machine::new();
    machine.files.write("/sys/kernel/livepatch/going/force", "");
    machine.files.patch("fix", true, true);
    machine.files.write("/proc/7/task/7/patch_state", "0\n");
    let ran = machine.run(&["list"]);
    assert_eq!(ran.out, "Loaded patch modules:\nfix [enabling...]\n\nInstalled patch modules:\n");
    assert_eq!(ran.code, 0);
}

#[test]
fn list_shows_the_top_patch_on_kernels_with_stack_order() {
    let machine = Machine::new();
    for (patch, order, functions) in [
        ("lower", "1", &["vmlinux/version_show,1", "vmlinux/version_show,2"][..]),
        ("upper_patch", "2", &["vmlinux/version_show,2", "ext4/open,1"]),
        ("off", "3", &["vmlinux/version_show,1"]),
    ] {
        machine.files.patch(patch, patch != "off", false);
        let directory = format!("/sys/kernel/livepatch/{patch}");
        machine.files.write(&format!("{directory}/stack_order"), format!("{order}\n"));
        for function in functions {
            machine.files.write(&format!("{directory}/{function}/.keep"), "");
            let object = function.split('/').next().unwrap();
            machine.files.write(&format!("{directory}/{object}/patched"), "1\n");
        }
    }
    let ran = machine.run(&["list"]);
    let block = ran.out.split("Installed patch modules:\n").nth(1).unwrap();
    assert_eq!(
        block,
        "
Currently livepatched functions:
Module       Object   Function/Occurrence
upper_patch  ext4     open,1
lower        vmlinux  version_show,1
upper_patch  vmlinux  version_show,2
"
    );
}

#[test]
fn info_has_the_form_of_modinfo() {
    let machine = Machine::new();
    machine.install(RELEASE, "cmdline-c.ko");
    for argument in ["cmdline_c", "cmdline-c", "cmdline-c.ko", "cmdline_c.ko"] {
        let ran = machine.run(&["info", argument]);
        assert_eq!(
            ran.out,
            format!(
                "Patch information for {argument}:
filename:       /var/lib/kpatch/{RELEASE}/cmdline-c.ko
livepatch:      Y
description:    kpatch test data
license:        GPL
depends:{space}
name:           cmdline_c
retpoline:      Y
vermagic:       {RELEASE} SMP preempt mod_unload modversions{blank}
",
                space = " ".repeat(8),
                blank = " ",
            )
        );
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    }
    let path = machine.file("x.ko", MODULE);
    assert!(machine.run(&["info", &path]).out.contains("filename:       /tmp/x.ko\n"));
}

#[test]
fn info_and_load_report_missing_files() {
    let machine = Machine::new();
    machine.install("6.1.0-56-amd64", "other_kernel.ko");
    for verb in ["info", "load"] {
        for argument in ["nothing", "/nothing.ko", "./nothing.ko", "other_kernel"] {
            let ran = machine.run(&[verb, argument]);
            assert_eq!((ran.code, ran.err), (3, format!("kpatch: can't find {argument}\n")));
            assert_eq!(ran.out, "");
        }
    }
    let path = machine.file("text.ko", b"hello");
    let ran = machine.run(&["info", &path]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.starts_with("kpatch: /tmp/text.ko cannot be loaded: this is no ELF file"), "{}", ran.err);
}

#[test]
fn version_and_help() {
    let machine = Machine::new();
    let ran = machine.run(&["version"]);
    assert_eq!((ran.code, ran.out), (0, format!("{}\n", env!("CARGO_PKG_VERSION"))));
    for argument in ["help", "--help", "-h"] {
        let ran = machine.run(&[argument]);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""));
        assert!(ran.err.starts_with("usage: kpatch <command> [<args>]\n"));
    }
    for verb in ["load", "unload", "list", "info", "version"] {
        let ran = machine.run(&[verb, "--help"]);
        assert_eq!(ran.code, 0);
        assert!(ran.err.contains("Example: kpatch "), "{}", ran.err);
    }
}

#[test]
fn wrong_usage_exits_2() {
    let machine = Machine::new();
    let unknown = machine.run(&["patch"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (2, "subcommand patch not recognized\n"));
    assert!(unknown.err.starts_with("usage: kpatch "));
    assert!(machine.run(&[]).err.starts_with("usage: kpatch "));
    let wrong: &[&[&str]] = &[
        &[],
        &["load"],
        &["load", "a", "b"],
        &["load", "--all", "a"],
        &["load", "--al"],
        &["unload"],
        &["list", "x"],
        &["info"],
        &["version", "x"],
    ];
    for arguments in wrong {
        let ran = machine.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.err.contains("usage: kpatch "), "{arguments:?}");
    }
    assert!(machine.calls().is_empty());
}

#[test]
fn a_closed_output_is_an_error() {
    let (code, err) = Machine::new().run_closed(&["list"]);
    assert_eq!((code, err.as_str()), (1, "kpatch: cannot write the output: broken pipe\n"));
}
