// SPDX-License-Identifier: GPL-2.0-or-later
//! The machine: the directory of the project on it, its developer tools (cargo, rustup, git), and the error for a
//! machine that lacks something. Stages start their processes with `klp_base::process`, which keeps records.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use xshell::{Cmd, Shell, cmd};

/// The machine lacks something; the text contains the remedy. Exit code 69.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotAble(pub(crate) String);

/// Directory of the project: value of `FERROGRAFT_PROJECT`, otherwise the checkout from which cargo runs this
/// program, otherwise (without cargo) the checkout in which it was compiled.
pub(crate) fn project_root() -> PathBuf {
    if let Some(named) = std::env::var_os("FERROGRAFT_PROJECT") {
        return PathBuf::from(named);
    }
    // Cargo sets the directory of the running package. Tests of other packages pass theirs on, so the value
    // may be another package.
    let run_from = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = run_from.filter(|dir| dir.ends_with("xtask") && dir.join("Cargo.toml").is_file());
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().unwrap_or(Path::new(".")).to_owned()
}

/// Shell in the directory of the project.
///
/// # Errors
/// The working directory of this process does not exist.
pub(crate) fn shell() -> Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(project_root());
    Ok(shell)
}

/// Runs a developer tool without showing its output, and requires exit status 0. Returns its standard output without
/// surrounding white space.
///
/// # Errors
/// The tool cannot be started, or it failed; the error contains the end of its stderr.
pub(crate) fn captured(cmd: Cmd<'_>) -> Result<String> {
    const LINES: usize = 20;
    let typed = cmd.to_string();
    let output = cmd.quiet().ignore_status().output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let tail: String =
        lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("\n    | {line}")).collect();
    bail!("`{typed}` failed ({}){tail}", output.status)
}

/// Flags of rustc that keep the directories of the toolchain and of cargo out of a program: packages contain the
/// program, and are the same on every machine.
///
/// # Errors
/// rustc cannot be asked, or a directory of cargo cannot be read.
pub(crate) fn path_flags() -> Result<Vec<String>> {
    let shell = shell()?;
    let sysroot = captured(cmd!(shell, "rustc --print sysroot"))?;
    let version = captured(cmd!(shell, "rustc --version --verbose"))?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
    // rustc's own name for the directory, where the component rust-src is not installed.
    let mut flags = vec![format!("--remap-path-prefix={sysroot}/lib/rustlib/src/rust=/rustc/{commit}")];
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registry = home.unwrap_or_default().join("registry/src");
    if registry.is_dir() {
        for entry in std::fs::read_dir(&registry)? {
            flags.push(format!("--remap-path-prefix={}=/registry", entry?.path().display()));
        }
    }
    flags.sort();
    Ok(flags)
}
