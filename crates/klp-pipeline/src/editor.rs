// SPDX-License-Identifier: GPL-2.0-or-later
//! `rust-project.json`: description of the fixes' crates for rust-analyzer, because fixes have no Cargo.toml.
//!
//! Format: <https://rust-analyzer.github.io/book/non_cargo_based_projects.html>. Paths are absolute, so the
//! file is valid for one checkout on one machine only. git ignores it.

use std::path::{Path, PathBuf};

use klp_base::arch::Arch;
use klp_base::cache;
use klp_kernel::KernelTree;
use klp_kernel::host::rustc::Rustc;
use serde::Serialize;

use crate::error::Error;
use crate::project::{EDITOR_FILE, Fix, Project};
use crate::resolved::Resolved;
use crate::stage::{Built, Stage};

/// A fix with generated bindings, for the editor.
pub struct Edited<'a> {
    /// The fix.
    pub fix: &'a Fix,
    /// Build of the fix for the kernel, up to stage bindings.
    pub built: &'a Built,
}

/// The complete file.
#[derive(Serialize)]
struct RustProject {
    sysroot: PathBuf,
    sysroot_src: PathBuf,
    crates: Vec<Crate>,
}

/// One crate.
#[derive(Serialize)]
struct Crate {
    display_name: String,
    root_module: PathBuf,
    edition: &'static str,
    deps: Vec<Dependency>,
    cfg: Vec<String>,
    target: &'static str,
    is_workspace_member: bool,
}

/// Dependency of a crate: index in the list, and name in the crate.
#[derive(Clone, Serialize)]
struct Dependency {
    #[serde(rename = "crate")]
    index: usize,
    name: &'static str,
}

/// Writes the file for some fixes and one kernel into `dir`. Returns its path.
///
/// # Errors
/// The result of a fix's stage resolve cannot be read, or the file cannot be written.
pub fn write_project(
    project: &Project,
    tree: &KernelTree,
    rustc: &Rustc,
    fixes: &[Edited<'_>],
    dir: &Path,
) -> Result<PathBuf, Error> {
    let mut crates = Vec::new();
    for edited in fixes {
        let resolved = Resolved::read(&edited.built.dir)?;
        add_crates(&mut crates, project, tree, edited, &resolved);
    }
    let text = serde_json::to_vec_pretty(&RustProject {
        sysroot: rustc.sysroot().to_owned(),
        sysroot_src: rustc.library().to_owned(),
        crates,
    });
    let file = dir.join(EDITOR_FILE);
    let text =
        text.map_err(|error| Error::Intermediate { file: file.clone(), message: error.to_string() })?;
    cache::write_durable(&file, &text)?;
    Ok(file)
}

/// The crates of one fix. Each fix has separate bindings and therefore a separate crate `klp`.
fn add_crates(
    crates: &mut Vec<Crate>,
    project: &Project,
    tree: &KernelTree,
    edited: &Edited<'_>,
    resolved: &Resolved,
) {
    let target = match tree.arch {
        Arch::X86_64 => "x86_64-unknown-none",
        Arch::Arm64 => "aarch64-unknown-none-softfloat",
    };
    let sources = edited.built.dir.join(Stage::Bindings.dir_name());
    let name = &edited.fix.name;
    let mut add = |display_name: String, root_module: PathBuf, deps: &[Dependency], cfg: Vec<String>| {
        let is_workspace_member = root_module.starts_with(&edited.fix.dir);
        crates.push(Crate {
            display_name,
            root_module,
            edition: "2024",
            deps: deps.to_vec(),
            cfg,
            target,
            is_workspace_member,
        });
        crates.len() - 1
    };
    let bindings = add(format!("bindings of {name}"), sources.join("bindings.rs"), &[], Vec::new());
    let bindings = Dependency { index: bindings, name: "bindings" };
    let klp = project.kmod().join("src/lib.rs");
    let klp = add(format!("klp of {name}"), klp, std::slice::from_ref(&bindings), Vec::new());
    let klp = Dependency { index: klp, name: "klp" };
    let traits = sources.join(format!("replaced/{name}.rs"));
    let uses = [bindings.clone(), klp.clone()];
    let replaced = add(format!("replaced of {name}"), traits, &uses, Vec::new());
    let uses = [bindings, klp, Dependency { index: replaced, name: "replaced" }];
    let answers = resolved.cfg.iter().filter(|answer| answer.fix == *name && answer.holds);
    let cfg = answers.map(|answer| format!("{}={:?}", answer.name, answer.value)).collect();
    add(name.clone(), edited.fix.source(), &uses, cfg);
}
