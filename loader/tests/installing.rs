// SPDX-License-Identifier: GPL-2.0-or-later
//! `install`, `uninstall` and `rollback`: effects on the store, and messages.

use std::fs;

use crate::support::{MODULE, Machine, RELEASE, manifest, module_named, module_with};

const STORE: &str = "/var/lib/kpatch";

#[test]
fn install_copies_the_module_and_enables_the_service_once() {
    let machine = Machine::new();
    let first = machine.file("some-name.ko", MODULE);
    let ran = machine.run(&["install", &first]);
    assert_eq!(ran.out, format!("installing /tmp/some-name.ko ({RELEASE})\n"));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(machine.calls(), ["enable kpatch.service"]);
    let file = machine.files.path(&format!("{STORE}/{RELEASE}/some-name.ko"));
    assert_eq!(fs::read(file).unwrap(), MODULE);

    let second = machine.file("another.ko", &module_named("another", &[]));
    assert_eq!(machine.run(&["install", &second]).code, 0);
    assert_eq!(machine.calls().len(), 1, "an administrator's `systemctl disable` stays");
    assert!(!machine.files.exists("/sys/module/another"), "installing loads nothing");
    let listed = machine.run(&["list"]).out;
    assert!(listed.ends_with(&format!("another ({RELEASE})\nsome_name ({RELEASE})\n")), "{listed}");
}

#[test]
fn install_accepts_the_same_file_and_refuses_another_build() {
    let machine = Machine::new();
    let path = machine.file("fix.ko", MODULE);
    machine.run(&["install", &path]);
    let ran = machine.run(&["install", &path]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "/tmp/fix.ko is already installed\n", ""));
    machine.file("fix.ko", &module_with("kpatch test data", "another old data"));
    let ran = machine.run(&["install", &path]);
    assert_eq!((ran.code, ran.out.as_str()), (4, ""));
    assert!(ran.err.starts_with("kpatch: /tmp/fix.ko is already installed\n  "), "{}", ran.err);
    assert_eq!(fs::read(machine.files.path(&format!("{STORE}/{RELEASE}/fix.ko"))).unwrap(), MODULE);
    // Spelling and compression do not change the module name.
    let packed =
        machine.file("fix.ko.xz", include_bytes!("../../crates/klp-module/tests/data/cmdline_c.ko.xz"));
    assert_eq!(machine.run(&["install", &packed]).out, "/tmp/fix.ko.xz is already installed\n");
}

/// For package scripts.
#[test]
fn install_with_no_enable_leaves_the_service_alone() {
    let machine = Machine::new();
    let path = machine.file("fix.ko", MODULE);
    for said in
        [format!("installing /tmp/fix.ko ({RELEASE})\n"), "/tmp/fix.ko is already installed\n".to_owned()]
    {
        let ran = machine.run(&["install", "--no-enable", &path]);
        assert_eq!((ran.code, ran.out, ran.err.as_str()), (0, said, ""));
        assert!(machine.calls().is_empty());
    }
    assert!(machine.files.exists(&format!("{STORE}/{RELEASE}/fix.ko")));
}

#[test]
fn install_reports_errors_in_the_order_of_the_original() {
    let machine = Machine::new();
    let text = machine.file("text.ko", b"hello");
    let name = machine.file("module.o", MODULE);
    let plain = machine.file("plain.ko", &module_with("livepatch=Y", "livepotch=Y"));
    let foreign = module_with("6.12.117+deb12-amd64 SMP", "6.12.116+deb12-amd64 SMP");
    let foreign = machine.file("foreign.ko", &foreign);
    let other = "6.1.0-56-amd64";
    for (arguments, code, message) in [
        (&[][..], 2, "no module file specified".to_owned()),
        (&["/nothing.ko"], 3, "/nothing.ko doesn't exist".to_owned()),
        (&[name.as_str()], 4, "/tmp/module.o isn't a .ko file".to_owned()),
        (&[&text], 4, "/tmp/text.ko cannot be loaded: this is no ELF file: it begins with \"hell\", not with \"\\x7fELF\"".to_owned()),
        (&[&foreign], 4, format!("invalid module version 6.12.116+deb12-amd64 for kernel {RELEASE}")),
        (&["-k", other, &plain], 4, format!("invalid module version {RELEASE} for kernel {other}")),
    ] {
        let ran = machine.run(&[&["install"], arguments].concat());
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{arguments:?}");
        assert_eq!(ran.err, format!("kpatch: {message}\n"));
    }
    assert!(machine.run(&["install", &plain]).err.contains("not a live patch"));
    assert!(!machine.files.exists(STORE), "nothing half-written stays");
    assert!(machine.calls().is_empty());
}

