// SPDX-License-Identifier: GPL-2.0-or-later
//! Overrides of replaced functions, which disable a fix: certain ones, possible ones, and tracers that only observe.

use std::fs::File;
use std::io::Write;

use kpatch::BpfLink;
use rustix::io::Errno;

use crate::support::{Machine, manifest, module_named};

const TRACED: &str = "/sys/kernel/tracing/enabled_functions";
const KPROBES: &str = "/sys/kernel/debug/kprobes/list";
const INJECTABLE: &str = "/sys/kernel/debug/error_injection/list";
const FAILING: &str = "/sys/kernel/debug/fail_function/inject";

/// List of Linux 6.12; 6442468360 means BTF object 1 and BTF type 0x4408.
const DIRECT: &str = "cmdline_proc_show (1) R   D   M \ttramp: 0xffffffffc0 (call_direct_funcs+0x0/0x60)
\tdirect-->bpf_trampoline_6442468360+0x0/0xb1
cmdline_proc_open (1)
";
const TARGET: (u32, u32) = (1, 0x4408);
const MODIFY_RETURN: u32 = 26;
const FENTRY: u32 = 24;

fn link(attach_type: u32, target: (u32, u32)) -> BpfLink {
    BpfLink { id: 5, program: 42, attach_type, target }
}

fn machine() -> (Machine, String) {
    let machine = Machine::quiet();
    let path = machine.file("fix.ko", &module_named("kpatch_k_1_1", &[&manifest("demo", (1, 1), "", "")]));
    machine.on_insert(|files| {
        files.patch("kpatch_k_1_1", true, false);
        files.write("/sys/kernel/livepatch/kpatch_k_1_1/vmlinux/cmdline_proc_show,1/.keep", "");
        files.write("/sys/kernel/livepatch/kpatch_k_1_1/vmlinux/patched", "1\n");
        Ok(())
    });
    (machine, path)
}

/// Output of check, load, status and status --check.
fn said(machine: &Machine, path: &str) -> [String; 4] {
    let check = machine.run(&["check", path]);
    let load = machine.run(&["load", path]);
    assert_eq!((check.code, load.code), (0, 0), "{} {}", check.err, load.err);
    let status = machine.run(&["status"]);
    let monitor = machine.run(&["status", "--check"]);
    assert_eq!((status.code, status.err.as_str()), (0, ""));
    [check.out, load.err, status.out, format!("{} {}", monitor.code, monitor.out)]
}

#[test]
fn bpf_program_that_only_observes_is_no_override() {
    let (machine, path) = machine();
    machine.files.write(TRACED, DIRECT);
    machine.bpf(Ok(vec![link(FENTRY, TARGET), link(MODIFY_RETURN, (1, 7))]));
    let [check, load, status, monitor] = said(&machine, &path);
    for text in [check, load] {
        assert!(text.contains("it goes on, but sees the call, not what the replacement does"), "{text}");
        assert!(!text.contains("in the place of"), "{text}");
    }
    assert!(!status.contains("Bypassed"), "{status}");
    assert!(monitor.starts_with("0 KPATCH OK"), "{monitor}");
}

#[test]
fn ftrace_that_the_kernel_switched_off_is_reported() {
    let said_of = |traced: &str, patched: &str| {
        let (machine, path) = machine();
        assert_eq!(machine.run(&["load", &path]).code, 0);
        machine.files.write(TRACED, traced);
        machine.files.write("/sys/kernel/livepatch/kpatch_k_1_1/vmlinux/patched", patched);
        let monitor = machine.run(&["status", "--check"]);
        let status = machine.run(&["status"]).out;
        let unload = machine.run(&["unload", "kpatch_k_1_1"]);
        let next = module_named("kpatch_k_1_2", &[&manifest("demo", (1, 2), "", "")]);
        let load = machine.run(&["load", &machine.file("next.ko", &next)]);
        (monitor.code, monitor.out, status, [load, unload])
    };
    let (code, monitor, status, [load, unload]) = said_of("", "1\n");
    assert!(load.code == 4 && load.err.contains("live patching needs it; reboot"), "{}", load.err);
    assert!(unload.code == 4 && unload.err.contains("can crash the kernel; reboot"), "{}", unload.err);
    assert!(code == 1 && monitor.contains("the kernel has switched ftrace off after an error"), "{monitor}");
    assert!(status.contains("Bypassed:    the kernel has switched ftrace off"), "{status}");
    // Something is traced; or nothing is replaced.
    for (traced, patched) in [("cmdline_proc_show (1) R I\n", "1\n"), ("", "0\n")] {
        let (code, monitor, status, [load, unload]) = said_of(traced, patched);
        assert!(
            !load.err.contains("reboot") && !unload.err.contains("reboot"),
            "{} {}",
            load.err,
            unload.err
        );
        assert!(
            code == 0 && !monitor.contains("ftrace") && !status.contains("Bypassed"),
            "{monitor} {status}"
        );
    }
}

#[test]
fn fmod_ret_program_is_reported_as_an_override() {
    for (kind, others) in [(MODIFY_RETURN, vec![]), (27, vec![]), (MODIFY_RETURN, vec![link(FENTRY, TARGET)])]
    {
        let (machine, path) = machine();
        machine.files.write(TRACED, DIRECT);
        let links = others.into_iter().chain([link(kind, TARGET)]).collect();
        machine.bpf(Ok(links));
        let [check, load, status, monitor] = said(&machine, &path);
        for text in [&check, &load, &status, &monitor] {
            assert!(
                text.contains(
                    "the BPF program 42 (link 5) can answer in the place of cmdline_proc_show (fmod_ret)"
                ),
                "{text}"
            );
            assert!(text.contains("bpftool link detach id 5"), "{text}");
            assert!(!text.contains("it goes on"), "{text}");
        }
        assert!(monitor.starts_with("1 KPATCH WARNING"), "{monitor}");
    }
}

