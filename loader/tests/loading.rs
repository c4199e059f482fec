// SPDX-License-Identifier: GPL-2.0-or-later
//! `load`: messages, calls to the kernel, and errors.

use std::time::Duration;

use rustix::io::Errno;

use crate::support::{MODULE, Machine, RELEASE, module_with};

const PATCH: &str = "/sys/kernel/livepatch/cmdline_c";

#[test]
fn load_inserts_a_module() {
    let machine = Machine::new();
    let path = machine.file("some-name.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "loading patch module: /tmp/some-name.ko\n"));
    assert_eq!(ran.complaints(), "");
    assert_eq!(machine.calls(), ["insert"]);
    assert_eq!(machine.waited(), Duration::ZERO);
}

#[test]
fn load_of_an_enabled_patch_succeeds_without_insertion() {
    let machine = Machine::new();
    machine.install(RELEASE, "cmdline-c.ko");
    machine.files.patch("cmdline_c", true, false);
    let ran = machine.run(&["load", "cmdline_c"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "module named cmdline_c already loaded and enabled\n"));
    assert_eq!(ran.err, "");
    assert!(machine.calls().is_empty());

    machine.files.write("/sys/module/cmdline_c/notes/.note.gnu.build-id", "another");
    let ran = machine.run(&["load", "cmdline_c"]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("the loaded module cmdline_c is another build than /var/lib/kpatch/"));
}

#[test]
fn load_waits_in_steps_from_one_millisecond() {
    let machine = Machine::new();
    machine.on_insert(|files| {
        files.patch("cmdline_c", true, true);
        Ok(())
    });
    machine.after(Duration::from_millis(2), |files| files.patch("cmdline_c", true, false));
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(
        ran.out,
        "loading patch module: /tmp/a.ko
waiting (up to 15 seconds) for patch transition to complete...
transition complete (0 seconds)
"
    );
    assert_eq!(ran.code, 0);
    assert!(machine.waited() < Duration::from_millis(10), "{:?}", machine.waited());
}

#[test]
fn load_succeeds_if_the_transition_ends_after_the_signal() {
    let machine = Machine::new();
    machine.on_insert(|files| {
        files.patch("cmdline_c", true, true);
        Ok(())
    });
    machine.after(Duration::from_millis(17_500), |files| files.patch("cmdline_c", true, false));
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(
        ran.out,
        "loading patch module: /tmp/a.ko
waiting (up to 15 seconds) for patch transition to complete...
patch transition has stalled!
waiting (up to 60 seconds) for patch transition to complete...
transition complete (2 seconds)
"
    );
    assert_eq!(
        ran.complaints(),
        "kpatch: Livepatch process signaling is performed automatically on your system.
kpatch: Skipping manual process signaling.
"
    );
    assert_eq!(ran.code, 0);
}

#[test]
fn load_writes_the_signal_file_of_a_stalled_patch() {
    let machine = Machine::new();
    machine.on_insert(|files| {
        files.patch("cmdline_c", true, true);
        files.write(&format!("{PATCH}/signal"), "");
        Ok(())
    });
    machine.after(Duration::from_secs(16), |files| {
        assert_eq!(files.read(&format!("{PATCH}/signal")), "1");
        files.patch("cmdline_c", true, false);
    });
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert!(
        ran.out.contains("has stalled!\nsignaling stalled process(es):\nwaiting (up to 60"),
        "{}",
        ran.out
    );
    assert_eq!((ran.code, ran.complaints().as_str()), (0, ""));
}

#[test]
fn stalled_load_is_reported_and_undone() {
    let machine = Machine::new();
    machine.on_insert(|files| {
        files.patch("cmdline_c", true, true);
        files.task(7, 7, "sleeper", "0", "[<0>] cmdline_proc_show+0x1/0x2\n");
        Ok(())
    });
    machine.after(Duration::from_secs(78), |files| {
        assert_eq!(files.read(&format!("{PATCH}/enabled")), "0");
        files.disabled("cmdline_c");
    });
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(
        ran.out,
        "loading patch module: /tmp/a.ko
waiting (up to 15 seconds) for patch transition to complete...
patch transition has stalled!
waiting (up to 60 seconds) for patch transition to complete...

Stalled processes:
7 sleeper
stack:
[<0>] cmdline_proc_show+0x1/0x2
module cmdline_c did not complete its transition, unloading...
disabling patch module: cmdline_c
waiting (up to 15 seconds) for patch transition to complete...
transition complete (3 seconds)
unloading patch module: cmdline_c
"
    );
    assert!(ran.err.ends_with("kpatch: error: failed to load module cmdline_c (transition stalled)\n"));
    assert_eq!(ran.code, 6);
    assert_eq!(machine.calls(), ["insert", "remove cmdline_c"]);
}

#[test]
fn stalled_load_reports_a_failed_undo() {
    let machine = Machine::new();
    machine.on_insert(|files| {
        files.patch("cmdline_c", true, true);
        Ok(())
    });
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(ran.code, 6);
    assert!(ran.err.contains("(transition stalled)\n  it could not be taken out again:\n"), "{}", ran.err);
    assert!(ran.err.contains("kpatch list shows its state"));
    assert_eq!(machine.calls(), ["insert"]);
}

#[test]
fn load_fails_if_another_program_disables_the_patch() {
    let machine = Machine::new();
    machine.on_insert(|files| {
        files.patch("cmdline_c", true, true);
        Ok(())
    });
    machine.after(Duration::from_millis(5), |files| files.disabled("cmdline_c"));
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("kpatch: module cmdline_c is no longer enabled after its transition: "));
}

