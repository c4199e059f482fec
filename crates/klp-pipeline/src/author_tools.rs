// SPDX-License-Identifier: GPL-2.0-or-later
//! rustdoc and clippy for the crates of a module: documentation with the kernel's prototypes, and lints for
//! unsafe code.

use std::path::{Path, PathBuf};

use klp_base::cache::Key;
use klp_base::events::{StageEnd, stage};
use klp_base::files::{make_dir, read_text, write};
use klp_base::process::Cmd;
use klp_kernel::host::rustc::Rustc;

use crate::build::Build;
use crate::compile::{self, Job, judge};
use crate::error::Error;
use crate::resolved::Resolved;
use crate::stage::{Built, CRATES_DIR, Range, Stage};

/// clippy lints for hand-written kernel-side code, in addition to the compiler's lints.
const LINTS: [&str; 6] = [
    "-Dwarnings",
    "-Dclippy::undocumented_unsafe_blocks",
    "-Dclippy::unnecessary_safety_comment",
    "-Dclippy::missing_safety_doc",
    // A reference to a mutable variable is made of its address, as the compiler's own lint demands.
    "-Aclippy::deref_addrof",
    // The types of the bindings differ between kernels.
    "-Aclippy::unnecessary_cast",
];

/// A crate of a module, compiled by stage compile.
struct Crate {
    name: String,
    /// Root file.
    source: PathBuf,
    /// Dependencies: name and metadata.
    externs: Vec<(&'static str, PathBuf)>,
}

/// The crates of a module after stage compile.
struct Crates {
    rustc: Rustc,
    built: Built,
    /// Directory with the metadata of `core`.
    core: PathBuf,
}

impl Crates {
    fn compile(build: &Build<'_>) -> Result<Self, Error> {
        let built = build.run(Range { from: None, to: Stage::Compile })?;
        let rustc = Rustc::find(build.cache)?;
        let core = compile::build_core(build.tree, &rustc, build.cache, build.sink)?;
        let crates = Self { rustc, built, core };
        crates.compile_metadata(build)?;
        Ok(crates)
    }

    fn compile_metadata(&self, build: &Build<'_>) -> Result<(), Error> {
        let inputs = compile::Inputs {
            tree: build.tree,
            project: build.project,
            target: build.target,
            resolved: &Resolved::read(&self.built.dir)?,
            rustc: &self.rustc,
            sources: &self.built.dir.join(Stage::Bindings.dir_name()),
            diffs: &self.built.dir.join(Stage::Resolve.dir_name()),
            crates: &self.built.dir.join(CRATES_DIR),
        };
        compile::crates(&inputs, &self.built.dir.join("log"), build.cache, build.sink)
    }

    fn metadata(&self, name: &str, suffix: &str) -> PathBuf {
        self.built.dir.join(CRATES_DIR).join(format!("lib{name}{suffix}.rmeta"))
    }

    fn klp(&self, build: &Build<'_>) -> Crate {
        let externs = vec![("bindings", self.metadata("bindings", ""))];
        Crate { name: "klp".to_owned(), source: build.project.kmod().join("src/lib.rs"), externs }
    }

    fn of_every_fix(&self) -> Vec<(&'static str, PathBuf)> {
        vec![("bindings", self.metadata("bindings", "")), ("klp", self.metadata("klp", ""))]
    }

