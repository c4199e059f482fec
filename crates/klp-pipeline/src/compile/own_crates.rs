// SPDX-License-Identifier: GPL-2.0-or-later
//! The crates of a module on top of the separately compiled `core`: bindings, klp, traits and fix of each
//! fix, root crate.

use std::path::{Path, PathBuf};

use klp_base::cache::{self, Cache};
use klp_base::events::Sink;
use klp_base::files::{io_error, make_dir, write};

use super::rustc::{self, Crate, Job};
use super::{EDITION, EXTRA, Inputs, ROOT, TABLES, cfg_flags, crates_key, flags, own_core, root, sites};
use crate::error::Error;
use crate::part::ModulePart;
use crate::project::Fix;

/// One crate to compile.
struct Source<'a> {
    /// Name in messages: the fix, or a description of the crate.
    subject: &'a str,
    name: &'a str,
    /// Suffix that distinguishes crates with the same name.
    suffix: &'a str,
    root: PathBuf,
    /// Dependencies except for `core`: name and metadata.
    externs: Vec<(String, PathBuf)>,
    flags: Vec<String>,
}

/// The crates of one module.
struct Crates<'a> {
    inputs: &'a Inputs<'a>,
    /// Directory with the metadata and objects of `core`.
    core: PathBuf,
    log: &'a Path,
}

/// Compiles the crates of a module. Returns their objects and the objects of `core`.
pub(super) fn compile(
    inputs: &Inputs<'_>,
    dir: &Path,
    log: &Path,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<PathBuf>, Error> {
    let core = own_core::build(inputs.tree, inputs.rustc, cache, sink)?;
    let crates = Crates { inputs, core, log };
    crates.compile_or_reuse()?;
    let parts = super::parts(inputs.target, inputs.resolved, inputs.sources, inputs.diffs)?;
    let root = crates.compile_root(&parts, dir)?;
    Ok([vec![root], crates.objects()].concat())
}

/// Compiles the crates below the root crate, unless an earlier build with the same key is available.
pub(super) fn compile_below_root(
    inputs: &Inputs<'_>,
    log: &Path,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<(), Error> {
    let core = own_core::build(inputs.tree, inputs.rustc, cache, sink)?;
    Crates { inputs, core, log }.compile_or_reuse()
}

/// A crate without suffix and without additional flags.
fn plain<'a>(subject: &'a str, name: &'a str, root: PathBuf, externs: Vec<(String, PathBuf)>) -> Source<'a> {
    Source { subject, name, suffix: "", root, externs, flags: Vec::new() }
}

impl Crates<'_> {
    /// Compiles the crates below the root crate, unless an earlier build with the same key is available.
    fn compile_or_reuse(&self) -> Result<(), Error> {
        let out = self.inputs.crates;
        let key = crates_key(self.inputs)?.with_file(&self.core.join("libcore.rmeta"))?.hex();
        let stamp = out.join("stamp");
        if std::fs::read_to_string(&stamp).is_ok_and(|found| found == key) {
            return Ok(());
        }
        if out.exists() {
            std::fs::remove_dir_all(out).map_err(io_error("remove", out))?;
        }
        make_dir(out)?;
        self.compile_crates()?;
        Ok(cache::write_durable(&stamp, key.as_bytes())?)
    }

    fn compile_crates(&self) -> Result<(), Error> {
        let Inputs { project, target, sources, crates: out, .. } = *self.inputs;
        self.one(out, plain("the bindings", "bindings", sources.join("bindings.rs"), Vec::new()))?;
        let klp = project.kmod().join("src/lib.rs");
        self.one(out, plain("crate klp", "klp", klp, vec![self.metadata("bindings", "bindings", "")]))?;
        for fix in &target.fixes {
            let name = fix.crate_name();
            let suffix = format!("-{name}");
            let subject = format!("the traits of {}", fix.name);
            let traits = sources.join(format!("replaced/{}.rs", fix.name));
            self.one(
                out,
                Source { suffix: &suffix, ..plain(&subject, "replaced", traits, self.of_every_fix()) },
            )?;
            let mut externs = self.of_every_fix();
            externs.push(self.metadata("replaced", "replaced", &suffix));
            // The prefix separates the names of fixes from the names of other crates.
            let name = format!("fix_{name}");
            self.one(out, plain(&fix.name, &name, fix.compiled_source(sources), externs))?;
        }
        Ok(())
    }

    /// Writes and compiles the root crate with the tables. Returns its object.
    fn compile_root(&self, parts: &[ModulePart], dir: &Path) -> Result<PathBuf, Error> {
        let Inputs { tree, project, target, resolved, .. } = *self.inputs;
        let source = dir.join("module.rs");
        write(&source, root::source(tree, project, target, resolved, parts)?)?;
        let mut externs = self.of_every_fix();
        for fix in &target.fixes {
            let name = fix.crate_name();
            externs.push(self.metadata(&format!("fix_{name}"), &format!("fix_{name}"), ""));
            externs.push(self.metadata(&format!("replaced_{name}"), "replaced", &format!("-{name}")));
        }
        let flags = vec![flags::room_for(sites(tree))];
        let root = Source { subject: ROOT, name: TABLES, suffix: "", root: source, externs, flags };
        self.one(dir, root)?;
        Ok(dir.join(format!("{TABLES}.o")))
    }

    /// Compiles one crate into `out`.
    fn one(&self, out: &Path, source: Source<'_>) -> Result<(), Error> {
        let Inputs { tree, project, resolved, rustc, crates, .. } = *self.inputs;
        let relative = source.root.strip_prefix(project.root()).unwrap_or(&source.root);
        let core = ("core".to_owned(), self.core.join("libcore.rmeta"));
        let extra = EXTRA.map(ToOwned::to_owned).into_iter();
        rustc::compile(
            rustc,
            &Job {
                tree,
                subject: source.subject,
                root: project.root(),
                out,
                log: self.log,
                resolved: Some(resolved),
            },
            &Crate {
                name: source.name,
                source: relative,
                suffix: source.suffix,
                edition: EDITION,
                externs: source.externs.into_iter().chain([core]).collect(),
                search: vec![out.to_owned(), crates.to_owned(), self.core.clone()],
                extra: extra.chain(cfg_flags(resolved, source.subject)).chain(source.flags).collect(),
            },
        )
    }

    /// Dependencies of every fix and of the root crate.
    fn of_every_fix(&self) -> Vec<(String, PathBuf)> {
        vec![self.metadata("bindings", "bindings", ""), self.metadata("klp", "klp", "")]
    }

    /// A crate as dependency: its name in the other crate, and its metadata.
    fn metadata(&self, alias: &str, name: &str, suffix: &str) -> (String, PathBuf) {
        (alias.to_owned(), self.inputs.crates.join(format!("lib{name}{suffix}.rmeta")))
    }

    /// Objects of all crates except for the root crate.
    fn objects(&self) -> Vec<PathBuf> {
        let Inputs { target, crates, .. } = *self.inputs;
        let fix = |fix: &Fix| crates.join(format!("fix_{}.o", fix.crate_name()));
        let mut objects: Vec<PathBuf> = target.fixes.iter().map(fix).collect();
        objects.extend(["klp.o", "bindings.o"].map(|name| crates.join(name)));
        objects.extend(["core.o", "compiler_builtins.o"].map(|name| self.core.join(name)));
        objects
    }
}
