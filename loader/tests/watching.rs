// SPDX-License-Identifier: GPL-2.0-or-later
//! Watch after the load: bug reports of the kernel that name a function of the patch (`applied-with-bug`).

use std::time::Duration;

use serde_json::Value;

use crate::support::{self, Files, Machine, RELEASE, module_named};

const RECORD: &str = "/var/lib/kpatch/.bug-cmdline_c";
const NOTE: &str = "/var/lib/kpatch/.trial-cmdline_c";
const ENABLING: &str = "livepatch: enabling patch 'cmdline_c'";
const OOPS: &str = "\
BUG: kernel NULL pointer dereference, address: 0000000000000008
Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
RIP: 0010:livepatch_cmdline_proc_show+0x1d/0x40 [cmdline_c]
Call Trace:
 <TASK>
 seq_read_iter+0x123/0x480
 </TASK>
Modules linked in: cmdline_c(OEK)
---[ end trace 0000000000000000 ]---";
const TITLE: &str = "BUG: kernel NULL pointer dereference, address: 0000000000000008";
/// Reports that do not name a function of the patch: the list of modules, an entry that the kernel does not trust, a function of
/// the same name in another module.
const OTHERS: &str = "\
------------[ cut here ]------------
WARNING: CPU: 1 PID: 9 at mm/slab.c:12 kfree+0x1/0x2
Modules linked in: cmdline_c(OEK) [last unloaded: cmdline_c(OEK)]
Call Trace:
 ? livepatch_cmdline_proc_show+0x5/0x40 [cmdline_c]
 cmdline_proc_show+0x1/0x2 [other]
---[ end trace 0000000000000000 ]---
cmdline_c: a message of livepatch_cmdline_proc_show+0x1/0x2 [cmdline_c]";

/// Machine with an installed module, whose insertion adds these lines to the kernel's log.
fn machine(log: &'static str) -> Machine {
    let machine = Machine::quiet();
    machine.install(RELEASE, "cmdline-c.ko");
    machine.files.write("/proc/sys/kernel/tainted", "0\n");
    machine.on_insert(move |files| {
        files.patch("cmdline_c", true, false);
        // Kernel modules set O, E and K; a warning or oops sets W or D.
        files.write("/proc/sys/kernel/tainted", if log == OOPS { "45184\n" } else { "45056\n" });
        files.write("/sys/kernel/livepatch/cmdline_c/vmlinux/cmdline_proc_show,1/.keep", "");
        files.log_at(1000, ENABLING);
        files.log_at(1000, log);
        Ok(())
    });
    machine
}

/// Lets the clock of the kernel go on with that of the loader.
fn let_time_pass(machine: &Machine, seconds: u64) {
    for second in 1..=seconds {
        machine.after(Duration::from_secs(second), move |files| {
            files.write("/proc/uptime", format!("{}.00 1\n", 1000 + second));
        });
    }
}

fn status(machine: &Machine) -> Value {
    let document = serde_json::from_str(&machine.run(&["status", "--json"]).out).unwrap();
    support::assert_conforms(&document);
    document
}

fn reboot(machine: &Machine, boot: &str) {
    machine.reboot(boot);
    machine.files.write("/dev/kmsg", "");
    machine.files.write("/proc/sys/kernel/tainted", "0\n");
}