#[test]
fn load_removes_a_replaced_module_before_insertion() {
    let machine = Machine::new();
    machine.files.module("cmdline_c", "1");
    machine.after(Duration::from_millis(50), |files| files.module("cmdline_c", "0"));
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "loading patch module: /tmp/a.ko\n"));
    assert_eq!(machine.calls(), ["remove cmdline_c", "insert"]);
}

#[test]
fn load_re_enables_a_patch_that_is_being_disabled() {
    let machine = Machine::new();
    machine.files.patch("cmdline_c", false, true);
    machine.after(Duration::from_millis(5), |files| {
        assert_eq!(files.read(&format!("{PATCH}/enabled")), "1");
        files.patch("cmdline_c", true, false);
    });
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(
        ran.out,
        "module already loaded, re-enabling
waiting (up to 15 seconds) for patch transition to complete...
transition complete (0 seconds)
"
    );
    assert_eq!(ran.code, 0);
    assert!(machine.calls().is_empty());

    machine.files.patch("cmdline_c", false, true);
    machine.files.write("/sys/module/cmdline_c/notes/.note.gnu.build-id", "another");
    let ran = machine.run(&["load", &path]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.starts_with("kpatch: cannot re-enable cmdline_c: "), "{}", ran.err);
}

#[test]
fn load_keeps_a_loaded_module_that_is_no_live_patch() {
    let machine = Machine::new();
    machine.files.module("cmdline_c", "0");
    machine.files.write("/sys/module/cmdline_c/taint", "OE\n");
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("is not a live patch"), "{}", ran.err);
    assert!(machine.calls().is_empty());
}

