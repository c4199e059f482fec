// SPDX-License-Identifier: GPL-2.0-or-later
//! Fixes that must not compile: `tests/compile-fail/<name>`. Its file `expected` contains the message for the
//! author.

use std::fs;
use std::path::Path;

use klp_base::events::Silent;
use klp_pipeline::Error;
use klp_pipeline::build::Build;
use klp_pipeline::project::{Target, read_fix};
use klp_pipeline::stage::{Range, Stage};

use crate::common;

/// Variable that is set to 1 to write the actual messages into the `expected` files.
const UPDATE: &str = "FERROGRAFT_UPDATE_EXPECTED";

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn messages_are_as_expected() {
    let (project, cache, tree) = common::default_kernel();
    let mut cases: Vec<_> = fs::read_dir(common::root().join("tests/compile-fail"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 7, "cases are missing");
    let mut wrong = Vec::new();
    for dir in cases {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let fix = read_fix(&name, &dir).unwrap();
        let mut target = Target { name: format!("compile-fail-{name}"), ..Target::of_fix(fix) };
        // Optional second fix of the same module.
        let other = dir.join("other");
        if other.is_dir() {
            target.fixes.push(read_fix("other", &other).unwrap());
        }
        let build = Build {
            project: &project,
            tree: &tree,
            target: &target,
            cache: &cache,
            given: None,
            signer: None,
            sink: &Silent,
        };
        let seen = match build.run(Range { from: None, to: Stage::Compile }) {
            Ok(_) => "it compiles\n".to_owned(),
            Err(Error::Compile { diagnostics, .. }) => diagnostics,
            Err(other) => format!("another error: {other}\n"),
        };
        if let Some(difference) = compare(&dir.join("expected"), &seen, &dir) {
            wrong.push(difference);
        }
    }
    assert!(wrong.is_empty(), "{}\n(accept what is seen with {UPDATE}=1)", wrong.join("\n"));
}

fn compare(file: &Path, seen: &str, dir: &Path) -> Option<String> {
    // In addition to rustc's own text, the message refers to the author's line and contains the kernel's
    // prototype.
    let source = dir.strip_prefix(common::root()).unwrap().join("src/lib.rs");
    let at_source = seen.contains(&format!("--> {}:", source.display()));
    let with_kernel = seen.contains("int cmdline_proc_show(struct seq_file *m, void *v)")
        || seen.contains("int version_proc_show(struct seq_file *m, void *v)");
    // The message for misuse of `klp` contains no prototype. A conflict of two fixes has no line in either
    // fix.
    let misuse = source.to_string_lossy().contains("/misuse-");
    let two_fixes = dir.join("other").is_dir() && seen.contains("two fixes of this module");
    if !(at_source || two_fixes) || !(with_kernel || misuse) {
        return Some(format!(
            "{}: not at the author's line, or without the kernel's prototype:\n{seen}",
            dir.display()
        ));
    }
    if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        fs::write(file, seen).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    (expected != seen).then(|| format!("{}:\n--- expected\n{expected}\n--- seen\n{seen}", dir.display()))
}
