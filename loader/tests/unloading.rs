// SPDX-License-Identifier: GPL-2.0-or-later
//! `unload`: messages, calls to the kernel, and errors.

use std::time::Duration;

use rustix::io::Errno;

use crate::support::{MODULE, Machine, RELEASE};

const WAITING: &str = "waiting (up to 15 seconds) for patch transition to complete...\n";

#[test]
fn unload_disables_the_patch_and_removes_the_module() {
    for argument in ["a_fix", "a-fix", "a-fix.ko", "/somewhere/a-fix.ko"] {
        let machine = Machine::new();
        machine.files.patch("a_fix", true, false);
        machine.after(Duration::from_millis(3), |files| {
            assert_eq!(files.read("/sys/kernel/livepatch/a_fix/enabled"), "0");
            files.disabled("a_fix");
        });
        let ran = machine.run(&["unload", argument]);
        assert_eq!(ran.out, "disabling patch module: a_fix\nunloading patch module: a_fix\n");
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert_eq!(machine.calls(), ["remove a_fix"]);
        assert!(machine.waited() < Duration::from_millis(20));
    }
}

#[test]
fn unload_waits_for_the_transition() {
    let machine = Machine::new();
    machine.files.patch("fix", true, true);
    machine.after(Duration::from_millis(2500), |files| files.disabled("fix"));
    let ran = machine.run(&["unload", "fix"]);
    let expected = format!(
        "disabling patch module: fix\n{WAITING}transition complete (2 seconds)\nunloading patch module: fix\n"
    );
    assert_eq!((ran.code, ran.out), (0, expected));
}

#[test]
fn unload_waits_for_a_patch_that_is_being_disabled() {
    let machine = Machine::new();
    machine.files.patch("fix", false, true);
    machine.after(Duration::from_millis(10), |files| files.disabled("fix"));
    let ran = machine.run(&["unload", "fix"]);
    assert_eq!(ran.out, format!("{WAITING}transition complete (0 seconds)\nunloading patch module: fix\n"));
}

#[test]
fn unload_fails_if_another_program_enables_the_patch() {
    let machine = Machine::new();
    machine.files.patch("fix", true, true);
    machine.after(Duration::from_millis(5), |files| files.patch("fix", true, false));
    let ran = machine.run(&["unload", "fix"]);
    assert_eq!((ran.code, machine.calls().len()), (1, 0));
    assert!(ran.err.starts_with("kpatch: module fix is enabled again after its transition: "), "{}", ran.err);
}

#[test]
fn unload_removes_a_replaced_patch() {
    let machine = Machine::new();
    machine.files.module("old_fix", "0");
    let ran = machine.run(&["unload", "old-fix"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "unloading patch module: old_fix\n"));
    assert_eq!(ran.err, "");
    assert_eq!(machine.calls(), ["remove old_fix"]);
    assert!(!machine.files.exists("/sys/module/old_fix"));
}

/// A renamed file loads under the module name in its content.
#[test]
fn unload_takes_the_module_name_from_the_file() {
    for (file, bytes) in [
        ("renamed.ko", MODULE),
        ("renamed.ko.gz", include_bytes!("../../crates/klp-module/tests/data/cmdline_c.ko.gz")),
        ("renamed.ko.xz", include_bytes!("../../crates/klp-module/tests/data/cmdline_c.ko.xz")),
        ("renamed.ko.zst", include_bytes!("../../crates/klp-module/tests/data/cmdline_c.ko.zst")),
    ] {
        let machine = Machine::new();
        let path = machine.file(file, bytes);
        assert_eq!(machine.run(&["load", &path]).code, 0);
        machine.after(Duration::from_millis(3), |files| files.disabled("cmdline_c"));
        let ran = machine.run(&["unload", &path]);
        assert_eq!(
            ran.out, "disabling patch module: cmdline_c\nunloading patch module: cmdline_c\n",
            "{file}"
        );
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert_eq!(machine.calls(), ["insert", "remove cmdline_c"]);
    }
}

