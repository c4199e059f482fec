// SPDX-License-Identifier: GPL-2.0-or-later
//! Layout of `/var/lib/kpatch`. Other programs take each directory there for a kernel with an installed patch, and each file in it
//! for a patch.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::support::{MODULE, Machine, RELEASE, manifest, module_named, module_with};

const STORE: &str = "/var/lib/kpatch";

/// Directories that subscription-manager takes for kernels with an installed patch.
fn directories(machine: &Machine) -> Vec<String> {
    let entries = fs::read_dir(machine.files.path(STORE)).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    found
}

fn version(release: u32) -> Vec<u8> {
    module_named(&format!("kpatch_k_1_{release}"), &[&manifest("demo", (1, release), "", "")])
}

fn install_versions(machine: &Machine) {
    for release in [1, 2] {
        let path = machine.file(&format!("kpatch-k-1-{release}.ko"), &version(release));
        assert_eq!(machine.run(&["install", &path]).code, 0);
    }
}

#[test]
fn store_has_directories_for_kernels_with_modules_only() {
    let machine = Machine::new();
    let path = machine.file("fix.ko", MODULE);
    assert_eq!(machine.run(&["load", &path]).code, 0);
    assert_eq!(directories(&machine), [""; 0], "a load alone installs nothing");
    install_versions(&machine);
    assert_eq!(machine.run(&["load", "--all"]).code, 1, "the kernel of this test knows one patch only");
    assert_eq!(machine.run(&["uninstall", "kpatch_k_1_1"]).code, 0);
    assert_eq!(directories(&machine), [RELEASE], "the kept version is no directory");
    let files: Vec<_> = fs::read_dir(machine.files.path(&format!("{STORE}/{RELEASE}"))).unwrap().collect();
    assert_eq!(files.len(), 1, "what is kept does not lie among what is installed");
    assert_eq!(machine.run(&["rollback"]).code, 0);
    assert_eq!(directories(&machine), [RELEASE]);
    assert_eq!(machine.run(&["uninstall", "--keep", "kpatch_k_1_1"]).code, 0);
    assert_eq!(directories(&machine), [""; 0], "with its last module a kernel's directory goes");
}

#[test]
fn next_change_removes_empty_directories() {
    let machine = Machine::new();
    fs::create_dir_all(machine.files.path(&format!("{STORE}/6.1.0-1"))).unwrap();
    let path = machine.file("fix.ko", MODULE);
    assert_eq!(machine.run(&["install", &path]).code, 0);
    assert_eq!(directories(&machine), [RELEASE]);
}

/// Store in the old layout: 1-1 kept for rollback, 1-2 installed, with a boot note of an unclean boot.
fn old_store() -> Machine {
    let machine = Machine::new();
    machine.files.write(&format!("{STORE}/.previous/{RELEASE}/kpatch-k-1-1.ko"), version(1));
    machine.files.write(&format!("{STORE}/.previous/6.1.0-1/kpatch-old-1-1.ko"), MODULE);
    machine.files.write(&format!("{STORE}/{RELEASE}/kpatch-k-1-2.ko"), version(2));
    let build = machine.run(&["info", "--json", "kpatch_k_1_2"]).out;
    let build: serde_json::Value = serde_json::from_str(&build).unwrap();
    let build = build["build_id"].as_str().unwrap();
    machine.files.write(
        &format!("{STORE}/.trial/kpatch_k_1_2"),
        format!(
            r#"{{"module":"kpatch_k_1_2","build":"{build}","kernel":"{RELEASE}","boot":"boot-0","since":1795000000,"uptime":5}}"#
        ),
    );
    machine.files.write(&format!("{STORE}/.trial/.aside-half"), "{");
    machine
}

