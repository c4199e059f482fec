// SPDX-License-Identifier: GPL-2.0-or-later
//! Stalled transitions: reports on tasks, effects of each policy, and interruption by signals.

use std::time::Duration;

use crate::support::{self, MODULE, Machine};

const PATCH: &str = "/sys/kernel/livepatch/cmdline_c";
const SIGTERM: i32 = 15;

/// Machine whose kernel starts a transition at each insertion, with one blocking task.
fn stalling() -> (Machine, String) {
    let machine = Machine::new();
    machine.on_insert(|files| {
        files.patch("cmdline_c", true, true);
        files.write(&format!("{PATCH}/vmlinux/cmdline_proc_show,1/.keep"), "");
        files.task(7, 8, "sleeper", "0", "[<0>] msleep+0x2d/0x40\n[<0>] cmdline_proc_show+0x1/0x2\n");
        files.write(
            "/proc/7/task/8/stat",
            "8 (slee) per) S 1 8 8 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 94000 0 0",
        );
        files.write("/proc/7/cgroup", "0::/system.slice/slow.service\n");
        Ok(())
    });
    let path = machine.file("a.ko", MODULE);
    (machine, path)
}

#[test]
fn blocking_task_is_shown_with_function_age_and_advice() {
    let (machine, path) = stalling();
    let ran = machine.run(&["load", "--on-stall", "fail", &path]);
    assert!(
        ran.out.ends_with("\n\nStalled processes:\n8 sleeper\nstack:\n[<0>] msleep+0x2d/0x40\n[<0>] cmdline_proc_show+0x1/0x2\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.err.contains("kpatch: 8 sleeper is in cmdline_proc_show, was started 60 s ago; it is asleep: the kernel wakes it every 15 seconds; if it goes back to sleep there: systemctl restart slow.service\n"),
        "{}",
        ran.err
    );
    let status = machine.run(&["status"]);
    assert!(status.out.contains("Transition:  cmdline_c, 1 tasks to go\n"), "{}", status.out);
    assert!(
        status.out.contains("8 sleeper is in cmdline_proc_show, was started 60 s ago\n"),
        "{}",
        status.out
    );
    assert!(status.out.contains("systemctl restart slow.service"), "{}", status.out);
    machine.files.write("/proc/uptime", "1020.5 1\n");
    let check = machine.run(&["status", "--check"]);
    assert_eq!(
        (check.code, check.out.as_str(), check.err.as_str()),
        (
            2,
            "KPATCH CRITICAL - cmdline_c is in transition, 1 tasks to go: 8 sleeper is in cmdline_proc_show, was started 80 s ago\n",
            ""
        )
    );
}

#[test]
fn advice_depends_on_the_task_state() {
    for (state, flags, text) in [
        ('D', 0, "cannot be woken by a signal"),
        ('T', 0, "it is stopped: continue it (kill -CONT 7)"),
        ('R', 0, "it runs in the kernel"),
        ('S', 0x0020_0000, "it is a thread of the kernel"),
    ] {
        let (machine, path) = stalling();
        machine.run(&["load", "--on-stall", "fail", "--deadline", "1", &path]);
        let stat = format!("8 (x) {state} 1 8 8 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 94000 0 0");
        machine.files.write("/proc/7/task/8/stat", stat);
        assert!(machine.run(&["status"]).out.contains(text), "{state}");
    }
}

#[test]
fn policy_fail_leaves_the_transition_to_the_kernel() {
    let (machine, path) = stalling();
    let ran = machine.run(&["load", "--on-stall", "fail", "--deadline", "20", &path]);
    assert_eq!((ran.code, machine.waited()), (6, Duration::from_secs(20)));
    assert!(ran.out.contains("waiting (up to 5 seconds)"), "{}", ran.out);
    assert!(
        ran.err.contains(
            "kpatch: transition stalled for cmdline_c\n  the module stays loaded, and the kernel goes on"
        ),
        "{}",
        ran.err
    );
    let unchecked = "kpatch: cmdline_c: not checked: kprobes: debugfs is not mounted or not to be read\n";
    assert!(ran.err.contains(unchecked), "the module stays loaded: {}", ran.err);
    assert_eq!(machine.files.read(&format!("{PATCH}/enabled")), "1");
    assert_eq!(machine.calls(), ["insert"]);
}

#[test]
fn policy_wait_reports_every_minute_and_releases_the_lock() {
    let (machine, path) = stalling();
    machine.after(Duration::from_secs(200), |files| files.patch("cmdline_c", true, false));
    let ran = machine.run(&["load", "--on-stall", "wait", &path]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.err.contains(
            "kpatch: still waiting after 135 seconds: 1 tasks to go\nkpatch: still waiting after 195 seconds"
        ),
        "{}",
        ran.err
    );
    assert!(ran.out.ends_with("transition complete (200 seconds)\n"), "{}", ran.out);

    let (machine, path) = stalling();
    let ran = machine.run(&["load", "--on-stall", "wait", "--deadline", "100", &path]);
    assert_eq!((ran.code, machine.waited()), (6, Duration::from_secs(100)));
    assert!(ran.err.contains("the module stays loaded"), "{}", ran.err);
}

/// The kernel takes the functions out of ftrace one after the other, long after the last task has changed over.
#[test]
fn unload_waits_for_a_patch_that_no_task_holds() {
    let machine = Machine::new();
    machine.files.patch("fix", true, false);
    machine.after(Duration::from_millis(1), |files| files.patch("fix", false, true));
    machine.files.patch("fix", true, true);
    machine.after(Duration::from_secs(300), |files| files.patch("fix", false, false));
    let ran = machine.run(&["unload", "fix"]);
    assert!(ran.out.contains("every task has changed over: waiting until"), "{}", ran.out);
    assert!(ran.out.contains("transition complete (3"), "{}", ran.out);
    assert!(!ran.err.contains("named above"), "{}", ran.err);
}

#[test]
fn policy_reverse_enables_the_patch_again() {
    let machine = Machine::new();
    machine.files.patch("fix", true, false);
    machine.after(Duration::from_millis(1), |files| files.patch("fix", false, true));
    machine.files.patch("fix", true, true);
    machine.after(Duration::from_secs(76), |files| {
        assert_eq!(files.read("/sys/kernel/livepatch/fix/enabled"), "1");
        files.patch("fix", true, false);
    });
    let ran = machine.run(&["unload", "--on-stall", "reverse", "fix"]);
    assert_eq!(ran.code, 6);
    assert!(
        ran.out.contains("module fix did not complete its transition, enabling it again...\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.err.ends_with(
            "kpatch: failed to disable module fix\n  it is enabled again for all tasks: nothing has changed\n"
        ),
        "{}",
        ran.err
    );
    assert!(machine.calls().is_empty());
}

#[test]
fn interrupted_commands_report_the_state() {
    let (machine, path) = stalling();
    machine.signal_after(Duration::from_secs(3), SIGTERM);
    let ran = machine.run(&["load", &path]);
    assert_eq!(ran.code, 128 + 15);
    assert!(
        ran.err.contains(
            "kpatch: interrupted by SIGTERM: cmdline_c is loaded, and the kernel goes on with its transition"
        ),
        "{}",
        ran.err
    );
    assert!(ran.err.contains(": not checked: kprobes: "), "the module stays loaded: {}", ran.err);
    assert!(machine.waited() < Duration::from_secs(4));
    assert_eq!(machine.calls(), ["insert"]);

    let machine = Machine::new();
    machine.files.patch("fix", true, true);
    machine.signal_after(Duration::from_secs(3), 2);
    let ran = machine.run(&["unload", "fix"]);
    assert_eq!(ran.code, 130);
    assert!(
        ran.err.contains("interrupted by SIGINT: fix is being disabled, and the kernel goes on"),
        "{}",
        ran.err
    );
}

#[test]
fn load_all_keeps_its_total_deadline() {
    let machine = Machine::new();
    for name in ["a", "b", "c"] {
        machine.files.write(
            &format!("/var/lib/kpatch/{}/{name}.ko", support::RELEASE),
            support::module_named(name, &[]),
        );
    }
    machine.on_insert(|files| {
        let next = ["a", "b", "c"].iter().find(|name| !files.exists(&format!("/sys/module/{name}"))).unwrap();
        files.patch(next, true, true);
        Ok(())
    });
    let ran = machine.run(&["load", "--all", "--on-stall", "fail"]);
    assert_eq!(ran.code, 1);
    assert_eq!(machine.waited(), Duration::from_secs(120));
    assert!(ran.err.ends_with("kpatch: 3 of 3 patch modules could not be loaded\n"), "{}", ran.err);
}

#[test]
fn force_needs_the_acknowledgement_and_is_recorded() {
    let (machine, path) = stalling();
    machine.run(&["load", "--on-stall", "fail", "--deadline", "1", &path]);
    machine.files.write(&format!("{PATCH}/force"), "");
    let ran = machine.run(&["force"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("neither the patch nor its module can ever be removed"), "{}", ran.err);
    assert_eq!(machine.files.read(&format!("{PATCH}/force")), "");
    let ran = machine.run(&["force", "--it-can-never-be-unloaded"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "forcing the transition of patch module: cmdline_c\n"));
    assert_eq!(machine.files.read(&format!("{PATCH}/force")), "1");
    assert!(machine.run(&["history"]).out.contains(" force     cmdline_c "));
    machine.files.patch("cmdline_c", true, false);
    let ran = machine.run(&["force", "--it-can-never-be-unloaded"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
}

#[test]
fn signal_writes_the_signal_file_of_the_patch_in_transition() {
    let machine = Machine::new();
    let ran = machine.run(&["signal"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    machine.files.patch("fix", true, true);
    let ran = machine.run(&["signal"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert_eq!(
        ran.err,
        "kpatch: Livepatch process signaling is performed automatically on your system.
kpatch: Skipping manual process signaling.
"
    );
    machine.files.write("/sys/kernel/livepatch/fix/signal", "");
    let ran = machine.run(&["signal"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "signaling stalled process(es):\n"));
    assert_eq!(machine.files.read("/sys/kernel/livepatch/fix/signal"), "1");
}
