// SPDX-License-Identifier: GPL-2.0-or-later
//! Layers of the project. Crates use only crates below them, modules of a crate use only modules below them,
//! and the modules of a crate form no circle. ARCHITECTURE.md describes the order.

mod checker;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use checker::{Layers, Nodes, circles, upward_arrows};

/// The crates from top to bottom: directory and name. A crate uses those of later rows only.
const CRATES: [&[(&str, &str)]; 9] = [
    &[("xtask", "xtask")],
    &[("crates/klp-testkit", "klp-testkit")],
    &[("crates/klp-pipeline", "klp-pipeline"), ("loader", "kpatch"), ("qemu", "klp-vm")],
    &[("crates/klp-cdiff", "klp-cdiff")],
    &[
        ("crates/klp-verify", "klp-verify"),
        ("crates/klp-kernel", "klp-kernel"),
        ("crates/klp-package", "klp-package"),
        ("qemu/guest", "klp-guest"),
    ],
    &[("crates/klp-image", "klp-image")],
    &[("crates/klp-module", "klp-module")],
    &[("crates/klp-format", "klp-format")],
    &[("crates/base", "klp-base")],
];

const LOADER: Layers<'_> = &[
    ("command line", &["lib", "cli"]),
    ("show", &["show"]),
    ("act", &["act"]),
    ("console", &["console"]),
    ("judge", &["judge"]),
    ("model", &["model"]),
];

const PIPELINE: Layers<'_> = &[
    ("crate", &["lib"]),
    ("uses of a build", &["author_tools", "editor", "look", "scaffold", "source_edit"]),
    ("build", &["build"]),
    ("facts for verify", &["expected"]),
    ("patterns in the source of a fix, types of a module", &["source_lints", "type_facts"]),
    ("stages compile to sign", &["compile", "kbuild", "postlink", "sign"]),
    ("C diffs", &["c_diff"]),
    ("parts of a module", &["manifest", "part", "shims"]),
    ("stage bindings", &["bindings"]),
    ("stage resolve", &["resolve"]),
    ("objects", &["objects"]),
    ("project", &["project"]),
    ("resolved names", &["resolved"]),
    ("names", &["stage", "rust_name"]),
    ("errors", &["error"]),
];

const KERNEL: Layers<'_> = &[
    ("crate", &["lib"]),
    ("fetch", &["fetch"]),
    ("source for C diffs, debug information", &["c_source", "debug"]),
    ("kinds of kernels", &["stock", "source"]),
    ("modules and programs", &["c_module", "exports", "guest_program", "modules"]),
    ("build", &["kbuild", "sites"]),
    ("tree", &["tree"]),
    ("pins", &["pin"]),
    ("machine", &["host"]),
    ("data", &["config", "package", "toolchain", "toml_file"]),
    ("errors", &["error"]),
];

const VERIFY: Layers<'_> = &[
    ("crate", &["lib"]),
    ("rules", &["rules"]),
    ("analysis", &["analysis"]),
    ("facts and outcomes", &["facts", "report"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn check(src: &str, layers: Layers<'_>) {
    let src = root().join(src);
    let mut faults = upward_arrows(&src, layers);
    faults.extend(circles(&src, Nodes::TopLevelModules));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn modules_of_the_pipeline_use_those_below() {
    check("crates/klp-pipeline/src", PIPELINE);
}

#[test]
fn modules_of_the_kernels_crate_use_those_below() {
    check("crates/klp-kernel/src", KERNEL);
}

#[test]
fn modules_of_verify_use_those_below() {
    check("crates/klp-verify/src", VERIFY);
}

#[test]
fn modules_of_the_loader_use_those_below() {
    check("loader/src", LOADER);
    assert_eq!(circles(&root().join("loader/src"), Nodes::Files), [""; 0]);
}

#[test]
fn no_crate_has_a_circle_of_modules() {
    for (dir, name) in CRATES.iter().copied().flatten() {
        let found = circles(&root().join(dir).join("src"), Nodes::TopLevelModules);
        assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
    }
}

/// Workspace crates that a crate's program or library uses. Its tests may use other crates.
fn uses(dir: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join(dir).join("Cargo.toml")).unwrap();
    let dependencies = text.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let names = dependencies.lines().map(|line| line.split(['.', ' ', '=']).next().unwrap_or_default());
    let known: BTreeSet<&str> = CRATES.iter().copied().flatten().map(|(_, name)| *name).collect();
    names.filter(|name| known.contains(name)).map(ToOwned::to_owned).collect()
}

#[test]
fn crates_use_those_below() {
    let mut dirs: BTreeSet<PathBuf> =
        std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut arrows = 0;
    for (at, row) in CRATES.iter().enumerate() {
        let below: BTreeSet<&str> =
            CRATES[at + 1..].iter().copied().flatten().map(|(_, name)| *name).collect();
        for (dir, name) in *row {
            dirs.remove(&root().join(dir));
            for used in uses(dir) {
                assert!(below.contains(used.as_str()), "{name} uses {used}, which is not below it");
                arrows += 1;
            }
        }
    }
    assert!(dirs.is_empty(), "in no row: {dirs:?}");
    assert!(arrows > 20, "only {arrows} dependencies were found");
}
