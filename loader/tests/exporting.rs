// SPDX-License-Identifier: GPL-2.0-or-later
//! `export`: OpenVEX documents that conform to the schema and name packages that scanners know.

use serde_json::Value;

use crate::support::{MODULE, Machine, RELEASE, manifest, module_named};

fn loaded(cves: &str) -> Machine {
    let machine = Machine::new();
    let path = machine.file("fix.ko", &module_named("kpatch_k_1_1", &[&manifest("demo", (1, 1), cves, "")]));
    machine.on_insert(|files| {
        files.patch("kpatch_k_1_1", true, false);
        Ok(())
    });
    assert_eq!(machine.run(&["load", "--no-check", &path]).code, 0);
    machine
}

fn vex(machine: &Machine) -> Value {
    let ran = machine.run(&["export", "--format", "openvex"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let document = serde_json::from_str(&ran.out).unwrap();
    conforms(&document);
    document
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn assert_unique(values: &[Value]) {
    for (at, value) in values.iter().enumerate() {
        assert!(!values[at + 1..].contains(value), "uniqueItems: {value}");
    }
}

/// Validator with the rules of openvex_json_schema.json (OpenVEX 0.2.0).
fn conforms(document: &Value) {
    const DOCUMENT: [&str; 9] = [
        "@context",
        "@id",
        "author",
        "role",
        "timestamp",
        "last_updated",
        "version",
        "tooling",
        "statements",
    ];
    const STATEMENT: [&str; 13] = [
        "@id",
        "version",
        "vulnerability",
        "timestamp",
        "last_updated",
        "products",
        "status",
        "supplier",
        "status_notes",
        "justification",
        "impact_statement",
        "action_statement",
        "action_statement_timestamp",
    ];
    for key in keys(document) {
        assert!(DOCUMENT.contains(&key), "{key} is not in the schema");
    }
    for key in ["@context", "@id", "author", "timestamp"] {
        assert!(document[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    let id = document["@id"].as_str().unwrap();
    assert!(
        id.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"{}|\\^`".contains(&byte)),
        "no URI: {id}"
    );
    assert!(document["version"].as_u64() >= Some(1));
    let statements = document["statements"].as_array().unwrap();
    assert!(!statements.is_empty(), "minItems: 1");
    assert_unique(statements);
    for statement in statements {
        for key in keys(statement) {
            assert!(STATEMENT.contains(&key), "{key} is not in the schema");
        }
        assert!(statement["vulnerability"]["name"].is_string());
        let status = statement["status"].as_str().unwrap();
        assert!(["not_affected", "affected", "fixed", "under_investigation"].contains(&status), "{status}");
        assert!(status != "affected" || statement["action_statement"].is_string());
        let products = statement["products"].as_array().unwrap();
        assert!(!products.is_empty());
        assert_unique(products);
        for product in products {
            assert_eq!(keys(product), ["@id", "identifiers"]);
            assert_eq!(keys(&product["identifiers"]), ["purl"]);
            assert_eq!(product["@id"], product["identifiers"]["purl"]);
        }
    }
}

fn products(machine: &Machine) -> Vec<String> {
    let document = vex(machine);
    let products = document["statements"][0]["products"].as_array().unwrap();
    products.iter().map(|product| product["@id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn openvex_without_statements_is_an_error() {
    let bare = Machine::new();
    let without_a_manifest = Machine::new();
    without_a_manifest.install(RELEASE, "fix.ko");
    assert_eq!(without_a_manifest.run(&["load", "--all"]).code, 0);
    for machine in [bare, without_a_manifest, loaded("")] {
        let ran = machine.run(&["export", "--format", "openvex"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(
            ran.err.starts_with(
                "kpatch: no loaded patch names a CVE, and an OpenVEX document must state something"
            ),
            "{}",
            ran.err
        );

        // The document of an earlier export is removed.
        let file = machine.file("kernel.json", b"{}");
        let ran = machine.run(&["export", "--format", "openvex", "--output", &file]);
        assert_eq!(ran.code, 1);
        assert!(
            ran.err.contains("/tmp/kernel.json, which an earlier export wrote, is removed"),
            "{}",
            ran.err
        );
        assert!(!machine.files.exists("/tmp/kernel.json"));
        assert_eq!(machine.run(&["export", "--format", "openvex", "--output", &file]).code, 1);

        let ran = machine.run(&["export", "--format", "openmetrics"]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.ends_with("# EOF\n") && !ran.out.contains("kpatch_fixed{"), "{}", ran.out);
    }
}

#[test]
fn openvex_has_one_statement_per_cve() {
    let machine = loaded(r#""CVE-2026-2","CVE-2026-1","CVE-2026-2""#);
    let document = vex(&machine);
    let names: Vec<&str> = document["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| statement["vulnerability"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["CVE-2026-1", "CVE-2026-2"]);

    // The older version repairs the CVE while the newer one is in transition.
    machine.files.patch("kpatch_k_1_2", true, true);
    let entry = manifest("demo", (1, 2), r#""CVE-2026-1","CVE-2026-3""#, "");
    machine.files.write("/run/kpatch/loaded/kpatch_k_1_2", format!("\n{}\n", &entry["ferrograft=".len()..]));
    let document = vex(&machine);
    let statuses: Vec<&str> = document["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| statement["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["fixed", "fixed", "affected"]);
}

const STATUS: &str = "Package: linux-image-6.12.117+deb12-amd64-dbg
Status: deinstall ok config-files
Version: 1

Package: linux-headers-6.12.117+deb12-amd64
Status: install ok installed
Architecture: amd64
Version: 6.12.117-1~deb12u1

Package: linux-image-6.12.117+deb12-amd64
Status: install ok installed
Priority: optional
Architecture: amd64
Source: linux-signed-amd64 (6.12.117+1~deb12u1)
Version: 6.12.117-1~deb12u1
Depends: kmod

Package: linux-image-6.12.107+deb12-amd64
Status: install ok installed
Version: 6.12.107-1~deb12u1
";

#[test]
fn openvex_product_is_the_kernel_package_of_the_distribution() {
    let machine = loaded(r#""CVE-2026-1""#);
    machine.files.write("/etc/os-release", "NAME=Debian\nID=debian\nVERSION_ID=\"12\"\n");
    machine.files.write("/var/lib/dpkg/status", STATUS);
    assert_eq!(
        products(&machine),
        ["pkg:deb/debian/linux-image-6.12.117%2Bdeb12-amd64@6.12.117-1~deb12u1?arch=amd64&distro=debian-12"]
    );
    // The package that owns the image, with any name (Ubuntu, Proxmox).
    let status = STATUS.replace(
        "Package: linux-image-6.12.117+deb12-amd64\n",
        "Package: proxmox-kernel-6.12.117+deb12-amd64-signed\n",
    );
    machine.files.write("/var/lib/dpkg/status", status);
    machine.files.write(
        "/var/lib/dpkg/info/proxmox-kernel-6.12.117+deb12-amd64-signed.list",
        "/.\n/boot\n/boot/vmlinuz-6.12.117+deb12-amd64\n",
    );
    assert_eq!(
        products(&machine),
        [
            "pkg:deb/debian/proxmox-kernel-6.12.117%2Bdeb12-amd64-signed@6.12.117-1~deb12u1?arch=amd64&distro=debian-12"
        ]
    );
    // A kernel without a package.
    machine.files.write("/var/lib/dpkg/status", "");
    assert_eq!(products(&machine), ["pkg:generic/linux@6.12.117%2Bdeb12-amd64?distro=debian-12"]);
}

#[test]
fn openvex_products_of_rpm_distributions_are_rpms() {
    for (os, release, expected) in [
        (
            "ID=\"rhel\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"9.3\"\n",
            "5.14.0-362.8.1.el9_3.x86_64",
            "pkg:rpm/redhat/kernel@5.14.0-362.8.1.el9_3?arch=x86_64&distro=rhel-9.3",
        ),
        (
            "ID=rocky\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=9.3\n",
            "5.14.0-362.8.1.el9_3.x86_64",
            "pkg:rpm/rocky/kernel@5.14.0-362.8.1.el9_3?arch=x86_64&distro=rocky-9.3",
        ),
        (
            "ID=fedora\nVERSION_ID=41\n",
            "6.11.4-301.fc41.aarch64",
            "pkg:rpm/fedora/kernel@6.11.4-301.fc41?arch=aarch64&distro=fedora-41",
        ),
        (
            "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\nVERSION_ID=\"15.6\"\n",
            "6.4.0-150600.23.25-default",
            "pkg:rpm/opensuse-leap/kernel-default@6.4.0-150600.23.25?distro=opensuse-leap-15.6",
        ),
        ("", "6.12.1", "pkg:generic/linux@6.12.1"),
    ] {
        let machine = loaded(r#""CVE-2026-1""#);
        machine.files.write("/proc/sys/kernel/osrelease", format!("{release}\n"));
        machine.files.write("/etc/os-release", os);
        // A new machine: the program reads the kernel release once.
        let ran = machine.again().run(&["export", "--format", "openvex"]);
        let document: Value = serde_json::from_str(&ran.out).unwrap();
        conforms(&document);
        assert_eq!(document["statements"][0]["products"][0]["@id"], expected);
    }
}

#[test]
fn openvex_error_names_a_patch_without_manifest() {
    let machine = Machine::new();
    let path = machine.file("fix.ko", MODULE);
    assert_eq!(machine.run(&["load", &path]).code, 0);
    let ran = machine.run(&["export", "--format", "openvex"]);
    assert!(ran.err.contains("what cmdline_c repairs is not known"), "{}", ran.err);
}