#[test]
fn load_refuses_unsuitable_modules_before_insertion() {
    let foreign = {
        let mut bytes = MODULE.to_vec();
        bytes[18..20].copy_from_slice(&if cfg!(target_arch = "x86_64") { 183_u16 } else { 62 }.to_le_bytes());
        bytes
    };
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("plain", module_with("livepatch=Y", "livepotch=Y"), "not a live patch"),
        ("machine", foreign, "it is for "),
        (
            "release",
            module_with("6.12.117+deb12-amd64 SMP", "6.12.116+deb12-amd64 SMP"),
            "invalid module version 6.12.116+deb12-amd64 for kernel 6.12.117+deb12-amd64",
        ),
        ("magic", module_with("vermagic=", "vermogic="), "no vermagic"),
        (
            "unconverted",
            module_with("klp_enable_patch\0", "__klp_sym_17_abc\0"),
            "it was not converted: 1 symbols that are meant for the livepatch core are still ordinary undefined ones, which the kernel cannot resolve (__klp_sym_17_abc); run the build's postlink stage on it",
        ),
        ("cut", MODULE[..5000].to_vec(), "the file is cut off or damaged"),
        ("text", b"hello".to_vec(), "this is no ELF file"),
        ("empty", Vec::new(), "this is no ELF file"),
        (
            "object",
            module_with(".gnu.linkonce.this_module\0", ".gnu.linkonce.that_module\0"),
            "no finished kernel module",
        ),
    ];
    for (name, bytes, text) in cases {
        let machine = Machine::new();
        let path = machine.file(&format!("{name}.ko"), bytes);
        let ran = machine.run(&["load", &path]);
        assert!(ran.err.contains(text), "{name}: {}", ran.err);
        assert!(ran.err.starts_with(&format!("kpatch: /tmp/{name}.ko cannot be loaded: ")), "{}", ran.err);
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{name}");
        assert!(machine.calls().is_empty());

        // With --no-check the kernel decides.
        machine.on_insert(|files| {
            files.log("kpatch_test: nonsense");
            Err(Errno::NOEXEC)
        });
        let ran = machine.run(&["load", "--no-check", &path]);
        assert_eq!((ran.code, ran.out), (5, format!("loading patch module: /tmp/{name}.ko\n")));
        assert_eq!(machine.calls(), ["insert"]);
    }
}

#[test]
fn load_reports_all_refusals() {
    let machine = Machine::new();
    machine.files.remove("/sys/kernel/livepatch");
    machine.files.write("/proc/sys/kernel/osrelease", "7.3.4\n");
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(
        ran.err,
        "kpatch: /tmp/a.ko cannot be loaded:
  - invalid module version 6.12.117+deb12-amd64 for kernel 7.3.4; get or build the patch for 7.3.4
  - the running kernel has no live patching (there is no /sys/kernel/livepatch): it was built without CONFIG_LIVEPATCH
"
    );
}

#[test]
fn insertion_error_is_explained_by_the_kernel_log() {
    let machine = Machine::new();
    machine.files.write("/dev/kmsg", "6,1,1,-;an older line: Unknown symbol\n");
    machine.on_insert(|files| {
        files.log("cmdline_c: Unknown symbol __klp_sym_0 (err -2)");
        Err(Errno::NOENT)
    });
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(
        ran.err,
        "kpatch: failed to load module /tmp/a.ko: the kernel refused it with ENOENT (No such file or directory)
  cause: the module was not converted: its livepatch symbols are ordinary undefined symbols still; run the build's postlink stage on it
  the kernel log says:
    cmdline_c: Unknown symbol __klp_sym_0 (err -2)
"
    );
    assert_eq!(ran.code, 5);
}

#[test]
fn insertion_error_without_known_log_line_lists_likely_causes() {
    for (errno, name, text) in [
        (Errno::NOEXEC, "ENOEXEC", "CONFIG_LIVEPATCH"),
        (Errno::INVAL, "EINVAL", "cannot be traced by ftrace"),
        (Errno::PERM, "EPERM", "only root"),
        (Errno::KEYREJECTED, "EKEYREJECTED", "signed modules only"),
        (Errno::EXIST, "EEXIST", "loaded already"),
    ] {
        let machine = Machine::new();
        machine.on_insert(move |_| Err(errno));
        let path = machine.file("a.ko", MODULE);
        let ran = machine.run(&["load", &path]);
        assert!(ran.err.contains(&format!("refused it with {name} (")), "{}", ran.err);
        assert!(ran.err.contains("\n  likely causes:\n  - ") && ran.err.contains(text), "{}", ran.err);
        assert!(ran.err.contains("the kernel log has no line about it"));
        assert_eq!(machine.calls().len(), 1);
    }
    let machine = Machine::new();
    machine.files.remove("/dev");
    machine.on_insert(|_| Err(Errno::INVAL));
    let path = machine.file("a.ko", MODULE);
    assert!(machine.run(&["load", &path]).err.contains("the kernel log could not be read"));
}