#[test]
fn migration_moves_all_files_of_the_old_layout() {
    let machine = old_store();
    // Read-only verbs read the note in the old directory.
    let ran = machine.run(&["status"]);
    assert!(
        ran.out.contains("leaves kpatch_k_1_2 out: an earlier boot with it ended unclean"),
        "{}",
        ran.out
    );
    assert_eq!(directories(&machine), [".previous", ".trial", RELEASE]);

    let ran = machine.run(&["load", "--all"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.starts_with("kpatch: kpatch_k_1_2 is left out: the boot in which it was loaded"),
        "{}",
        ran.err
    );
    assert!(machine.calls().is_empty(), "what may have crashed the machine is not loaded");
    assert_eq!(directories(&machine), [RELEASE]);
    for (file, bytes) in [
        (format!(".previous-{RELEASE}:kpatch-k-1-1.ko"), version(1)),
        (".previous-6.1.0-1:kpatch-old-1-1.ko".to_owned(), MODULE.to_vec()),
    ] {
        assert_eq!(fs::read(machine.files.path(&format!("{STORE}/{file}"))).unwrap(), bytes, "{file}");
    }
    let ran = machine.run(&["rollback"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "rolling back kpatch_k_1_2 to kpatch_k_1_1\n"));
    assert!(machine.files.exists(&format!("{STORE}/{RELEASE}/kpatch-k-1-1.ko")));
}

#[test]
fn confirm_finds_a_note_in_the_old_layout() {
    let machine = old_store();
    machine.files.write("/proc/sys/kernel/random/boot_id", "boot-0\n");
    let ran = machine.run(&["confirm"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "kpatch_k_1_2 is confirmed: as asked for\n"));
    machine.reboot("boot-2");
    assert!(!machine.run(&["status"]).out.contains("ended unclean"));
    assert_eq!(directories(&machine), [RELEASE]);
}

#[test]
fn migration_warns_about_files_that_cannot_be_moved() {
    let machine = old_store();
    machine.files.write(&format!("{STORE}/.previous/{RELEASE}/notes/of-the-administrator"), "x");
    let path = machine.file("fix.ko", MODULE);
    let ran = machine.run(&["install", &path]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.err.contains("what an earlier version left in /var/lib/kpatch/.previous could not all be moved")
    );
    assert!(machine.files.exists(&format!("{STORE}/.previous/{RELEASE}/notes/of-the-administrator")));
    assert!(machine.files.exists(&format!("{STORE}/.previous-{RELEASE}:kpatch-k-1-1.ko")));
}

#[test]
fn failed_install_leaves_no_directory() {
    let machine = Machine::new();
    machine.files.write(&format!("{STORE}/{RELEASE}/.aside-fix.ko/in-the-way"), "");
    let path = machine.file("fix.ko", MODULE);
    let ran = machine.run(&["install", &path]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    fs::remove_dir_all(machine.files.path(&format!("{STORE}/{RELEASE}/.aside-fix.ko"))).unwrap();
    let refused = machine.file("other.ko", b"garbage");
    assert_eq!(machine.run(&["install", &refused]).code, 4);
    assert_eq!(machine.run(&["uninstall", "other"]).code, 3);
    assert_eq!(machine.run(&["install", &path]).code, 0);
    assert_eq!(directories(&machine), [RELEASE]);
}

#[test]
fn load_all_loads_a_module_in_two_files_once() {
    let machine = Machine::new();
    for file in ["a.ko", "cmdline-c.ko"] {
        machine.install(RELEASE, file);
    }
    machine.files.write("/etc/systemd/system/multi-user.target.wants/kpatch.service", "");
    let status = machine.run(&["status"]).out;
    assert!(status.contains("Next boot:   kpatch.service loads cmdline_c\n"), "{status}");
    let ran = machine.run(&["load", "--all"]);
    assert_eq!((ran.code, ran.out), (0, format!("loading patch module: {STORE}/{RELEASE}/cmdline-c.ko\n")));
    let both =
        format!("not loading {STORE}/{RELEASE}/a.ko: {STORE}/{RELEASE}/cmdline-c.ko holds the same module");
    assert!(ran.err.contains(&both), "{}", ran.err);
    assert_eq!(machine.calls(), ["insert"]);
    assert_eq!(machine.run(&["status", "--check"]).out, "KPATCH OK - in effect: cmdline_c\n");

    // Of two builds one is not in effect.
    machine
        .files
        .write(&format!("{STORE}/{RELEASE}/a.ko"), module_with("kpatch test data", "another old data"));
    let check = machine.run(&["status", "--check"]);
    assert_eq!(check.code, 1);
    assert!(
        check.out.contains("a.ko and ") && check.out.contains("hold two builds of one module"),
        "{}",
        check.out
    );
    let ran = machine.run(&["load", "--all"]);
    assert!(ran.err.contains("cmdline-c.ko holds another build of it; uninstall one of them"), "{}", ran.err);
}

#[test]
fn install_refuses_another_build_under_another_file_name() {
    let machine = Machine::new();
    let path = machine.file("fix.ko", MODULE);
    assert_eq!(machine.run(&["install", &path]).code, 0);
    let other = machine.file("other.ko", &module_with("kpatch test data", "another old data"));
    let ran = machine.run(&["install", &other]);
    assert_eq!((ran.code, ran.out.as_str()), (4, ""));
    let both = format!(
        "kpatch: cmdline_c, the module in /tmp/other.ko, is already installed\n  {STORE}/{RELEASE}/fix.ko is another build of it"
    );
    assert!(ran.err.starts_with(&both), "{}", ran.err);
    let copy = machine.file("copy.ko", MODULE);
    let ran = machine.run(&["install", &copy]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("/tmp/copy.ko holds the module cmdline_c, as "), "{}", ran.err);
}

#[test]
fn ambiguous_module_name_is_an_error() {
    let machine = Machine::new();
    machine.install(RELEASE, "a-fix.ko");
    machine.install(RELEASE, "a_fix.ko");
    for verb in ["uninstall", "info", "load", "check"] {
        let ran = machine.run(&[verb, "a_fix"]);
        assert_eq!(ran.code, 3, "{verb}");
        assert!(
            ran.err.contains("a_fix is the name of several files in ")
                && ran.err.contains("a-fix.ko, a_fix.ko")
        );
    }
    assert_eq!(machine.run(&["uninstall", "a_fix.ko"]).code, 0);
    assert!(machine.files.exists(&format!("{STORE}/{RELEASE}/a-fix.ko")));
    assert!(!machine.files.exists(&format!("{STORE}/{RELEASE}/a_fix.ko")));
}

#[test]
fn list_skips_entries_that_are_no_files() {
    let machine = Machine::new();
    let store = machine.files.path(&format!("{STORE}/{RELEASE}"));
    machine.install(RELEASE, "real.ko");
    machine.files.write("/elsewhere/target.ko", MODULE);
    machine.files.write(&format!("{STORE}/{RELEASE}/directory.ko/file"), "");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        store.join("pipe.ko"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(store.join("socket.ko")).unwrap();
    symlink("/nowhere/at/all", store.join("dangling.ko")).unwrap();
    symlink("loop.ko", store.join("loop.ko")).unwrap();
    symlink("directory.ko", store.join("to-a-directory.ko")).unwrap();
    symlink(machine.files.path("/elsewhere/target.ko"), store.join("link.ko")).unwrap();
    fs::write(store.join(OsStr::from_bytes(b"not-\xff-utf8.ko")), MODULE).unwrap();
    fs::write(store.join("empty.ko"), "").unwrap();
    machine.files.write(&format!("{STORE}/no kernel/x.ko"), MODULE);
    let ran = machine.run(&["list"]);
    let listed: Vec<&str> = ran.out.split("Installed patch modules:\n").nth(1).unwrap().lines().collect();
    assert_eq!(listed, [format!("link ({RELEASE})"), format!("real ({RELEASE})")]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&machine.run(&["list", "--json"]).out).unwrap();
    assert_eq!(json["installed"].as_array().unwrap().len(), 2);

    // An installed entry that cannot be loaded is a failure of load --all.
    let ran = machine.run(&["load", "--all"]);
    assert_eq!(ran.code, 1);
    for bad in ["directory", "pipe", "socket", "dangling", "loop", "to-a-directory", "utf8", "empty"] {
        assert!(
            ran.err.contains(&format!("{bad}.ko: it")) || ran.err.contains(&format!("{bad}.ko: its")),
            "{bad}: {}",
            ran.err
        );
    }
    assert!(machine.files.exists("/sys/kernel/livepatch/cmdline_c"), "the good one is loaded");
    for bad in ["directory.ko", "pipe.ko", "dangling.ko"] {
        let path = machine.file(bad, MODULE);
        let ran = machine.run(&["install", &path]);
        assert_eq!(ran.code, 1, "{bad}: what is in the way is not replaced");
        assert!(ran.err.contains(&format!("{bad}: it is ")), "{}", ran.err);
    }
}

#[test]
fn install_refuses_file_names_that_break_the_listing() {
    let machine = Machine::new();
    let long = format!("{}.ko", "x".repeat(200));
    for name in [
        "my fix.ko",
        "two\nlines.ko",
        "tab\tbed.ko",
        "escape\x1b[1m.ko",
        "fix(1).ko",
        "a:b.ko",
        "größe.ko",
        &long,
    ] {
        let path = machine.file(name, MODULE);
        let ran = machine.run(&["install", &path]);
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{name:?}");
        assert!(
            ran.err.contains("cannot be installed: its file's name has ")
                && ran.err.ends_with("; rename it first\n"),
            "{}",
            ran.err
        );
        assert!(!ran.err.trim_end().contains(['\n', '\t', '\x1b']), "{:?}", ran.err);
        assert!(!machine.files.exists(STORE));
    }
    for name in ["kpatch-6.12.117+deb12~rc1-1-1.ko", "A_b.c-d.ko.xz"] {
        let bytes = if name.ends_with("xz") {
            include_bytes!("../../crates/klp-module/tests/data/cmdline_c.ko.xz")
        } else {
            MODULE
        };
        let machine = Machine::new();
        let path = machine.file(name, bytes);
        assert_eq!(machine.run(&["install", &path]).code, 0, "{name}");
    }
}

#[test]
fn list_shows_a_foreign_file_name_as_one_word() {
    let machine = Machine::new();
    for name in ["my fix.ko", "two\nlines.ko"] {
        machine.files.write(&format!("{STORE}/{RELEASE}/{name}"), MODULE);
    }
    let ran = machine.run(&["list"]);
    let listed: Vec<&str> = ran.out.split("Installed patch modules:\n").nth(1).unwrap().lines().collect();
    assert_eq!(listed, [format!("my_fix ({RELEASE})"), format!("two_lines ({RELEASE})")]);
    assert_eq!(machine.run(&["uninstall", "two_lines"]).code, 0);
    assert_eq!(machine.run(&["uninstall", "my fix"]).code, 0);
    assert_eq!(directories(&machine), [""; 0]);
}

#[test]
fn root_option_refuses_a_missing_directory() {
    let machine = Machine::new();
    let file = machine.file("file", b"");
    for root in ["/nonexistent", "", &file] {
        for verb in [
            &["list"][..],
            &["status"],
            &["list", "--json"],
            &["history"],
            &["uninstall", "x"],
            &["install", "x.ko"],
        ] {
            let ran = machine.run(&[&["--root", root], verb].concat());
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{root:?} {verb:?}");
            assert!(!ran.err.is_empty());
        }
    }
    let ran = machine.run(&["--root", "/nonexistent", "list"]);
    assert!(
        ran.err.starts_with("kpatch: --root /nonexistent cannot be used: No such file or directory; "),
        "{}",
        ran.err
    );
}

#[test]
fn load_all_skips_an_older_module_than_the_enabled_one() {
    let machine = Machine::new();
    install_versions(&machine);
    machine.files.patch("kpatch_k_1_2", true, false);
    assert_eq!(machine.run(&["uninstall", "kpatch_k_1_2"]).code, 0);
    let ran = machine.run(&["load", "--all"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, "not loading kpatch_k_1_1: kpatch_k_1_2, which is enabled, is newer\n");
    assert!(!machine.calls().contains(&"insert".to_owned()));
    let check = machine.run(&["status", "--check"]);
    assert_eq!(check.code, 0);
    assert_eq!(
        check.out,
        "KPATCH OK - in effect: kpatch_k_1_2; kpatch_k_1_2 is newer than the installed kpatch_k_1_1, which the next boot loads\n"
    );
    assert_eq!(machine.run(&["load", "kpatch_k_1_1"]).code, 4, "by name it is refused");

    // At the next boot no newer patch is enabled.
    machine.reboot("boot-2");
    machine.on_insert(|files| {
        files.patch("kpatch_k_1_1", true, false);
        Ok(())
    });
    assert_eq!(machine.run(&["load", "--all"]).code, 0);
    assert!(machine.files.exists("/sys/kernel/livepatch/kpatch_k_1_1"));
}

/// The module name in the content is used if the file name has no version.
#[test]
fn load_all_skips_a_renamed_older_module() {
    let machine = Machine::new();
    let path = machine.file("renamed.ko", &version(1));
    assert_eq!(machine.run(&["install", &path]).code, 0);
    machine.files.patch("kpatch_k_1_2", true, false);
    let ran = machine.run(&["load", "--all"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "not loading renamed: kpatch_k_1_2, which is enabled, is newer\n")
    );
    for verb in ["info", "check", "load", "uninstall"] {
        let ran = machine.run(&[verb, "kpatch_k_1_1"]);
        let wanted = if verb == "load" || verb == "check" { 4 } else { 0 };
        assert_eq!(ran.code, wanted, "{verb} finds it by the module's name: {}", ran.err);
    }
}
