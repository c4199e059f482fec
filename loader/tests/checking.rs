// SPDX-License-Identifier: GPL-2.0-or-later
//! `check` and `load`: conflicts with the running kernel, loaded patches and tracers. `status` and `export`: repaired CVEs.
//! `--json`: conformance to the schemas.

use serde_json::Value;

use crate::support::{self, MODULE, Machine, RELEASE, manifest, module_named};

const TRACED: &str = "/sys/kernel/tracing/enabled_functions";
const KPROBES: &str = "/sys/kernel/debug/kprobes/list";

/// Machine on which every check passes, and a module.
fn quiet() -> (Machine, String) {
    let machine = Machine::quiet();
    let bytes =
        module_named("kpatch_k_1_1", &[&manifest("demo", (1, 1), r#""CVE-2026-1","CVE-2026-2""#, "")]);
    let path = machine.file("fix.ko", &bytes);
    (machine, path)
}

#[test]
fn check_accepts_a_module_on_a_quiet_machine() {
    let (machine, path) = quiet();
    let ran = machine.run(&["check", &path]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "/tmp/fix.ko can be loaded\n", ""));
    assert!(machine.calls().is_empty());
}

/// A byte that changed since the module was built.
#[test]
fn check_refuses_a_file_that_is_not_the_one_that_was_built() {
    let (machine, _) = quiet();
    let mut bytes = module_named("fix", &[&format!("klp_digest={}", "0".repeat(64))]);
    let path = machine.file("zeros.ko", &bytes);
    let ran = machine.run(&["check", &path]);
    assert!(
        ran.code != 0 && ran.err.contains("its SHA-256 is not the one that was written into it"),
        "{}",
        ran.err
    );
    assert!(klp_module::seal(&mut bytes));
    let path = machine.file("sealed.ko", &bytes);
    assert!(!machine.run(&["check", &path]).err.contains("SHA-256"));
    bytes[9] ^= 1;
    let path = machine.file("changed.ko", &bytes);
    assert!(machine.run(&["check", &path]).err.contains("SHA-256"));
}

/// A C module has no manifest; functions and states come from its tables.
#[test]
fn check_names_checks_that_could_not_be_made_and_exits_8() {
    let machine = Machine::new();
    let path = machine.file("fix.ko", MODULE);
    let ran = machine.run(&["check", &path]);
    assert_eq!(
        ran.out,
        "not checked: whether this is the very build of the kernel: it has no manifest (Ferrograft did not build it)
not checked: other users of ftrace: tracefs is not mounted or not to be read
not checked: kprobes: debugfs is not mounted or not to be read
/tmp/fix.ko can be loaded as far as could be checked; not checked: whether this is the very build of the kernel; other users of ftrace; kprobes
"
    );
    assert_eq!((ran.code, ran.err.as_str()), (8, ""));
    let json: Value = serde_json::from_str(&machine.run(&["check", &path, "--json"]).out).unwrap();
    assert_eq!((json["loadable"].as_bool(), json["not_checked"].as_array().unwrap().len()), (Some(true), 3));
}

#[test]
fn check_reads_functions_and_states_from_the_tables_of_a_c_module() {
    let (machine, _) = quiet();
    let path = machine.file("c.ko", MODULE);
    machine.files.write(
        TRACED,
        "cmdline_proc_show (1) R I     \ttramp: 0xffffffffc0 (kprobe_ftrace_handler+0x0/0x1d0)\n",
    );
    let ran = machine.run(&["check", &path]);
    assert_eq!(ran.code, 4);
    assert!(
        ran.err.contains("cmdline_proc_show is already changed by another user of ftrace"),
        "{}",
        ran.err
    );
    machine.files.write(TRACED, "");
    machine.files.patch("kpatch_other_1_1", true, false);
    let states = manifest("other", (1, 1), "", r#","states":[{"id":7,"version":2}]"#);
    machine
        .files
        .write("/run/kpatch/loaded/kpatch_other_1_1", format!("\n{}\n", &states["ferrograft=".len()..]));
    let ran = machine.run(&["check", &path]);
    assert_eq!(ran.code, 4);
    assert!(
        ran.err.contains("has system state 7 in version 2, which this patch does not know"),
        "{}",
        ran.err
    );
}

#[test]
fn check_does_not_pass_a_module_with_unreadable_tables() {
    let (machine, _) = quiet();
    let mut bytes = MODULE.to_vec();
    for name in [&b"klp_enable_patch\0"[..], b"__this_module\0"] {
        let at = bytes.windows(name.len()).rposition(|window| window == name).unwrap();
        bytes[at] = b'X';
    }
    let path = machine.file("c.ko", &bytes);
    let ran = machine.run(&["check", &path]);
    assert_eq!(ran.code, 8, "{}", ran.err);
    assert!(
        ran.out.contains("not checked: tracers and probes: which functions it replaces is not known: "),
        "{}",
        ran.out
    );
    assert!(ran.out.ends_with("; tracers and probes\n"), "{}", ran.out);
}

#[test]
fn check_refuses_each_condition_that_the_kernel_refuses() {
    type Break = fn(&Machine);
    let cases: &[(&str, Break, &str)] = &[
        (
            "modules_disabled",
            |m| m.files.write("/proc/sys/kernel/modules_disabled", "1\n"),
            "until the next boot",
        ),
        (
            "ftrace",
            |m| m.files.write("/proc/sys/kernel/ftrace_enabled", "0\n"),
            "sysctl kernel.ftrace_enabled=1",
        ),
        (
            "sig_enforce",
            |m| m.files.write("/sys/module/module/parameters/sig_enforce", "Y\n"),
            "loads signed modules only (module.sig_enforce)",
        ),
        (
            "lockdown",
            |m| m.files.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
            "loads signed modules only (the kernel is locked down)",
        ),
        (
            "build",
            |m| {
                m.files.write(
                    "/sys/kernel/notes",
                    [4, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, 9, 0, 0, 0],
                );
            },
            "another build of 6.12: build id ab01, the running kernel has 09",
        ),
        (
            "ipmodify",
            |m| {
                m.files.write(TRACED, "other (1) R I\ncmdline_proc_show (1) R I     \ttramp: 0xffffffffc0 (kprobe_ftrace_handler+0x0/0x1d0)\n");
            },
            "cmdline_proc_show is already changed by another user of ftrace",
        ),
        (
            "older",
            |m| m.files.patch("kpatch_k_1_10", true, false),
            "kpatch_k_1_10 of the same line is enabled, which is newer",
        ),
        (
            "state",
            |m| {
                m.files.patch("kpatch_other_1_1", true, false);
                let states = manifest("other", (1, 1), "", r#","states":[{"id":7,"version":2}]"#);
                m.files.write(
                    "/run/kpatch/loaded/kpatch_other_1_1",
                    format!("\n{}\n", &states["ferrograft=".len()..]),
                );
            },
            "kpatch_other_1_1 has system state 7 in version 2, which this patch does not know",
        ),
    ];
    for (name, make, text) in cases {
        let (machine, path) = quiet();
        make(&machine);
        for verb in ["check", "load"] {
            let ran = machine.run(&[verb, &path]);
            assert_eq!(ran.code, 4, "{name}: {}", ran.err);
            assert!(ran.err.starts_with("kpatch: /tmp/fix.ko cannot be loaded: "), "{name}: {}", ran.err);
            assert!(ran.err.contains(text), "{name}: {}", ran.err);
        }
        assert!(machine.calls().is_empty(), "{name}");
    }
}

#[test]
fn kprobe_in_an_original_that_is_called_goes_on() {
    for (originals, text) in [
        (
            r#","originals":["vmlinux:cmdline_proc_show"]"#,
            "it fires where the replacement calls the original",
        ),
        (
            r#","originals":["vmlinux:cmdline_proc_show,2"]"#,
            "it fires where the replacement calls the original",
        ),
        (r#","originals":["vmlinux:cmdline_proc"]"#, "it no longer fires"),
    ] {
        let machine = Machine::quiet();
        let bytes = module_named("kpatch_k_1_1", &[&manifest("demo", (1, 1), "", originals)]);
        let path = machine.file("fix.ko", &bytes);
        machine.files.write(KPROBES, "ffffffff81 k cmdline_proc_show+0x1f\n");
        let ran = machine.run(&["check", &path]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains(text), "{originals}: {}", ran.out);
        let info = machine.run(&["info", &path]).out;
        assert_eq!(info.contains("may call the original"), originals.contains("show\"]"), "{info}");
    }
}

#[test]
fn check_warns_about_tracers_and_kprobes() {
    let cases = [
        (TRACED, "cmdline_proc_show (1) R   D M 	tramp: x\n", "has a BPF program or another direct caller"),
        (
            TRACED,
            "cmdline_proc_show (1) R    	tramp: 0xffc0 (function_trace_call+0x0/0x10)\n",
            "is being traced; tracing goes on",
        ),
        (
            KPROBES,
            "ffffffff81 k cmdline_proc_show+0x0 [FTRACE]\n",
            "it still fires, before the replacement runs",
        ),
        (KPROBES, "ffffffff81 k cmdline_proc_show+0x1f\n", "it no longer fires"),
    ];
    for (file, line, text) in cases {
        let (machine, path) = quiet();
        machine.files.write(file, line);
        machine.on_insert(|files| {
            files.patch("kpatch_k_1_1", true, false);
            Ok(())
        });
        let ran = machine.run(&["check", &path]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.starts_with("warning: ") && ran.out.contains(text), "{}", ran.out);
        let ran = machine.run(&["load", &path]);
        assert_eq!(ran.code, 0);
        assert!(ran.err.starts_with("kpatch: kpatch_k_1_1: ") && ran.err.contains(text), "{}", ran.err);
    }
    // No warning: patches on the function, functions of other modules, and longer names.
    for line in [
        "cmdline_proc_show (1) R I     \ttramp: 0xffc0 (klp_ftrace_handler+0x0/0x1d0)\n",
        "cmdline_proc_show [ext4] (1) R I     \ttramp: 0xffc0 (x+0x0/0x1d0)\n",
        "cmdline_proc_show2 (1) R I\n",
    ] {
        let (machine, path) = quiet();
        machine.files.write(TRACED, line);
        assert_eq!(machine.run(&["check", &path]).out, "/tmp/fix.ko can be loaded\n", "{line}");
    }
}

/// Machine with an installed and loaded patch that has a manifest.
fn loaded() -> Machine {
    let (machine, path) = quiet();
    machine.on_insert(|files| {
        files.patch("kpatch_k_1_1", true, false);
        Ok(())
    });
    assert_eq!(machine.run(&["install", &path]).code, 0);
    assert_eq!(machine.run(&["load", &path]).code, 0);
    machine.files.write("/etc/systemd/system/multi-user.target.wants/kpatch.service", "");
    machine
}

#[test]
fn status_prints_one_screen() {
    let machine = loaded();
    machine.run(&["confirm"]);
    let ran = machine.run(&["status"]);
    assert_eq!(
        ran.out,
        format!(
            "Kernel:      {RELEASE}
Patches:     kpatch_k_1_1 [enabled], stream demo 1-1
Transition:  none
Fixed:       CVE-2026-1, CVE-2026-2
Next boot:   kpatch.service loads kpatch_k_1_1
Verdict:     OK - in effect: kpatch_k_1_1
"
        )
    );
}

#[test]
fn status_check_prints_one_line_and_sets_the_exit_code() {
    let machine = Machine::new();
    let check = |machine: &Machine| {
        let ran = machine.run(&["status", "--check"]);
        assert_eq!(ran.err, "");
        (ran.code, ran.out.trim_end().to_owned())
    };
    let nothing = "KPATCH OK - no patch is installed for this kernel, none is loaded";
    assert_eq!(check(&machine), (0, nothing.to_owned()));
    machine.install(RELEASE, "cmdline-c.ko");
    assert_eq!(check(&machine), (1, "KPATCH WARNING - cmdline_c is installed but not loaded".to_owned()));
    machine.run(&["load", "--all"]);
    assert_eq!(check(&machine), (0, "KPATCH OK - in effect: cmdline_c".to_owned()));
    machine.files.write(
        "/sys/module/cmdline_c/notes/.note.gnu.build-id",
        [4, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, 9, 0, 0, 0],
    );
    assert_eq!(check(&machine).0, 1);
    machine.files.patch("cmdline_c", true, true);
    assert_eq!(check(&machine).0, 1, "a transition that has just begun has not stalled");
    machine.files.write("/proc/uptime", "1016.00 1\n");
    assert_eq!(check(&machine).0, 2);
    machine.files.remove("/sys/kernel/livepatch");
    assert_eq!(check(&machine), (3, "KPATCH UNKNOWN - the running kernel has no live patching".to_owned()));
    machine.files.remove("/proc/sys/kernel");
    assert_eq!(check(&machine).0, 3);
}

#[test]
fn export_lists_repaired_cves() {
    let machine = loaded();
    machine.files.write("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    let vex: Value = serde_json::from_str(&machine.run(&["export", "--format", "openvex"]).out).unwrap();
    assert_eq!(vex["@context"], "https://openvex.dev/ns/v0.2.0");
    assert_eq!(vex["statements"][0]["vulnerability"]["name"], "CVE-2026-1");
    assert_eq!(vex["statements"][0]["status"], "fixed");
    assert_eq!(
        vex["statements"][0]["products"][0]["@id"],
        "pkg:deb/debian/linux-image-6.12.117%2Bdeb12-amd64?distro=debian-12"
    );
    let file = machine.file("kpatch.prom", b"old");
    let ran = machine.run(&["export", "--format", "openmetrics", "--output", &file]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("kpatch_verdict{verdict=\"current\"} 1\nkpatch_verdict{verdict=\"outdated\"} 0\n"),
        "{text}"
    );
    assert!(text.contains(&format!("kpatch_enabled{{module=\"kpatch_k_1_1\",kernel=\"{RELEASE}\"}} 1\n")));
    assert!(text.contains("kpatch_fixed{cve=\"CVE-2026-2\"} 1\n") && text.ends_with("# EOF\n"));

    // A patch in transition repairs nothing.
    machine.files.patch("kpatch_k_1_1", true, true);
    let vex = machine.run(&["export", "--format", "openvex"]).out;
    assert!(vex.contains("\"affected\"") && !vex.contains("\"fixed\""), "{vex}");
    assert!(!machine.run(&["export", "--format", "openmetrics"]).out.contains("kpatch_fixed{"));
    let ran = machine.run(&["export", "--format", "openvex", "--output", "/nowhere/at/all"]);
    assert_eq!(ran.code, 1);
}

#[test]
fn info_shows_the_manifest() {
    let (machine, path) = quiet();
    let out = machine.run(&["info", &path]).out;
    for line in [
        "stream:         demo",
        "patch version:  1-1",
        "fix:            a-fix: A fix",
        "fixes:          CVE-2026-1",
        "replaces:       vmlinux:cmdline_proc_show",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
    assert!(!out.contains("ferrograft="), "{out}");
    let newer = module_named("x", &[r#"ferrograft={"schema":"ferrograft.manifest/9"}"#]);
    let path = machine.file("newer.ko", &newer);
    let ran = machine.run(&["check", &path]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("use a newer kpatch"), "{}", ran.err);
}

#[test]
fn json_conforms_to_the_schemas() {
    let machine = loaded();
    let path = machine.file("second.ko", &module_named("second", &[]));
    let mut documents = Vec::new();
    for stalled in [false, true] {
        if stalled {
            machine.files.patch("kpatch_k_1_1", true, true);
            machine.files.task(7, 8, "x", "0", "[<0>] cmdline_proc_show+0x1/0x2\n");
            machine.files.write("/sys/kernel/livepatch/kpatch_k_1_1/stack_order", "1\n");
            machine.files.write("/sys/kernel/livepatch/kpatch_k_1_1/vmlinux/patched", "1\n");
            machine.files.write("/sys/kernel/livepatch/kpatch_k_1_1/vmlinux/f,1/.keep", "");
            // A possible override, and a check that could not be made.
            machine.files.write(TRACED, "f (1) R   D   M \ttramp: x\n");
            std::fs::remove_file(machine.files.path(KPROBES)).unwrap();
        }
        for arguments in [
            &["list"][..],
            &["status"],
            &["history"],
            &["info", &path],
            &["check", &path],
            &["info", "fix"],
            &["uname"],
        ] {
            let ran = machine.run(&[arguments, &["--json"]].concat());
            let code = if arguments[0] == "check" { 8 } else { 0 };
            assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
            documents.push(serde_json::from_str::<Value>(&ran.out).unwrap());
        }
    }
    documents.iter().for_each(support::assert_conforms);
}

/// A patch of module `m`, which the fake machine has loaded, or as a file, or not at all.
#[test]
fn module_that_is_patched_must_be_the_very_build() {
    let note = |id: u8| [4, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, id, 0, 0, 0];
    let loaded = "/sys/module/m/notes/.note.gnu.build-id";
    let built_for = |id: &str| {
        let (machine, _) = quiet();
        let text = manifest("demo", (1, 1), "", "");
        let text =
            text.replace(r#""build_id":"ab01""#, &format!(r#""build_id":"ab01","modules":{{"m":"{id}"}}"#));
        let path = machine.file("fix.ko", &module_named("kpatch_k_1_1", &[&text]));
        (machine, path)
    };
    let own = klp_module::Module::parse(MODULE).unwrap().build_id().unwrap();

    let (machine, path) = built_for("07");
    assert_eq!(machine.run(&["check", &path]).code, 0, "there is no module m");
    machine.files.write(loaded, note(7));
    assert_eq!(machine.run(&["check", &path]).code, 0);
    machine.files.write(loaded, note(8));
    let ran = machine.run(&["check", &path]);
    assert!(ran.err.contains("another build of module m: build id 07, the loaded m has 08"), "{}", ran.err);
    assert_eq!(ran.code, 4);

    // The module is loaded and has no note.
    let (machine, path) = built_for("07");
    machine.files.write("/sys/module/m/refcnt", "0\n");
    let ran = machine.run(&["check", &path]);
    assert!(ran.out.contains("not checked: whether module m is the very build"), "{}", ran.out);
    assert_eq!(ran.code, 8);

    // The module is not loaded: its file is compared.
    let dir = format!("/lib/modules/{RELEASE}");
    for (id, code) in [(own.as_str(), 0), ("07", 4)] {
        let (machine, path) = built_for(id);
        machine.files.write(&format!("{dir}/modules.dep"), "kernel/n.ko:\nupdates/dkms/m.ko: kernel/n.ko\n");
        machine.files.write(&format!("{dir}/updates/dkms/m.ko"), MODULE);
        let ran = machine.run(&["check", &path]);
        assert_eq!(ran.code, code, "{} {}", ran.out, ran.err);
        assert_eq!(ran.err.contains("updates/dkms/m.ko has"), code == 4, "{}", ran.err);
    }

    // A damaged file could not be compared.
    let (machine, path) = built_for("07");
    machine.files.write(&format!("{dir}/modules.dep"), "m.ko:\n");
    machine.files.write(&format!("{dir}/m.ko"), &MODULE[..300]);
    let ran = machine.run(&["check", &path]);
    assert!(ran.out.contains("not checked: whether module m is the very build"), "{}", ran.out);
    assert_eq!(ran.code, 8);
}
