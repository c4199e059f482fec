// SPDX-License-Identifier: GPL-2.0-or-later
//! Loading at boot: a patch is unconfirmed until `confirm`, and is left out after an unclean boot.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::{self, Machine, RELEASE, module_named};

const NOTE: &str = "/var/lib/kpatch/.trial-cmdline_c";

fn installed() -> Machine {
    let machine = Machine::new();
    machine.install(RELEASE, "cmdline-c.ko");
    machine
}

#[test]
fn load_all_leaves_out_a_patch_after_an_unclean_boot() {
    let machine = installed();
    machine.on_insert(|files| {
        assert!(files.exists(NOTE), "the note is there before the kernel can crash");
        files.patch("cmdline_c", true, false);
        Ok(())
    });
    assert_eq!(machine.run(&["load", "--all"]).code, 0);
    assert!(machine.run(&["status"]).out.contains("cmdline_c [enabled], not confirmed yet\n"));
    for boot in ["boot-2", "boot-3"] {
        machine.reboot(boot);
        let ran = machine.run(&["load", "--all"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(
            ran.err.starts_with("kpatch: cmdline_c is left out: the boot in which it was loaded at 2026-11-24T12:00:00Z ended without a shutdown in good order"),
            "{}",
            ran.err
        );
        assert!(machine.run(&["history"]).out.contains(" skip      cmdline_c "));
        assert!(
            machine
                .run(&["status"])
                .out
                .contains("leaves cmdline_c out: an earlier boot with it ended unclean")
        );
        let check = machine.run(&["status", "--check"]);
        assert_eq!(check.code, 1);
        assert_eq!(
            check.out,
            "KPATCH WARNING - cmdline_c is left out at boot: an earlier boot with it ended unclean\n"
        );
    }
    assert_eq!(machine.calls(), ["insert"]);
    assert_eq!(machine.run(&["load", "cmdline_c"]).code, 0);
    machine.run(&["confirm"]);
    machine.reboot("boot-4");
    assert_eq!(machine.run(&["load", "--all"]).code, 0);
}

#[test]
fn load_all_loads_another_build_after_an_unclean_boot() {
    let machine = installed();
    machine.run(&["load", "--all"]);
    machine.reboot("boot-2");
    let other = support::module_with("kpatch test data", "another old data");
    let file = format!("/var/lib/kpatch/{RELEASE}/cmdline-c.ko");
    machine.files.write(&file, &other);
    assert_eq!(machine.run(&["load", "--all"]).code, 1, "the build id is the same");
    // NT_GNU_BUILD_ID, name, and the first byte of the id.
    let at = other.windows(8).position(|window| window == b"\x03\0\0\0GNU\0").unwrap() + 8;
    let mut other = other;
    other[at] ^= 0xff;
    machine.files.write(&file, &other);
    assert_eq!(machine.run(&["load", "--all"]).code, 0);
}

#[test]
fn confirm_confirms_at_once_on_sigterm() {
    let machine = installed();
    machine.run(&["load", "--all"]);
    machine.signal_after(Duration::from_secs(2), 15);
    let ran = machine.run(&["confirm", "--settle", "300"]);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.out, "cmdline_c is confirmed: the machine is being shut down in good order\n");
    assert!(machine.waited() < Duration::from_secs(3));
    machine.reboot("boot-2");
    assert_eq!(machine.run(&["load", "--all"]).code, 0);
}

#[test]
fn confirm_waits_for_the_settle_time() {
    let machine = installed();
    machine.run(&["load", "--all"]);
    for second in 1..=400 {
        machine.after(Duration::from_secs(second), move |files| {
            files.write("/proc/uptime", format!("{}.00 1\n", 1000 + second));
        });
    }
    machine.after(Duration::from_secs(299), |files| assert!(files.exists(NOTE)));
    let ran = machine.run(&["confirm", "--settle", "300"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "cmdline_c is confirmed: it has settled\n"));
    assert!(machine.waited() >= Duration::from_secs(300));
    assert!(!machine.files.exists(NOTE));
}

#[test]
fn failed_load_and_unload_remove_the_boot_note() {
    let machine = installed();
    machine.on_insert(|_| Err(rustix::io::Errno::INVAL));
    assert_eq!(machine.run(&["load", "cmdline_c"]).code, 5);
    assert!(!machine.files.exists(NOTE));

    let machine = installed();
    machine.run(&["load", "cmdline_c"]);
    machine.after(Duration::from_millis(1), |files| files.disabled("cmdline_c"));
    assert_eq!(machine.run(&["unload", "cmdline_c"]).code, 0);
    assert!(!machine.files.exists(NOTE));
}

#[test]
fn load_all_continues_after_a_left_out_patch() {
    let machine = installed();
    machine.run(&["load", "--all"]);
    machine.reboot("boot-2");
    machine.files.write(&format!("/var/lib/kpatch/{RELEASE}/other.ko"), module_named("other", &[]));
    machine.on_insert(|files| {
        files.patch("other", true, false);
        Ok(())
    });
    let ran = machine.run(&["load", "--all"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.ends_with("kpatch: 1 of 2 patch modules could not be loaded\n"), "{}", ran.err);
    assert_eq!(ran.out, format!("loading patch module: /var/lib/kpatch/{RELEASE}/other.ko\n"));
}

#[test]
fn load_sends_a_structured_record_to_the_journal() {
    let machine = installed();
    machine.files.write("/run/systemd/journal/.keep", "");
    let journal = UnixDatagram::bind(machine.files.path("/run/systemd/journal/socket")).unwrap();
    machine.run(&["load", "cmdline_c"]);
    let mut buffer = [0; 4096];
    let length = journal.recv(&mut buffer).unwrap();
    let text = std::str::from_utf8(&buffer[..length]).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            &format!("MESSAGE=load cmdline_c ({RELEASE}): done"),
            "MESSAGE_ID=5d1a7c0f3bd14d0c9d0c1f5a8e6f2a01",
            "PRIORITY=5",
            "SYSLOG_IDENTIFIER=kpatch",
            "KPATCH_VERB=load",
            "KPATCH_MODULE=cmdline_c",
            &format!("KPATCH_KERNEL={RELEASE}"),
            "KPATCH_OUTCOME=done",
        ]
    );
}