#[test]
fn unload_accepts_the_name_of_an_installed_file() {
    for argument in ["some-name", "some_name", "some-name.ko", "cmdline_c", "cmdline-c"] {
        let machine = Machine::new();
        machine.install(RELEASE, "some-name.ko");
        machine.files.patch("cmdline_c", true, false);
        machine.after(Duration::from_millis(3), |files| files.disabled("cmdline_c"));
        let ran = machine.run(&["unload", argument]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{argument}");
        assert_eq!(machine.calls(), ["remove cmdline_c"]);
    }
    // A loaded module of that name takes precedence.
    let machine = Machine::new();
    machine.install(RELEASE, "some-name.ko");
    machine.files.module("some_name", "0");
    machine.files.patch("cmdline_c", true, false);
    assert_eq!(machine.run(&["unload", "some-name"]).code, 0);
    assert_eq!(machine.calls(), ["remove some_name"]);
}

#[test]
fn unload_derives_the_name_of_an_unreadable_file_and_warns() {
    let machine = Machine::new();
    let path = machine.file("a-fix.ko", b"garbage");
    machine.files.module("a_fix", "0");
    let ran = machine.run(&["unload", &path]);
    assert_eq!((ran.code, machine.calls()), (0, vec!["remove a_fix".to_owned()]));
    assert!(
        ran.err.starts_with(
            "kpatch: the module's name is taken from the file's name, a_fix: /tmp/a-fix.ko cannot"
        ),
        "{}",
        ran.err
    );
}

#[test]
fn unload_refuses_modules_that_are_no_loaded_patch() {
    let machine = Machine::new();
    let ran = machine.run(&["unload", "nothing-here"]);
    assert_eq!(
        ran.err,
        "kpatch: patch module nothing_here is not loaded\nkpatch: failed to disable module nothing_here\n"
    );
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));

    machine.files.write("/sys/module/ext4/refcnt", "0\n");
    machine.files.write("/sys/module/ext4/taint", "\n");
    let ran = machine.run(&["unload", "ext4"]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("a module of that name is loaded that is not a live patch"), "{}", ran.err);
    for wrong in ["..", "a b", "a/../.."] {
        assert_eq!(machine.run(&["unload", wrong]).code, 3, "{wrong:?}");
    }
    assert!(machine.calls().is_empty());
}

#[test]
fn stalled_unload_is_reported_and_not_reversed() {
    let machine = Machine::new();
    machine.files.patch("fix", true, true);
    machine.files.task(7, 8, "sleeper", "1", "[<0>] patched+0x1/0x2\n");
    let ran = machine.run(&["unload", "fix"]);
    assert_eq!(
        ran.out,
        format!(
            "disabling patch module: fix
{WAITING}patch transition has stalled!
waiting (up to 60 seconds) for patch transition to complete...

Stalled processes:
8 sleeper
stack:
[<0>] patched+0x1/0x2
"
        )
    );
    assert!(
        ran.err.contains(
            "kpatch: transition stalled for fix
kpatch: failed to disable module fix
  the kernel goes on with the transition: "
        ),
        "{}",
        ran.err
    );
    assert_eq!(ran.code, 6);
    assert!(machine.calls().is_empty());
    assert_eq!(machine.waited(), Duration::from_secs(75));
}

#[test]
fn unload_waits_for_users_and_then_keeps_the_module() {
    let machine = Machine::new();
    machine.files.module("fix", "2");
    let ran = machine.run(&["unload", "fix"]);
    assert_eq!((ran.code, ran.out.as_str()), (7, ""));
    assert!(ran.err.contains("stays in use (2 references)"), "{}", ran.err);
    assert_eq!(machine.waited(), Duration::from_secs(15));
    assert!(machine.calls().is_empty());
}

#[test]
fn unload_repeats_a_removal_that_the_kernel_refuses() {
    let machine = Machine::new();
    machine.files.module("fix", "0");
    let mut answers = vec![Ok(()), Err(Errno::AGAIN), Err(Errno::BUSY)];
    machine.on_remove(move |_| answers.pop().unwrap());
    let ran = machine.run(&["unload", "fix"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "unloading patch module: fix\n"));
    assert_eq!(machine.calls().len(), 3);

    for (answer, code) in [(Errno::NOENT, 0), (Errno::PERM, 5)] {
        let machine = Machine::new();
        machine.files.module("fix", "0");
        machine.on_remove(move |_| Err(answer));
        let ran = machine.run(&["unload", "fix"]);
        assert_eq!((ran.code, machine.calls().len()), (code, 1), "{}", ran.err);
    }
}

#[test]
fn unload_all_unloads_every_patch() {
    let machine = Machine::new();
    machine.files.patch("b", true, false);
    machine.files.patch("a", true, false);
    machine.files.module("replaced", "0");
    machine.after(Duration::from_millis(1), |files| files.disabled("a"));
    machine.after(Duration::from_millis(30), |files| files.disabled("b"));
    let ran = machine.run(&["unload", "--all"]);
    assert_eq!(
        ran.out,
        "disabling patch module: a
unloading patch module: a
disabling patch module: b
unloading patch module: b
"
    );
    assert_eq!(ran.code, 0);
    assert!(machine.files.exists("/sys/module/replaced"));
    let ran = machine.run(&["unload", "--all"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
}