    /// Command of another toolchain program for a crate, with the flags of stage compile.
    fn tool(&self, build: &Build<'_>, program: &str, item: &Crate) -> Cmd {
        let cmd = Cmd::new(self.rustc.program().with_file_name(program))
            .args(compile::rustc_flags(build.tree))
            // Unlike rustc, rustdoc does not derive one retpoline flag from the other. The mismatch is
            // harmless, because no generated code is kept.
            .arg("-Cunsafe-allow-abi-mismatch=retpoline")
            .args(["--crate-name", &item.name, "--edition", "2024", "--sysroot=/dev/null", "-L"])
            .arg(&self.core)
            .arg("-L")
            .arg(self.built.dir.join(CRATES_DIR))
            .arg("--extern")
            .arg(format!("core={}", self.core.join("libcore.rmeta").display()));
        let with = |cmd: Cmd, (name, path): &(&str, PathBuf)| {
            cmd.arg("--extern").arg(format!("{name}={}", path.display()))
        };
        let cmd = item.externs.iter().fold(cmd, with);
        cmd.cwd(build.project.root()).clean_env().env("RUSTC_BOOTSTRAP", "1")
    }
}

/// Renders the documentation of crate klp and of the traits of each fix of a target. Returns the start pages;
/// the page of klp is first.
///
/// # Errors
/// A stage up to compile failed, or rustdoc rejected a crate.
pub fn document(build: &Build<'_>) -> Result<Vec<PathBuf>, Error> {
    let crates = Crates::compile(build)?;
    let sources = crates.built.dir.join(Stage::Bindings.dir_name());
    let traits = build.target.fixes.iter().map(|fix| Crate {
        name: "replaced".to_owned(),
        source: sources.join(format!("replaced/{}.rs", fix.name)),
        externs: crates.of_every_fix(),
    });
    let out = crates.built.dir.join("doc");
    let mut pages = Vec::new();
    for item in std::iter::once(crates.klp(build)).chain(traits) {
        let cmd = crates.tool(build, "rustdoc", &item).arg("--out-dir").arg(&out).arg(&item.source);
        stage(build.sink, "rustdoc", &item.name, || {
            cmd.run()?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })?;
        pages.push(out.join(&item.name).join("index.html"));
    }
    Ok(pages)
}

/// Runs clippy on the fixes of a target, and on crate klp if `with_klp` is set.
///
/// # Errors
/// A stage up to compile failed, or a lint rejected a crate; the error contains clippy's message.
pub fn lint(build: &Build<'_>, with_klp: bool) -> Result<(), Error> {
    let built = build.run(Range { from: None, to: Stage::Compile })?;
    let compiled = read_text(&built.dir.join(Stage::Compile.dir_name()).join("stamp"))?;
    let key = Key::new("lint").with(compiled).with(format!("{with_klp} {}", LINTS.join(" ")));
    build.cache.entry("lint", &build.target.name, &key, |dir| {
        lint_crates(build, with_klp)?;
        // The entry needs no content: only an input without findings has one.
        Ok::<_, Error>(write(&dir.join("passed"), "")?)
    })?;
    Ok(())
}

fn lint_crates(build: &Build<'_>, with_klp: bool) -> Result<(), Error> {
    let crates = Crates::compile(build)?;
    let fixes = build.target.fixes.iter().filter(|fix| !fix.is_diff_alone()).map(|fix| {
        let name = fix.crate_name();
        let mut externs = crates.of_every_fix();
        externs.push(("replaced", crates.metadata("replaced", &format!("-{name}"))));
        Crate { name: format!("fix_{name}"), source: fix.source(), externs }
    });
    let klp = with_klp.then(|| crates.klp(build));
    let out = crates.built.dir.join("lint");
    for item in klp.into_iter().chain(fixes) {
        let relative = item.source.strip_prefix(build.project.root()).unwrap_or(&item.source);
        lint_one(&crates, build, &item, relative, &out)?;
    }
    Ok(())
}

fn lint_one(
    crates: &Crates,
    build: &Build<'_>,
    item: &Crate,
    source: &Path,
    out: &Path,
) -> Result<(), Error> {
    let fix = item.name.strip_prefix("fix_").unwrap_or_default();
    let resolved = Resolved::read(&crates.built.dir)?;
    let fix = build.target.fixes.iter().find(|found| found.crate_name() == fix);
    let cfg = fix.map(|fix| compile::cfg_flags(&resolved, &fix.name)).unwrap_or_default();
    let log = out.join("log");
    let cmd = crates.tool(build, "clippy-driver", item).args(cfg).args(LINTS).arg("--error-format=json");
    let cmd = cmd.args(["--crate-type", "rlib", "--emit=metadata", "--out-dir"]).arg(out).arg(source);
    make_dir(out)?;
    stage(build.sink, "clippy", &item.name, || {
        let cmd = cmd.log(&log);
        let output = cmd.output()?;
        let (root, resolved) = (build.project.root(), Some(&resolved));
        let job = Job { tree: build.tree, subject: &item.name, root, out, log: &log, resolved };
        judge(&output.stderr_text(), &job)?;
        if output.status.success() { Ok((StageEnd::Done, ())) } else { Err(cmd.failed(&output).into()) }
    })
}
