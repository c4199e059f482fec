// SPDX-License-Identifier: GPL-2.0-or-later
//! `follow`: live patch packages of the installed kernels, for the plug-ins of package managers.

use serde_json::Value;

use crate::support::{self, Machine, RELEASE};

const OLD: &str = "6.12.107+deb12-amd64";

/// Machine with two installed kernels, and a directory that a removed kernel has left.
fn machine(configuration: &str) -> Machine {
    let machine = Machine::new();
    for release in [RELEASE, OLD] {
        machine.files.write(&format!("/boot/vmlinuz-{release}"), "");
        machine.files.write(&format!("/lib/modules/{release}/modules.dep"), "");
    }
    machine.files.write("/lib/modules/6.1.0-9-amd64/updates/dkms/x.ko", "");
    machine.files.write("/lib/modules/extra/x.ko", "");
    machine.files.write("/var/lib/dpkg/status", "");
    machine.files.write("/etc/apt/kpatch.conf", configuration);
    machine
}

fn follow(machine: &Machine, arguments: &[&str]) -> Value {
    let ran = machine.run(&[&["follow", "--json"], arguments].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let document = serde_json::from_str(&ran.out).unwrap();
    support::assert_conforms(&document);
    document
}

#[test]
fn follow_names_the_packages_of_installed_kernels() {
    let ran = machine("[main]\nautoupdate=True\n").run(&["follow"]);
    let expected = format!("kpatch-patch-{OLD}\nkpatch-patch-{RELEASE}\n");
    assert_eq!((ran.code, ran.out, ran.err.as_str()), (0, expected, ""));
    for configuration in ["", "[main]\nautoupdate=False\n"] {
        let machine = machine(configuration);
        assert_eq!(machine.run(&["follow"]).out, "", "not asked for");
        let document = follow(&machine, &[]);
        assert_eq!(document["kernels"].as_array().unwrap().len(), 2);
        assert_eq!(document["kernels"][1]["running"], true);
        assert_eq!(document["kernels"][1]["offered"], Value::Null);
    }
}

#[test]
fn follow_decides_about_named_kernels() {
    let machine = machine("");
    let file = machine.file("kpatch.conf", b"[main]\nautoupdate=True\nautofilter=True\n");
    let document = follow(
        &machine,
        &[
            "--packages",
            "rpm",
            "--config",
            &file,
            "--kernel",
            "5.14.0-362.8.1.el9_3.x86_64",
            "--kernel",
            "5.14.0-427.13.1.el9_4.x86_64",
            "--offered",
            "kpatch-patch-5_14_0-362_8_1",
        ],
    );
    let kernels = document["kernels"].as_array().unwrap();
    assert_eq!(kernels[0]["package"], "kpatch-patch-5_14_0-362_8_1");
    assert_eq!((&kernels[0]["wanted"], &kernels[0]["filtered"]), (&true.into(), &false.into()));
    assert_eq!((&kernels[1]["wanted"], &kernels[1]["filtered"]), (&false.into(), &true.into()));
    assert_eq!((&document["autoupdate"], &document["autofilter"]), (&true.into(), &true.into()));
}

#[test]
fn follow_refuses_what_it_cannot_read() {
    let machine = machine("[main]\nautoupdate=maybe\n");
    let ran = machine.run(&["follow"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert_eq!(ran.err, "kpatch: /etc/apt/kpatch.conf: autoupdate: \"maybe\" is neither True nor False\n");
    assert_eq!(machine.run(&["follow", "--config", "/nowhere"]).code, 1);
    let file = machine.file("good.conf", b"");
    assert_eq!(machine.run(&["follow", "--config", &file, "--kernel", "a b"]).code, 3);
}
