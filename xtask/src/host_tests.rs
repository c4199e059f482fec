// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of the workspace: cargo compiles the test programs, and as many of them run at once as the machine has cores.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::process::Cmd;
use serde_json::Value;

use crate::context::{Context, DEFAULT_KERNEL};

/// Crate whose integration tests all boot guests.
const HARNESS: &str = "klp-vm";
/// Crates whose integration tests take minutes, the longest first. They start first.
const LONG: [&str; 3] = [HARNESS, "klp-pipeline", "xtask"];
/// Module of tests that boot guests, in other crates.
const WITH_GUESTS: &str = "with_guests::";
/// Module of tests that only the full tier runs.
const FULL_TIER: &str = "full_tier::";

/// Selection of the tests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    /// Those of the fast tier that boot no guest.
    WithoutGuests,
    /// Those of the fast tier.
    Fast,
    /// All tests.
    Full,
}

/// One test program, or the tests in documentation.
struct Program {
    /// Crate and name of the program.
    name: String,
    /// Command of a developer that runs it again.
    again: String,
    cmd: Cmd,
}

/// Compiles and runs the tests of the workspace.
///
/// # Errors
/// Cargo cannot compile the tests, or a test fails; all programs are run before.
pub(crate) fn run(context: &Context, tests: Tests) -> Result<()> {
    let tree = context.kernel(DEFAULT_KERNEL)?;
    let guest = context.static_programs(tree.arch)?.guest;
    let with_guest = |program: Program| {
        let cmd = program.cmd.env("FERROGRAFT_TEST_KERNEL", &tree.image).env("FERROGRAFT_TEST_GUEST", &guest);
        Program { cmd, ..program }
    };
    let programs: Vec<Program> = programs(context, tests)?.into_iter().map(with_guest).collect();
    let failed = run_all(&context.terminal, &programs);
    ensure!(failed.is_empty(), "tests failed; run them again with\n    {}", failed.join("\n    "));
    Ok(())
}

