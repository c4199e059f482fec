// SPDX-License-Identifier: GPL-2.0-or-later
//! Faults of authors (`tests/faults`): each is found where its `fault.toml` says, by the compiler, by a stage of the build, or by a rule.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use klp_base::cache::Cache;
use klp_base::events::{Severity, Silent};
use klp_kernel::KernelTree;
use klp_pipeline::build::Build;
use klp_pipeline::expected;
use klp_pipeline::project::Project;
use klp_pipeline::stage::{Range, Stage};
use klp_verify::{Report, verify};
use serde::Deserialize;

use crate::common;

/// Description of a fault.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    /// Reason why it is one.
    #[expect(dead_code, reason = "for readers")]
    why: String,
    /// Consequence in a guest.
    #[expect(dead_code, reason = "for readers")]
    guest: Option<String>,
    /// Text of the error that stops the build.
    stops: Option<String>,
    /// Rule with an error.
    error: Option<String>,
    /// Rule with a warning.
    warning: Option<String>,
    /// Kernels to which it applies; all of [`KERNELS`] if not given.
    kernels: Option<Vec<String>>,
}

/// Kernels on which the faults are looked for; the fast tier has the first one.
const KERNELS: [&str; 3] = ["debian-6.12", "debian-6.1", "arm64-7.3"];

/// Rules that the faults are to be found by, with the severity.
pub fn rules() -> Vec<(String, Severity)> {
    let rule = |fault: Fault| match fault {
        Fault { error: Some(rule), .. } => Some((rule, Severity::Error)),
        Fault { warning: Some(rule), .. } => Some((rule, Severity::Warning)),
        _ => None,
    };
    names().iter().filter_map(|name| rule(fault(name))).collect()
}

fn fault(name: &str) -> Fault {
    let text = fs::read_to_string(faults().join(name).join("fault.toml")).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(faults()).unwrap().map(|entry| entry.unwrap());
    let directories = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = directories.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Directory with the faults.
fn faults() -> PathBuf {
    common::root().join("tests/faults")
}

/// A project whose `patches` are these of one fault.
fn project(name: &str) -> Project {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults").join(name);
    let _ = fs::remove_dir_all(root.join("patches"));
    fs::create_dir_all(root.join("patches")).unwrap();
    for entry in fs::read_dir(common::root()).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), root.join(entry.file_name()))
        };
        let own = ["patches", "build", "target", ".git"].iter().any(|name| from.ends_with(name));
        if !own && fs::symlink_metadata(&to).is_err() {
            symlink(&from, &to).unwrap();
        }
    }
    let fault = faults().join(name);
    if fault.join("streams").is_dir() {
        for entry in fs::read_dir(&fault).unwrap() {
            let entry = entry.unwrap();
            symlink(entry.path(), root.join("patches").join(entry.file_name())).unwrap();
        }
    } else {
        symlink(&fault, root.join("patches").join(name)).unwrap();
        fs::create_dir_all(root.join("patches/streams")).unwrap();
    }
    Project::open(&root).unwrap()
}

/// Builds a fault and judges its module.
fn judged(name: &str, tree: &KernelTree, cache: &Cache) -> Result<Report, String> {
    let project = project(name);
    let is_stream = faults().join(name).join("streams").is_dir();
    let text = |error: klp_pipeline::Error| klp_base::chain(&error);
    let target = project.target(if is_stream { "s2" } else { name }).map_err(text)?;
    let build =
        Build { project: &project, tree, target: &target, cache, given: None, signer: None, sink: &Silent };
    let built = build.run(Range { from: None, to: Stage::Postlink }).map_err(text)?;
    let source = expected::Source { project: &project, fixes: &target.fixes, tree, cache, sink: &Silent };
    Ok(verify(&fs::read(&built.ko).unwrap(), &expected::of_build(&source, &built).map_err(text)?))
}

/// Difference between the answer to a fault and the right one.
fn wrong(fault: &Fault, answer: &Result<Report, String>) -> Option<String> {
    let has = |report: &Report, rule: &str, severity| {
        report.findings.iter().any(|found| found.rule == rule && found.severity == severity)
    };
    match (answer, fault) {
        (Err(text), Fault { stops: Some(words), .. }) if text.contains(words) => None,
        (Ok(report), Fault { error: Some(rule), .. }) if has(report, rule, Severity::Error) => None,
        (Ok(report), Fault { warning: Some(rule), .. }) if has(report, rule, Severity::Warning) => None,
        (Err(text), _) => Some(text.clone()),
        (Ok(report), _) => Some(format!("{:?}", report.findings)),
    }
}

fn each_is_found_on(kernel: &str) {
    let (_, cache, tree) = common::kernel(kernel);
    let waiting = names();
    assert!(waiting.len() > 40);
    let (waiting, missed) = (Mutex::new(waiting), Mutex::new(Vec::new()));
    let work = || {
        while let Some(name) = { waiting.lock().unwrap().pop() } {
            let fault = fault(&name);
            if fault.kernels.as_ref().is_some_and(|kernels| !kernels.iter().any(|id| id == kernel)) {
                continue;
            }
            if let Some(answer) = wrong(&fault, &judged(&name, &tree, &cache)) {
                missed
                    .lock()
                    .unwrap()
                    .push(format!("{name}: {}", answer.chars().take(1500).collect::<String>()));
            }
        }
    };
    std::thread::scope(|scope| [scope.spawn(work), scope.spawn(work)].map(|thread| thread.join().unwrap()));
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "{kernel}, {} faults:\n{}", missed.len(), missed.join("\n\n"));
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn each_fault_is_found() {
    each_is_found_on(KERNELS[0]);
}

mod full_tier {
    #[test]
    #[ignore = "needs the pinned kernels; run by cargo xtask ci --tier full"]
    fn each_fault_is_found_on_the_other_kernels() {
        for kernel in &super::KERNELS[1..] {
            super::each_is_found_on(kernel);
        }
    }
}
