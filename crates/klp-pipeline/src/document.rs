// SPDX-License-Identifier: GPL-2.0-or-later
//! Documentation for the author of a fix: crate `klp`, and the traits with the kernel's prototypes.

use std::path::PathBuf;

use klp_base::events::{StageEnd, stage};
use klp_base::process::Cmd;
use klp_kernel::host::rustc::Rustc;

use crate::build::Build;
use crate::compile;
use crate::error::Error;
use crate::stage::{Range, Stage};

/// One crate for rustdoc.
struct Page {
    name: &'static str,
    source: PathBuf,
    /// Crates that it uses: name and metadata.
    externs: Vec<(&'static str, PathBuf)>,
}

/// Renders the documentation of each fix of a target: the start pages, that of `klp` first.
///
/// # Errors
/// A stage up to compile failed, or rustdoc refused a crate.
pub fn document(build: &Build<'_>) -> Result<Vec<PathBuf>, Error> {
    let built = build.run(Range { from: None, to: Stage::Compile })?;
    let rustc = Rustc::find(build.cache)?;
    let core = compile::build_core(build.tree, &rustc, build.cache, build.sink)?;
    let crates = built.dir.join(".crates");
    let metadata = |file: String| crates.join(file);
    let bindings = ("bindings", metadata("libbindings.rmeta".to_owned()));
    let klp = ("klp", metadata("libklp.rmeta".to_owned()));
    let own = Page {
        name: "klp",
        source: build.project.kmod().join("src/lib.rs"),
        externs: vec![bindings.clone()],
    };
    let traits = build.target.fixes.iter().map(|fix| Page {
        name: "replaced",
        source: built.dir.join(Stage::Bindings.dir_name()).join(format!("replaced/{}.rs", fix.name)),
        externs: vec![bindings.clone(), klp.clone()],
    });
    let out = built.dir.join("doc");
    let mut pages = Vec::new();
    for page in std::iter::once(own).chain(traits) {
        let mut cmd = Cmd::new(rustc.program().with_file_name("rustdoc"))
            .args(compile::rustc_flags(build.tree))
            // rustdoc does not derive one retpoline flag from the other, as rustc does; nothing is compiled here.
            .arg("-Cunsafe-allow-abi-mismatch=retpoline")
            .args(["--crate-name", page.name, "--edition", "2024", "--sysroot=/dev/null", "-L"])
            .arg(&core)
            .arg("-L")
            .arg(&crates)
            .arg("--extern")
            .arg(format!("core={}", core.join("libcore.rmeta").display()));
        for (name, path) in &page.externs {
            cmd = cmd.arg("--extern").arg(format!("{name}={}", path.display()));
        }
        let cmd = cmd.arg("--out-dir").arg(&out).arg(&page.source).cwd(build.project.root());
        stage(build.sink, "rustdoc", page.name, || {
            cmd.clean_env().env("RUSTC_BOOTSTRAP", "1").run()?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })?;
        pages.push(out.join(page.name).join("index.html"));
    }
    Ok(pages)
}
