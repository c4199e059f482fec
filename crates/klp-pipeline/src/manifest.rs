// SPDX-License-Identifier: GPL-2.0-or-later
//! Manifest of a module. Stage 3 writes it into section `.modinfo`, and the loader reads it.

use klp_base::cache::Key;
use klp_format::SymbolPosition;
use klp_kernel::KernelTree;
use klp_module::{
    DIGEST_KEY, DIGEST_LENGTH, Kernel, MANIFEST_KEY, MANIFEST_SCHEMA, Manifest, ManifestFix, Param, State,
    Tripwire,
};

use crate::error::Error;
use crate::part::{self, ModulePart, Replaced};
use crate::project::{Project, Target};
use crate::resolved::Resolved;

/// Manifest of a module.
///
/// # Errors
/// A source file cannot be read.
pub fn of(
    tree: &KernelTree,
    project: &Project,
    target: &Target,
    resolved: &Resolved,
    parts: &[ModulePart],
) -> Result<Manifest, Error> {
    let fix = |fix: &crate::project::Fix| ManifestFix {
        name: fix.name.clone(),
        description: fix.description.clone(),
        cves: fix.cves.clone(),
        affected: fix.affected.iter().map(affected).collect(),
    };
    let function = |Replaced { symbol, .. }: &Replaced| {
        let position = match symbol.position {
            SymbolPosition(0) => String::new(),
            SymbolPosition(position) => format!(",{position}"),
        };
        format!("{}:{}{position}", symbol.object, symbol.symbol)
    };
    Ok(Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        stream: target.name.clone(),
        version: target.version,
        fixes: target.fixes.iter().map(fix).collect(),
        functions: part::replaced(parts).map(function).collect(),
        originals: part::replaced(parts).filter(|item| item.original.is_some()).map(function).collect(),
        source: source_hash(project, target)?,
        kernel: Kernel {
            release: tree.release.to_string(),
            build_id: resolved.kernel_build_id.clone(),
            modules: resolved.module_build_ids.clone(),
        },
        replace: resolved.replace,
        states: resolved.states.iter().map(|state| State { id: state.id, version: state.version }).collect(),
        params: target.fixes.iter().flat_map(|fix| &fix.params).map(param).collect(),
        tripwires: target.fixes.iter().flat_map(|fix| &fix.tripwires).map(tripwire).collect(),
        predecessor: target.predecessor,
        support_end: target.support_end.as_ref().map(ToString::to_string),
        effective_release: target.effective_release.as_ref().map(ToString::to_string),
    })
}

fn param(param: &crate::project::Param) -> Param {
    Param {
        name: param.name.clone(),
        kind: param.to_string(),
        mode: format!("{:04o}", param.mode),
        default: param.default.clone(),
        description: param.description.clone(),
    }
}

fn tripwire(tripwire: &crate::project::Tripwire) -> Tripwire {
    Tripwire { name: tripwire.name.clone(), description: tripwire.description.clone() }
}

fn affected(entry: &crate::project::Affected) -> klp_module::Affected {
    klp_module::Affected {
        cve: entry.cve.clone(),
        reason: entry.reason.clone(),
        action: entry.action.clone(),
    }
}

/// SHA-256 over the authors' sources: every file of every fix with its path, in order.
fn source_hash(project: &Project, target: &Target) -> Result<String, Error> {
    let mut key = Key::new("sources");
    for fix in &target.fixes {
        for file in fix.files()? {
            let relative = file.strip_prefix(project.root()).unwrap_or(&file);
            key = key.with(relative.to_string_lossy().as_bytes()).with_file(&file)?;
        }
    }
    Ok(key.hex())
}

/// Rust item that puts the manifest, and a place for the digest of the file, into the module.
pub fn source(manifest: &Manifest) -> String {
    let digits = "0".repeat(DIGEST_LENGTH);
    let entry = format!("{MANIFEST_KEY}={}\0{DIGEST_KEY}={digits}\0", manifest.to_modinfo());
    let literal: String = entry.bytes().flat_map(std::ascii::escape_default).map(char::from).collect();
    format!(
        "\n#[used(compiler)]\n#[unsafe(link_section = \".modinfo\")]\nstatic MANIFEST: [u8; {}] = *b\"{literal}\";\n",
        entry.len()
    )
}