#[test]
fn install_accepts_a_module_for_another_kernel() {
    let machine = Machine::new();
    machine.files.write("/proc/sys/kernel/osrelease", "6.1.0-56-amd64\n");
    let path = machine.file("fix.ko", MODULE);
    assert_eq!(machine.run(&["install", "-k", RELEASE, &path]).code, 0);
    assert!(machine.files.exists(&format!("{STORE}/{RELEASE}/fix.ko")));
    let ran = machine.run(&["uninstall", "fix"]);
    assert_eq!(ran.err, "kpatch: fix is not installed for kernel 6.1.0-56-amd64\n");
    let ran = machine.run(&["uninstall", "--kernel-version", RELEASE, "fix"]);
    assert_eq!((ran.code, ran.out), (0, format!("uninstalling fix ({RELEASE})\n")));
    assert_eq!(machine.run(&["install", "-k", "../..", &path]).code, 3);
}

#[test]
fn compressed_modules_can_be_installed_loaded_and_shown() {
    for (suffix, bytes) in [
        ("gz", &include_bytes!("../../crates/klp-module/tests/data/cmdline_c.ko.gz")[..]),
        ("xz", include_bytes!("../../crates/klp-module/tests/data/cmdline_c.ko.xz")),
        ("zst", include_bytes!("../../crates/klp-module/tests/data/cmdline_c.ko.zst")),
    ] {
        let machine = Machine::new();
        let path = machine.file(&format!("cmdline-c.ko.{suffix}"), bytes);
        assert_eq!(machine.run(&["install", &path]).code, 0);
        assert!(machine.run(&["list"]).out.contains(&format!("\ncmdline_c ({RELEASE})\n")));
        assert!(machine.run(&["info", "cmdline_c"]).out.contains("name:           cmdline_c\n"));
        let ran = machine.run(&["load", "--all"]);
        assert_eq!((ran.code, ran.complaints().as_str()), (0, ""));
        assert!(machine.files.exists("/sys/kernel/livepatch/cmdline_c"));
        assert_eq!(machine.run(&["uninstall", "cmdline-c"]).code, 0);
        let cut = machine.file(&format!("cut.ko.{suffix}"), &bytes[..700]);
        let ran = machine.run(&["load", &cut]);
        assert_eq!(ran.code, 4);
        assert!(ran.err.contains("stream is damaged or cut off"), "{}", ran.err);
    }
}

#[test]
fn uninstall_keeps_the_loaded_patch() {
    let machine = Machine::new();
    machine.install(RELEASE, "cmdline-c.ko");
    machine.files.patch("cmdline_c", true, false);
    let ran = machine.run(&["uninstall", "/somewhere/cmdline_c"]);
    assert_eq!(ran.err, "kpatch: please supply patch module name without path\n");
    let ran = machine.run(&["uninstall", "cmdline_c"]);
    assert_eq!(
        (ran.code, ran.out, ran.err.as_str()),
        (0, format!("uninstalling cmdline_c ({RELEASE})\n"), "")
    );
    assert!(!machine.files.exists(&format!("{STORE}/{RELEASE}")), "empty directories go too");
    assert!(machine.calls().is_empty() && machine.files.exists("/sys/kernel/livepatch/cmdline_c"));
    let ran = machine.run(&["uninstall", "cmdline_c"]);
    assert_eq!(
        (ran.code, ran.err),
        (3, format!("kpatch: cmdline_c is not installed for kernel {RELEASE}\n"))
    );
    assert_eq!(machine.run(&["uninstall"]).err, "kpatch: no module file specified\n");
}