#[test]
fn load_reports_a_bug_in_the_patch() {
    let machine = machine(OOPS);
    let ran = machine.run(&["load", "cmdline_c"]);
    assert_eq!(ran.code, 9);
    let sentence = format!(
        "cmdline_c is applied with a bug: the kernel reported one in livepatch_cmdline_proc_show [cmdline_c]: {TITLE}"
    );
    assert!(ran.err.contains(&format!("kpatch: {sentence}\n")), "{}", ran.err);
    assert!(machine.files.exists(RECORD) && !machine.files.exists(NOTE));

    let check = machine.run(&["status", "--check"]);
    assert_eq!((check.code, check.out), (2, format!("KPATCH CRITICAL - {sentence}\n")));
    let out = machine.run(&["status"]).out;
    assert!(out.contains("cmdline_c [enabled], applied-with-bug\n"), "{out}");
    assert!(
        out.contains("Bug:         2026-11-24T12:00:00Z: cmdline_c in livepatch_cmdline_proc_show [cmdline_c], taint flags D\n"),
        "{out}"
    );
    assert!(
        out.contains("\n             RIP: 0010:livepatch_cmdline_proc_show+0x1d/0x40 [cmdline_c]\n"),
        "{out}"
    );
    let json = status(&machine);
    assert_eq!(json["verdict"], "applied_with_bug");
    let trace = json["patches"][0]["bug"]["trace"].as_array().unwrap();
    assert_eq!(trace.len(), OOPS.lines().count());
    let metrics = machine.run(&["export", "--format", "openmetrics"]).out;
    assert!(metrics.contains("kpatch_verdict{verdict=\"applied_with_bug\"} 1\n"), "{metrics}");
    assert!(
        metrics
            .contains(&format!("kpatch_applied_with_bug{{module=\"cmdline_c\",kernel=\"{RELEASE}\"}} 1\n"))
    );
    let history = machine.run(&["history"]).out;
    assert!(history.contains(" bug       cmdline_c "), "{history}");
    let history = serde_json::from_str(&machine.run(&["history", "--json"]).out).unwrap();
    support::assert_conforms(&history);
    // The listing is that of the original.
    assert!(machine.run(&["list"]).out.contains("\ncmdline_c [enabled]\n"));
}