#[test]
fn unknown_direct_caller_is_reported_as_a_possible_override() {
    for (links, list, why) in [
        (Err(Errno::PERM), DIRECT, "bpf(2): EPERM (Operation not permitted)"),
        (Ok(vec![link(FENTRY, (2, 7))]), DIRECT, "no BPF link leads to it"),
        (
            Ok(vec![]),
            "cmdline_proc_show (1) R   D   M \ttramp: x\n\tdirect-->my_tramp+0x0/0x9 [other]\n",
            "the kernel does not say whose it is",
        ),
        (Ok(vec![]), "cmdline_proc_show (1) R   D   M \ttramp: x\n", "the kernel does not say whose it is"),
    ] {
        let (machine, path) = machine();
        machine.files.write(TRACED, list);
        machine.bpf(links);
        let [check, load, status, monitor] = said(&machine, &path);
        for text in [&check, &load, &status] {
            assert!(
                text.contains("of the kind fmod_ret, it answers in the place of cmdline_proc_show"),
                "{text}"
            );
            assert!(text.contains(why) && text.contains("bpftool link shows it"), "{text}");
        }
        assert!(monitor.starts_with("0 KPATCH OK"), "{monitor}");
    }
}

#[test]
fn kprobe_on_an_injectable_function_is_a_possible_override() {
    let probe = "ffffffff8149e1b0  k  cmdline_proc_show+0x0    [FTRACE]\n";
    let tracer = "cmdline_proc_show (1) R    \ttramp: 0xffc0 (fprobe_handler+0x0/0x10)\n";
    for (file, line) in [(KPROBES, probe), (TRACED, tracer)] {
        let (machine, path) = machine();
        machine.files.write(file, line);
        machine.files.write(INJECTABLE, "other\tERRNO\ncmdline_proc_show\tERRNO\n");
        let [check, load, ..] = said(&machine, &path);
        for text in [check, load] {
            assert!(text.contains("cmdline_proc_show allows error injection: a BPF program on it may answer in its place (bpf_override_return)"), "{text}");
        }
        // The probed function does not allow error injection.
        let (machine, path) = self::machine();
        machine.files.write(file, line);
        machine.files.write(INJECTABLE, "other\tERRNO\n");
        assert!(!said(&machine, &path)[0].contains("bpf_override_return"));
    }
    let (machine, path) = machine();
    machine.files.write(KPROBES, probe);
    machine.files.write(INJECTABLE, "cmdline_proc_show\tERRNO\n");
    let [_, _, status, monitor] = said(&machine, &path);
    assert!(status.contains("Bypassed:    cmdline_proc_show allows error injection"), "{status}");
    assert!(monitor.starts_with('0'), "{monitor}");
    machine.files.write(FAILING, "cmdline_proc_show\n");
    let [_, _, status, monitor] = said(&machine, &path);
    assert!(
        status.contains("Bypassed:    fail_function is set to answer in the place of cmdline_proc_show"),
        "{status}"
    );
    assert!(monitor.starts_with("1 KPATCH WARNING - fail_function"), "{monitor}");
}

#[test]
fn status_names_checks_that_could_not_be_made() {
    let (machine, path) = machine();
    assert_eq!(machine.run(&["load", &path]).code, 0);
    std::fs::remove_file(machine.files.path(TRACED)).unwrap();
    std::fs::remove_file(machine.files.path(KPROBES)).unwrap();
    let status = machine.run(&["status"]).out;
    assert!(status.contains("Not checked: BPF programs on the replaced functions (/sys/kernel/tracing/enabled_functions: not mounted)"), "{status}");
    assert!(status.contains("Not checked: kprobes on the replaced functions"), "{status}");
    let json: serde_json::Value = serde_json::from_str(&machine.run(&["status", "--json"]).out).unwrap();
    assert_eq!(json["not_checked"].as_array().unwrap().len(), 2);
}

#[test]
fn load_names_checks_that_could_not_be_made() {
    let (machine, path) = machine();
    std::fs::remove_file(machine.files.path(TRACED)).unwrap();
    std::fs::remove_file(machine.files.path(KPROBES)).unwrap();
    let check = machine.run(&["check", &path]).out;
    let load = machine.run(&["load", &path]).err;
    let unchecked: Vec<&str> = check.lines().filter_map(|line| line.strip_prefix("not checked: ")).collect();
    assert_eq!(unchecked.len(), 2, "{check}");
    for text in unchecked {
        assert!(load.contains(&format!("kpatch: kpatch_k_1_1: not checked: {text}\n")), "{load}");
    }
}

/// The kernel returns a list in pieces of any length.
#[test]
fn check_reads_a_tracer_list_in_several_pieces() {
    let (machine, path) = machine();
    std::fs::remove_file(machine.files.path(TRACED)).unwrap();
    let pipe = machine.files.path(TRACED);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let writer = std::thread::spawn(move || {
        let mut pipe = File::options().write(true).open(pipe).unwrap();
        pipe.write_all(b"first_function (1)\n").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        pipe.write_all(b"cmdline_proc_show (1) R    \ttramp: 0xffc0 (function_trace_call+0x0/0x10)\n")
    });
    let check = machine.run(&["check", &path]);
    writer.join().unwrap().unwrap();
    assert!(check.out.contains("cmdline_proc_show is being traced"), "{}", check.out);
}