#[test]
fn install_without_systemctl_warns() {
    let machine = Machine::new();
    machine.systemctl(Err("systemctl could not be run: no such file".to_owned()));
    let path = machine.file("fix.ko", MODULE);
    let ran = machine.run(&["install", &path]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.err.contains("kpatch.service could not be enabled (systemctl could not be run"),
        "{}",
        ran.err
    );
    assert!(machine.files.exists(&format!("{STORE}/{RELEASE}/fix.ko")));
}

/// Machine with versions 1 and 2 of a stream installed and the newer one loaded.
fn two_versions(states: [&str; 2]) -> Machine {
    let machine = Machine::new();
    for (release, states) in [1, 2].into_iter().zip(states) {
        let name = format!("kpatch_k_1_{release}");
        let bytes = module_named(&name, &[&manifest("demo", (1, release), "", states)]);
        let path = machine.file(&format!("kpatch-k-1-{release}.ko"), &bytes);
        assert_eq!(machine.run(&["install", &path]).code, 0);
    }
    machine.files.patch("kpatch_k_1_2", true, false);
    machine.on_insert(|files| {
        files.remove("/sys/kernel/livepatch/kpatch_k_1_2");
        files.patch("kpatch_k_1_1", true, false);
        Ok(())
    });
    machine
}

