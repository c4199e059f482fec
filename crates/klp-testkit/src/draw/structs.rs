// SPDX-License-Identifier: GPL-2.0-or-later
//! All structs and unions of a kernel and of large modules, generated from BTF alone and compiled with
//! assertions of their layouts.

use std::fs;
use std::path::PathBuf;

use klp_base::cache::{self, Cache};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::process::Cmd;

use klp_base::files::{io_error, read, write};
use klp_image::{BtfError, KernelImage, ModuleImage, Types};
use klp_kernel::KernelTree;
use klp_pipeline::Error;
use klp_pipeline::bindings;

/// Number of the largest modules to process in addition to the kernel, and minimum number of structs in a
/// module.
const MODULES: usize = 5;
const FEWEST: usize = 100;
/// Maximum number of lines of rustc's message in a failure.
const SHOWN: usize = 40;

/// Outcome of the structs of one object.
#[derive(Clone, Debug)]
pub struct Structs {
    /// The kernel or a module.
    pub object: String,
    /// Number of compiled structs and unions.
    pub count: usize,
    /// rustc's message, if rustc rejected a struct.
    pub failure: Option<String>,
}

/// Compiles the structs of the kernel, and of its five largest modules with BTF.
///
/// # Errors
/// An image cannot be read, or rustc cannot be run.
pub fn draw(tree: &KernelTree, cache: &Cache, sink: &dyn Sink) -> Result<Vec<Structs>, Error> {
    let image = KernelImage::load(tree.image_file(), cache, sink)?;
    let mut all = vec![compile("vmlinux", &image.types, sink)?];
    for file in largest_modules(tree, cache, sink)? {
        if all.len() > MODULES {
            break;
        }
        let module = ModuleImage::parse(&read(&file)?, &image)
            .map_err(|error| klp_image::Error::Image { path: file.clone(), message: error.to_string() })?;
        let Some(types) = &module.types else { continue };
        // A large module may consist mostly of data.
        let seen = compile(module.name.as_str(), types, sink)?;
        if seen.count >= FEWEST || seen.failure.is_some() {
            all.push(seen);
        }
    }
    Ok(all)
}

/// Files of the kernel's modules, largest first. Empty if the kernel has no modules.
pub(super) fn largest_modules(
    tree: &KernelTree,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for file in cache::walk(&tree.modules_dir(cache, sink)?)? {
        if file.file_name().is_some_and(|name| name.to_string_lossy().contains(".ko")) {
            files.push((fs::metadata(&file).map_err(io_error("read", &file))?.len(), file));
        }
    }
    files.sort();
    Ok(files.into_iter().rev().map(|(_, file)| file).collect())
}

/// Compiles all structs of `types`. For a module only its own structs are compiled, without the kernel's.
///
/// # Errors
/// BTF is damaged, or rustc cannot be run.
pub fn compile(object: &str, types: &Types, sink: &dyn Sink) -> Result<Structs, Error> {
    let damaged =
        |error: BtfError| klp_image::Error::Image { path: object.into(), message: error.to_string() };
    let all = types.all_composites().map_err(damaged)?;
    let source = bindings::structs_alone(types, &all).map_err(damaged)?;
    let dir = tempfile::tempdir().map_err(io_error("make a directory in", &std::env::temp_dir()))?;
    let file = dir.path().join("structs.rs");
    write(&file, source)?;
    stage(sink, "structs", &format!("{} of {object}", all.len()), || {
        let output = Cmd::new("rustc")
            .args(["--crate-type", "lib", "--edition", "2024", "--emit", "metadata", "-Awarnings"])
            .arg("--out-dir")
            .args([dir.path(), &file])
            .env("RUSTC_BOOTSTRAP", "1")
            .output()?;
        let said = output.stderr_text();
        let failure =
            (!output.status.success()).then(|| said.lines().take(SHOWN).collect::<Vec<_>>().join("\n"));
        Ok((StageEnd::Done, Structs { object: object.to_owned(), count: all.len(), failure }))
    })
}
