// SPDX-License-Identifier: GPL-2.0-or-later
//! Out-of-tree kernel modules with one C source file.

use std::path::{Path, PathBuf};

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, write};
use klp_format::ObjectName;

use crate::error::Error;
use crate::kbuild;
use crate::tree::KernelTree;

/// Builds the module `name` from the single file `source`, or finds it in the cache. Returns the path of the
/// `.ko` file.
///
/// # Errors
/// kbuild failed, or one of its tools printed an unknown message.
pub fn build(
    tree: &KernelTree,
    name: &ObjectName,
    source: &Path,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, Error> {
    made(tree, name, source, "", cache, sink)
}

/// As [`build`], with debug information (DWARF), from which the module's types can be read.
///
/// # Errors
/// Those of [`build`].
pub fn build_with_debug_info(
    tree: &KernelTree,
    name: &ObjectName,
    source: &Path,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, Error> {
    made(tree, name, source, "ccflags-y := -g\n", cache, sink)
}

fn made(
    tree: &KernelTree,
    name: &ObjectName,
    source: &Path,
    flags: &str,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, Error> {
    let key = Key::new("fixture 1").with(&tree.fingerprint).with(name.as_str()).with_file(source)?;
    let key = if flags.is_empty() { key } else { key.with(flags) };
    let entry = cache.entry("fixtures", &tree.id, &key, |dir| {
        stage(sink, "fixture", name.as_str(), || {
            std::fs::copy(source, dir.join(format!("{name}.c"))).map_err(io_error("copy", source))?;
            write(&dir.join("Makefile"), format!("obj-m := {name}.o\n{flags}"))?;
            kbuild::run(tree, dir, name.as_str(), &[], &dir.join("log")).map(|()| (StageEnd::Done, ()))
        })
    })?;
    Ok(entry.join(format!("{name}.ko")))
}