#[test]
fn rollback_returns_to_the_replaced_module() {
    let machine = two_versions(["", ""]);
    assert_eq!(machine.run(&["uninstall", "kpatch-k-1-1.ko"]).code, 0);
    assert!(machine.files.exists(&format!("{STORE}/.previous-{RELEASE}:kpatch-k-1-1.ko")));
    assert!(!machine.run(&["list"]).out.contains("kpatch_k_1_1"), "it is not listed");

    let ran = machine.run(&["rollback"]);
    assert_eq!(
        ran.out,
        format!(
            "rolling back kpatch_k_1_2 to kpatch_k_1_1
loading patch module: {STORE}/{RELEASE}/kpatch-k-1-1.ko
"
        )
    );
    assert_eq!((ran.code, ran.complaints().as_str()), (0, ""));
    assert!(machine.files.exists(&format!("{STORE}/{RELEASE}/kpatch-k-1-1.ko")));
    assert!(!machine.files.exists(&format!("{STORE}/{RELEASE}/kpatch-k-1-2.ko")));
    let ran = machine.run(&["rollback"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    assert!(
        ran.err.starts_with("kpatch: nothing to go back to: no older version of kpatch_k"),
        "{}",
        ran.err
    );
}

#[test]
fn rollback_keeps_the_loaded_patch_after_a_state_upgrade() {
    let machine = two_versions(["", r#","states":[{"id":7,"version":2}]"#]);
    let ran = machine.run(&["rollback", "k"]);
    assert_eq!(ran.out, "rolling back kpatch_k_1_2 to kpatch_k_1_1\n");
    assert_eq!(ran.code, 0);
    assert!(
        ran.err.contains(
            "stays in the running kernel: it has brought system state 7 to version 2, and only a reboot helps"
        ),
        "{}",
        ran.err
    );
    assert!(!machine.calls().contains(&"insert".to_owned()));
}

#[test]
fn load_refuses_an_older_version_without_allow_older() {
    let machine = two_versions(["", ""]);
    let ran = machine.run(&["load", "kpatch_k_1_1"]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("kpatch_k_1_2 of the same line is enabled, which is newer"), "{}", ran.err);
    assert_eq!(machine.run(&["load", "--allow-older", "kpatch_k_1_1"]).code, 0);
}

#[test]
fn prune_removes_modules_of_missing_kernels() {
    let machine = Machine::new();
    machine.install(RELEASE, "running.ko");
    machine.install("6.1.0-1", "gone.ko");
    machine.install("6.1.0-2", "there.ko");
    machine.install("6.1.0-3", "image.ko");
    machine.files.write(&format!("{STORE}/.previous-6.1.0-1:old.ko"), MODULE);
    machine.files.write(&format!("{STORE}/.previous-6.1.0-9:kept-alone.ko"), MODULE);
    machine.files.write(&format!("{STORE}/backup/not-a-kernel.ko"), MODULE);
    let ran = machine.run(&["uninstall", "--prune"]);
    assert_eq!(ran.code, 1, "without any sign of kernels nothing is pruned");
    machine.files.write("/lib/modules/6.1.0-2/modules.dep", "");
    machine.files.write("/boot/vmlinuz-6.1.0-3", "");
    let ran = machine.run(&["uninstall", "--prune", "--dry-run"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "would uninstall gone (6.1.0-1)\n"));
    assert!(machine.files.exists(&format!("{STORE}/6.1.0-1/gone.ko")));
    let ran = machine.run(&["uninstall", "--prune"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "uninstalling gone (6.1.0-1)\n"));
    assert!(!machine.files.exists(&format!("{STORE}/6.1.0-1")));
    for gone in [".previous-6.1.0-1:old.ko", ".previous-6.1.0-9:kept-alone.ko"] {
        assert!(!machine.files.exists(&format!("{STORE}/{gone}")), "{gone}");
    }
    let running = format!("{RELEASE}/running.ko");
    for file in [running.as_str(), "6.1.0-2/there.ko", "6.1.0-3/image.ko", "backup/not-a-kernel.ko"] {
        assert!(machine.files.exists(&format!("{STORE}/{file}")), "{file}");
    }
}

#[test]
fn history_lists_every_change() {
    let machine = Machine::new();
    let path = machine.file("fix.ko", MODULE);
    machine.run(&["install", &path]);
    machine.run(&["load", "fix"]);
    machine.on_remove(|_| Err(rustix::io::Errno::PERM));
    machine.after(std::time::Duration::from_millis(1), |files| files.disabled("cmdline_c"));
    machine.run(&["unload", "cmdline_c"]);
    // Incomplete line, as after a power cut.
    use std::io::Write;
    let mut file =
        fs::File::options().append(true).open(machine.files.path(&format!("{STORE}/.history"))).unwrap();
    write!(file, "{{\"time\":\"20").unwrap();
    machine.run(&["uninstall", "fix"]);
    let ran = machine.run(&["history"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines,
        [
            &format!("2026-11-24T12:00:00Z install   cmdline_c ({RELEASE}) done"),
            &format!("2026-11-24T12:00:00Z load      cmdline_c ({RELEASE}) done"),
            &format!(
                "2026-11-24T12:00:00Z unload    cmdline_c ({RELEASE}) FAILED: failed to unload module cmdline_c: the kernel answered EPERM (Operation not permitted)"
            ),
            &format!("2026-11-24T12:00:00Z uninstall fix ({RELEASE}) done"),
        ]
    );
    assert!(ran.err.starts_with("kpatch: 1 lines of /var/lib/kpatch/.history are incomplete"), "{}", ran.err);
}

#[test]
fn garbage_in_the_store_does_not_affect_other_modules() {
    let machine = Machine::new();
    machine.install(RELEASE, "cmdline-c.ko");
    machine.files.write(&format!("{STORE}/{RELEASE}/garbage.ko"), "garbage");
    machine.files.write(&format!("{STORE}/{RELEASE}/cut.ko.xz"), b"\xfd7zXZ\0cut");
    machine.files.write(&format!("{STORE}/{RELEASE}/a-directory.ko/file"), "");
    machine.files.write(&format!("{STORE}/{RELEASE}/.aside-half.ko"), &MODULE[..100]);
    machine.files.write(&format!("{STORE}/a file"), "");
    machine.files.write(&format!("{STORE}/.trial/cmdline_c"), "garbage");
    machine.files.write(&format!("{STORE}/.history"), "garbage\n");
    machine.files.write("/run/kpatch/loaded/cmdline_c", "garbage");
    let ran = machine.run(&["load", "--all"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.ends_with("kpatch: 3 of 4 patch modules could not be loaded\n"), "{}", ran.err);
    assert!(machine.files.exists("/sys/kernel/livepatch/cmdline_c"), "the good one is loaded");
    for (arguments, code) in
        [(&["list"][..], 0), (&["history"], 0), (&["status"], 0), (&["status", "--check"], 1)]
    {
        let ran = machine.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
    }
    let check = machine.run(&["status", "--check"]).out;
    assert!(check.starts_with("KPATCH WARNING - a_directory: cannot read "), "{check}");
    let path = machine.file("other.ko", &module_named("other", &[]));
    assert_eq!(machine.run(&["install", &path]).code, 0);
    assert!(
        !machine.files.exists(&format!("{STORE}/{RELEASE}/.aside-half.ko")),
        "what a kill left is swept away"
    );
}

#[test]
fn root_option_works_on_files_and_refuses_load() {
    let machine = Machine::new();
    let path = machine.file("fix.ko", MODULE);
    let image = machine.files.path("/image");
    fs::create_dir_all(&image).unwrap();
    let image = image.to_str().unwrap();
    let ran = machine.run(&["install", "--root", image, "-k", RELEASE, &path]);
    assert_eq!((ran.code, ran.out), (0, format!("installing /tmp/fix.ko ({RELEASE})\n")));
    assert!(machine.files.exists(&format!("/image{STORE}/{RELEASE}/fix.ko")));
    assert!(!machine.files.exists(&format!("{STORE}/{RELEASE}/fix.ko")));
    let ran = machine.run(&["--root", image, "list"]);
    assert!(ran.out.ends_with(&format!("\nfix ({RELEASE})\n")), "{}", ran.out);
    for verb in ["load", "unload"] {
        let ran = machine.run(&["--root", image, verb, "--all"]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(
            ran.err
                .starts_with(&format!("kpatch: {verb} works on the running kernel, not on that of --root"))
        );
    }
    assert_eq!(machine.run(&["--root", image, "uninstall", "-k", RELEASE, "fix"]).code, 0);
    assert!(machine.calls().is_empty());
}

#[test]
fn install_sets_the_selinux_label_or_warns() {
    let machine = Machine::new();
    machine.files.write("/sys/fs/selinux/enforce", "1");
    let path = machine.file("fix.ko", MODULE);
    let ran = machine.run(&["install", &path]);
    assert_eq!(ran.code, 0);
    let mut label = [0; 64];
    let file = machine.files.path(&format!("{STORE}/{RELEASE}/fix.ko"));
    match rustix::fs::getxattr(&file, "security.selinux", &mut label[..]) {
        Ok(length) => {
            assert_eq!(&label[..length], b"system_u:object_r:modules_object_t:s0\0");
            assert_eq!(ran.err, "");
        }
        Err(_) => {
            assert!(ran.err.contains("the SELinux label modules_object_t could not be set"), "{}", ran.err);
        }
    }
    // Without SELinux no label is set.
    let machine = Machine::new();
    let path = machine.file("fix.ko", MODULE);
    machine.run(&["install", &path]);
    let file = machine.files.path(&format!("{STORE}/{RELEASE}/fix.ko"));
    let found = rustix::fs::getxattr(&file, "security.selinux", &mut label[..]);
    assert!(found.is_err() || !label.starts_with(b"system_u:object_r:modules_object_t"), "{found:?}");
}