/// Compiles the test programs. Those with the most work come first.
fn programs(context: &Context, tests: Tests) -> Result<Vec<Program>> {
    let root = context.project.root();
    let build = Cmd::new("cargo")
        .args(["test", "--quiet", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"])
        .cwd(root);
    let built = stage(&context.terminal, "compile", "tests of the workspace", || {
        let output = build.output()?;
        ensure!(output.status.success(), "cargo cannot compile the tests:\n{}", output.stderr_text());
        Ok((StageEnd::Done, output))
    })?;
    let mut programs = Vec::new();
    for line in built.stdout_text().lines() {
        let message: Value = serde_json::from_str(line).context("cargo printed a line that is not JSON")?;
        if let Some(program) = program(&message, tests)? {
            programs.push(program);
        }
    }
    ensure!(!programs.is_empty(), "cargo named no test program");
    programs.sort_by_key(|(order, program)| (*order, program.name.clone()));
    let mut programs: Vec<Program> = programs.into_iter().map(|(_, program)| program).collect();
    programs.push(Program {
        name: "documentation".to_owned(),
        again: "cargo test --workspace --doc".to_owned(),
        cmd: Cmd::new("cargo").args(["test", "--quiet", "--workspace", "--doc"]).cwd(root),
    });
    Ok(programs)
}

/// Test program in a message of cargo, with its place in the order. `None`: another message, or a program that is not selected.
fn program(message: &Value, tests: Tests) -> Result<Option<(usize, Program)>> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return Ok(None);
    }
    let Some(executable) = message["executable"].as_str() else { return Ok(None) };
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a message of cargo lacks a name");
    let manifest = PathBuf::from(text(&message["manifest_path"])?);
    let dir = manifest.parent().context("a manifest without a directory")?;
    // `path+file:///a/crates/base#klp-base@0.1.0`, or `...#0.1.0` where directory and crate have one name.
    let id = text(&message["package_id"])?;
    let crate_name = match id.rsplit_once('#').and_then(|(_, name)| name.split_once('@')) {
        Some((name, _)) => name.to_owned(),
        None => dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let (target, kind) = (text(&message["target"]["name"])?, text(&message["target"]["kind"][0])?);
    let place = LONG.iter().position(|long| *long == crate_name).unwrap_or(LONG.len());
    let (order, select) = match kind.as_str() {
        "test" => (place, format!("--test {target}")),
        "bin" => (LONG.len() + 1, format!("--bin {target}")),
        _ => (LONG.len() + 1, "--lib".to_owned()),
    };
    let harness = crate_name == HARNESS && kind == "test";
    let mut options = vec!["--quiet"];
    match tests {
        Tests::Full => options.push("--include-ignored"),
        Tests::Fast => options.extend(["--include-ignored", "--skip", FULL_TIER]),
        Tests::WithoutGuests if harness => {}
        Tests::WithoutGuests => {
            options.extend(["--include-ignored", "--skip", FULL_TIER, "--skip", WITH_GUESTS]);
        }
    }
    let again = format!("cargo test --package {crate_name} {select} -- {}", options.join(" "));
    let cmd = Cmd::new(executable).args(&options).cwd(dir).env("CARGO_MANIFEST_DIR", dir);
    Ok(Some((order, Program { name: format!("{crate_name} {target}"), again, cmd })))
}

/// Runs the programs, and prints the output of those that fail. Returns the commands that run these again.
fn run_all(sink: &dyn Sink, programs: &[Program]) -> Vec<String> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ended = stage(sink, "test", &program.name, || match program.cmd.output() {
                Ok(output) if output.status.success() => Ok((StageEnd::Done, ())),
                Ok(output) => Err(format!("{}{}", output.stdout_text(), output.stderr_text())),
                Err(error) => Err(error.to_string()),
            });
            if let Err(text) = ended {
                sink.warn(format!("{} failed:\n{text}", program.name));
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(program.again.clone());
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        (0..cores).for_each(|_| {
            scope.spawn(work);
        });
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use klp_base::events::Recorder;
    use serde_json::json;

    use super::*;

    fn message(kind: &str) -> Value {
        json!({
            "reason": "compiler-artifact", "package_id": "path+file:///a/qemu#klp-vm@0.1.0",
            "manifest_path": "/a/qemu/Cargo.toml", "target": {"name": "harness", "kind": [kind]},
            "profile": {"test": true}, "executable": "/t/harness-1",
        })
    }

    fn sample(kind: &str, tests: Tests) -> String {
        program(&message(kind), tests).unwrap().unwrap().1.again
    }

    #[test]
    fn selection_of_tests_is_in_the_command() {
        let full = sample("test", Tests::Full);
        assert_eq!(full, "cargo test --package klp-vm --test harness -- --quiet --include-ignored");
        assert!(sample("test", Tests::Fast).ends_with("--quiet --include-ignored --skip full_tier::"));
        // Tests of the harness boot guests.
        assert!(sample("test", Tests::WithoutGuests).ends_with("--test harness -- --quiet"));
        assert!(
            sample("lib", Tests::WithoutGuests)
                .ends_with("--lib -- --quiet --include-ignored --skip full_tier:: --skip with_guests::")
        );
        let mut other = message("test");
        other["reason"] = "build-finished".into();
        assert!(program(&other, Tests::Full).unwrap().is_none());
        other["reason"] = "compiler-artifact".into();
        other["manifest_path"] = Value::Null;
        assert!(program(&other, Tests::Full).is_err());
    }

    #[test]
    fn modules_of_the_selection_exist() {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"));
        let files = klp_base::cache::walk(&root).unwrap();
        let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        for module in [WITH_GUESTS, FULL_TIER] {
            assert!(text.contains(&format!("mod {} {{", module.trim_end_matches(':'))), "{module}");
        }
    }

    #[test]
    fn failed_program_is_named_with_its_output_and_the_rest_runs() {
        let sample = |name: &str, script: &str| Program {
            name: name.to_owned(),
            again: format!("again {name}"),
            cmd: Cmd::new("sh").args(["-c", script]),
        };
        let programs = [
            sample("fails", "echo words of the test; exit 101"),
            sample("passes", "exit 0"),
            Program { cmd: Cmd::new("/no/such/program"), ..sample("missing", "") },
        ];
        let recorder = Recorder::default();
        let mut failed = run_all(&recorder, &programs);
        failed.sort();
        assert_eq!(failed, ["again fails", "again missing"]);
        let said = format!("{:?}", recorder.events());
        assert!(said.contains("words of the test") && said.contains("/no/such/program"), "{said}");
    }
}
