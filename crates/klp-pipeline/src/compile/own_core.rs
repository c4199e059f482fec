// SPDX-License-Identifier: GPL-2.0-or-later
//! The `core` library, compiled with the kernel's flags once per compiler and set of flags.

use std::path::PathBuf;

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::write;
use klp_kernel::KernelTree;
use klp_kernel::host::rustc::Rustc;

use super::flags;
use super::rustc::{Crate, Job};
use crate::error::Error;

/// Source of an empty crate `compiler_builtins`. `core` refers to it for 128-bit division; a fix with such a
/// division does not link, and the message names the missing routine.
const COMPILER_BUILTINS: &str = "#![feature(compiler_builtins)]\n#![compiler_builtins]\n#![no_builtins]\n#![no_std]\n#![allow(internal_features)]\n";

/// Finds `core` and `compiler_builtins` in the cache, or compiles them. Returns the directory with their
/// metadata and objects.
pub(crate) fn build(
    tree: &KernelTree,
    rustc: &Rustc,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, Error> {
    let key =
        Key::new("core 1").with(rustc.version()).with(flags::rustc(tree).join(" ")).with(COMPILER_BUILTINS);
    cache.entry("core", tree.arch.name(), &key, |dir| {
        stage(sink, "core", &tree.id, || {
            let library = rustc.library();
            let log = dir.join("log");
            let job = Job { tree, subject: "core", root: library, out: dir, log: &log, resolved: None };
            let extra = ["-Zforce-unstable-if-unmarked", "--cfg=no_fp_fmt_parse", "--cap-lints=allow"];
            super::rustc::compile(
                rustc,
                &job,
                &Crate {
                    name: "core",
                    source: std::path::Path::new("core/src/lib.rs"),
                    suffix: "",
                    edition: "2024",
                    externs: Vec::new(),
                    search: Vec::new(),
                    extra: extra.map(ToOwned::to_owned).to_vec(),
                },
            )?;
            let source = dir.join("compiler_builtins.rs");
            write(&source, COMPILER_BUILTINS)?;
            super::rustc::compile(
                rustc,
                &job,
                &Crate {
                    name: "compiler_builtins",
                    source: &source,
                    suffix: "",
                    edition: "2024",
                    externs: vec![("core".to_owned(), dir.join("libcore.rmeta"))],
                    search: vec![dir.to_owned()],
                    extra: vec!["--cap-lints=allow".to_owned()],
                },
            )?;
            // The log contains paths of this machine.
            std::fs::remove_file(&log).map_err(klp_base::files::io_error("remove", &log))?;
            Ok((StageEnd::Done, ()))
        })
    })
}