#[test]
fn load_all_leaves_out_a_patch_with_a_bug_until_it_is_loaded_by_name() {
    let machine = machine(OOPS);
    let ran = machine.run(&["load", "--all"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.ends_with("kpatch: 1 of 1 patch modules could not be loaded without a bug\n"),
        "{}",
        ran.err
    );
    // A clean shutdown does not confirm it.
    assert_eq!(machine.run(&["confirm"]).out, "");
    machine.on_insert(|files| {
        files.patch("cmdline_c", true, false);
        Ok(())
    });
    for boot in ["boot-2", "boot-3"] {
        reboot(&machine, boot);
        let ran = machine.run(&["load", "--all"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        let said = format!(
            "kpatch: cmdline_c is left out: the kernel reported a bug in it at 2026-11-24T12:00:00Z (livepatch_cmdline_proc_show [cmdline_c]): {TITLE}\n"
        );
        assert!(ran.err.starts_with(&said), "{}", ran.err);
        let out = machine.run(&["status"]).out;
        assert!(
            out.contains("leaves cmdline_c out: the kernel reported a bug in it at 2026-11-24T12:00:00Z; kpatch load cmdline_c tries it again\n"),
            "{out}"
        );
        let check = machine.run(&["status", "--check"]);
        let said = "KPATCH WARNING - cmdline_c is left out at boot: the kernel reported a bug in it at 2026-11-24T12:00:00Z\n";
        assert_eq!((check.code, check.out.as_str()), (1, said));
        assert!(machine.run(&["history"]).out.contains(" skip      cmdline_c "));
    }
    let ran = machine.run(&["load", "cmdline_c"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.err.starts_with("kpatch: cmdline_c: the kernel reported a bug in this build at "),
        "{}",
        ran.err
    );
    assert!(!machine.files.exists(RECORD) && machine.files.exists(NOTE), "a new trial");
    machine.run(&["confirm"]);
    reboot(&machine, "boot-4");
    assert_eq!(machine.run(&["load", "--all"]).code, 0);
}

#[test]
fn a_failed_load_keeps_the_record() {
    let machine = machine(OOPS);
    machine.run(&["load", "cmdline_c"]);
    reboot(&machine, "boot-2");
    machine.on_insert(|_| Err(rustix::io::Errno::INVAL));
    assert_eq!(machine.run(&["load", "cmdline_c"]).code, 5);
    assert!(machine.files.exists(RECORD));
}

#[test]
fn reports_about_other_functions_are_ignored() {
    let machine = machine(OTHERS);
    machine.files.log_at(900, OOPS);
    let ran = machine.run(&["load", "cmdline_c"]);
    assert_eq!((ran.code, ran.complaints().as_str()), (0, ""));
    let ran = machine.run(&["confirm"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "cmdline_c is confirmed: as asked for\n"));
    assert!(!machine.files.exists(RECORD));
}

#[test]
fn confirm_records_a_bug_of_the_settle_time() {
    for function in
        ["cmdline_proc_show+0x1/0x2", "livepatch_cmdline_proc_show+0x1/0x2", "helper+0x1/0x2 [cmdline_c]"]
    {
        let machine = machine("");
        // A report before the load.
        machine.files.log_at(1000, OOPS);
        assert_eq!(machine.run(&["load", "cmdline_c"]).code, 0);
        let_time_pass(&machine, 400);
        let title = format!("WARNING: CPU: 0 PID: 7 at fs/proc/cmdline.c:9 {function}");
        let report =
            format!("------------[ cut here ]------------\n{title}\n---[ end trace 0000000000000000 ]---");
        machine.after(Duration::from_secs(100), move |files| files.log_at(1100, &report));
        let ran = machine.run(&["confirm", "--settle", "300"]);
        assert_eq!((ran.code, ran.out.as_str()), (9, ""), "{}", ran.err);
        assert!(ran.err.contains(&title), "{}", ran.err);
        assert!((100..110).contains(&machine.waited().as_secs()), "at once: {:?}", machine.waited());
        assert!(machine.files.exists(RECORD) && !machine.files.exists(NOTE));
        assert!(
            !machine.files.exists("/run/kpatch/trial/cmdline_c"),
            "kpatch-settle.path would start it again"
        );
        assert_eq!(machine.run(&["status", "--check"]).code, 2);
    }
}

#[test]
fn confirm_goes_on_with_the_other_patches() {
    let machine = machine(OOPS);
    machine.run(&["load", "cmdline_c"]);
    let other = machine.file("other.ko", &module_named("other", &[]));
    machine.on_insert(|files| {
        files.patch("other", true, false);
        Ok(())
    });
    assert_eq!(machine.run(&["load", &other]).code, 0);
    assert_eq!(machine.run(&["confirm"]).out, "other is confirmed: as asked for\n");
}

#[test]
fn without_the_log_the_taint_flags_decide() {
    let without_log = |taint: &str| {
        let machine = machine("");
        assert_eq!(machine.run(&["load", "cmdline_c"]).code, 0);
        std::fs::remove_file(machine.files.path("/dev/kmsg")).unwrap();
        machine.files.write("/proc/sys/kernel/tainted", taint);
        machine
    };
    // P, O, E, K: of modules.
    let machine = without_log("45057\n");
    assert_eq!(machine.run(&["confirm"]).code, 0);
    assert!(!machine.files.exists(NOTE));

    let machine = without_log("45568\n");
    let ran = machine.run(&["confirm"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.starts_with("kpatch: cmdline_c is not confirmed: the kernel has reported a bug since the load (taint flags W), and its log cannot tell where: No such file"),
        "{}",
        ran.err
    );
    assert!(machine.files.exists(NOTE) && !machine.files.exists("/run/kpatch/trial/cmdline_c"));
    let ran = machine.run(&["confirm", "--clear-bugs"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "cmdline_c is confirmed: as asked for\n"));

    // The log does not go back to the load.
    let machine = without_log("45568\n");
    machine.files.write("/dev/kmsg", "6,9,1200000000,-;eth0: link up\n");
    let ran = machine.run(&["confirm"]);
    assert!(ran.code == 1 && ran.err.contains("it does not go back to the load"), "{}", ran.err);
}

#[test]
fn confirm_clear_bugs_loads_the_patch_at_the_next_boot() {
    let machine = machine(OOPS);
    machine.run(&["load", "cmdline_c"]);
    let ran = machine.run(&["confirm", "--clear-bugs"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "cmdline_c is confirmed: its recorded bug is cleared\n"));
    assert_eq!(machine.run(&["status", "--check"]).code, 0);
    machine.run(&["confirm"]);
    assert!(!machine.files.exists(RECORD), "the same report is not recorded again");
}

#[test]
fn unload_ends_the_state_and_another_build_is_loaded() {
    let machine = machine(OOPS);
    machine.run(&["load", "cmdline_c"]);
    machine.after(Duration::from_millis(1), |files| files.disabled("cmdline_c"));
    assert_eq!(machine.run(&["unload", "cmdline_c"]).code, 0);
    let check = machine.run(&["status", "--check"]);
    assert!(check.code == 1 && check.out.contains("cmdline_c is left out at boot"), "{}", check.out);
    assert!(!machine.run(&["status"]).out.contains("applied-with-bug"));

    let mut other = support::module_with("kpatch test data", "another old data");
    let at = other.windows(8).position(|window| window == b"\x03\0\0\0GNU\0").unwrap() + 8;
    other[at] ^= 0xff;
    machine.files.write(&format!("/var/lib/kpatch/{RELEASE}/cmdline-c.ko"), &other);
    machine.on_insert(|files| {
        files.patch("cmdline_c", true, false);
        Ok(())
    });
    reboot(&machine, "boot-2");
    assert_eq!(machine.run(&["load", "--all"]).code, 0);
    assert!(!machine.files.exists(RECORD));
    assert_eq!(machine.run(&["status", "--check"]).code, 0);
}

#[test]
fn a_newer_version_ends_the_state() {
    let machine = machine("");
    for release in [1, 2] {
        let name = format!("kpatch_k_1_{release}");
        let path = machine.file(&format!("kpatch-k-1-{release}.ko"), &module_named(&name, &[]));
        machine.on_insert(move |files: &Files| {
            if release == 2 {
                files.remove("/sys/kernel/livepatch/kpatch_k_1_1");
            }
            files.patch(&name, true, false);
            if release == 1 {
                files.log_at(1000, &OOPS.replace("[cmdline_c]", &format!("[{name}]")));
            }
            Ok(())
        });
        assert_eq!(machine.run(&["load", &path]).code, if release == 1 { 9 } else { 0 });
    }
    let out = machine.run(&["status"]).out;
    assert!(out.contains("kpatch_k_1_2 [enabled], not confirmed yet\n") && !out.contains("bug"), "{out}");
}

#[test]
fn uninstall_removes_the_record() {
    let machine = machine(OOPS);
    machine.run(&["load", "cmdline_c"]);
    assert_eq!(machine.run(&["uninstall", "cmdline_c"]).code, 0);
    assert!(machine.files.exists(RECORD), "the patch is still loaded");
    assert_eq!(machine.run(&["status", "--check"]).code, 2);
    reboot(&machine, "boot-2");
    let other = machine.file("other.ko", &module_named("other", &[]));
    assert_eq!(machine.run(&["install", &other]).code, 0);
    assert!(!machine.files.exists(RECORD));
}

#[test]
fn long_traces_are_cut() {
    let machine = machine("");
    let lines: String = (0..300).map(|number| format!(" f{number}+0x1/0x2\n")).collect();
    let report = OOPS.replace(" <TASK>\n", &format!(" <TASK>\n{lines}"));
    let report = report.replace(" seq_read_iter", &format!(" {}", "x".repeat(2000)));
    machine.on_insert(move |files| {
        files.patch("cmdline_c", true, false);
        files.log_at(1000, &report);
        Ok(())
    });
    assert_eq!(machine.run(&["load", "cmdline_c"]).code, 9);
    let bug = &status(&machine)["patches"][0]["bug"];
    assert_eq!(bug["trace"].as_array().unwrap().len(), 100);
    assert_eq!(bug["left_out"], 300 + OOPS.lines().count() - 100);
    let out = machine.run(&["status"]).out;
    assert!(out.contains("(297 more lines: kpatch status --json, journalctl -k)\n"), "{out}");
    assert!(machine.files.read(RECORD).len() < 64 * 1024);
}

#[test]
fn garbage_in_a_record_is_no_record() {
    let machine = machine("");
    machine.files.write(RECORD, "garbage");
    assert_eq!(machine.run(&["load", "--all"]).code, 0);
    assert_eq!(machine.run(&["status", "--check"]).code, 0);
    assert!(!machine.files.exists(RECORD));
}