#[test]
fn load_tries_a_busy_kernel_five_times() {
    let machine = Machine::new();
    machine.on_insert(|_| Err(Errno::BUSY));
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(machine.calls().len(), 5);
    assert_eq!(machine.waited(), Duration::from_secs(8));
    assert_eq!(
        (ran.code, ran.err.matches("kpatch: the kernel is busy\nkpatch: retrying...\n").count()),
        (5, 4)
    );
    assert!(ran.err.contains("refused it with EBUSY ("), "{}", ran.err);

    machine.files.patch("other", false, true);
    let ran = machine.run(&["load", &path]);
    assert!(
        ran.err.starts_with("kpatch: the kernel is busy: patch other is in transition\nkpatch: retrying")
    );
    assert!(
        ran.err.contains("\n  cause: patch other is in transition, and there can be only one"),
        "{}",
        ran.err
    );

    let machine = Machine::new();
    let mut left = 2;
    machine.on_insert(move |files| {
        if left == 0 {
            files.patch("cmdline_c", true, false);
            return Ok(());
        }
        left -= 1;
        Err(Errno::BUSY)
    });
    let path = machine.file("a.ko", MODULE);
    assert_eq!(machine.run(&["load", &path]).code, 0);
    assert_eq!(machine.calls().len(), 3);
}

#[test]
fn load_fails_for_a_module_that_patches_nothing() {
    let machine = Machine::new();
    machine.on_insert(|files| {
        files.module("cmdline_c", "0");
        Ok(())
    });
    let path = machine.file("a.ko", MODULE);
    let ran = machine.run(&["load", &path]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("module cmdline_c is loaded but patches nothing"), "{}", ran.err);
}

#[test]
fn load_all_without_modules_succeeds_silently() {
    let machine = Machine::new();
    for _ in 0..2 {
        let ran = machine.run(&["load", "--all"]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
        machine.install("6.1.0-56-amd64", "other.ko");
        machine.files.write(&format!("/var/lib/kpatch/{RELEASE}/.keep"), "");
    }
}

#[test]
fn load_all_continues_after_a_failure() {
    let machine = Machine::new();
    machine.files.write(&format!("/var/lib/kpatch/{RELEASE}/bad.ko"), "garbage");
    machine.install(RELEASE, "cmdline-c.ko");
    let ran = machine.run(&["load", "--all"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.out, format!("loading patch module: /var/lib/kpatch/{RELEASE}/cmdline-c.ko\n"));
    assert!(ran.err.contains("bad.ko cannot be loaded: this is no ELF file"), "{}", ran.err);
    assert!(ran.err.ends_with("kpatch: 1 of 2 patch modules could not be loaded\n"), "{}", ran.err);
}

#[test]
fn load_all_loads_the_newest_of_a_line() {
    let machine = Machine::new();
    machine.install(RELEASE, "kpatch-6_12_117-1-10.ko");
    machine.install(RELEASE, "kpatch-6_12_117-1-2.ko");
    let ran = machine.run(&["load", "--all"]);
    assert_eq!(
        ran.out,
        format!(
            "not loading kpatch_6_12_117_1_2: kpatch_6_12_117_1_10 is newer
loading patch module: /var/lib/kpatch/{RELEASE}/kpatch-6_12_117-1-10.ko
"
        )
    );
    assert_eq!(machine.calls(), ["insert"]);
}

#[test]
fn a_closed_output_does_not_interrupt_a_load() {
    let machine = Machine::new();
    let path = machine.file("a.ko", MODULE);
    let (code, err) = machine.run_closed(&["load", &path]);
    assert_eq!(code, 1);
    assert!(err.ends_with("kpatch: cannot write the output: broken pipe\n"), "{err}");
    assert_eq!(machine.calls(), ["insert"]);
}
