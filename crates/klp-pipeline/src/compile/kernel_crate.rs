// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 3 for fixes that use the kernel's `kernel` crate: kbuild compiles them with its own rules and flags,
//! as crates of one module.
//!
//! kbuild's rule derives the crate name from the file name and compiles files below the module's directory.
//! Therefore the sources are copied there. rustc gets the original paths, so that its messages refer to the
//! author's lines.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use klp_base::files::{io_error, make_dir, write};

use super::rustc::{Job, judge};
use super::{EDITION, Inputs, ROOT, TABLES, cfg_flags, root, sites};
use crate::error::Error;

/// One crate of the module.
struct Crate {
    /// Name of the crate, of its directory and of its root file.
    name: String,
    /// Name in messages; for a fix, the name of the fix.
    subject: String,
    /// Original path of the root file, for messages.
    shown: PathBuf,
    /// Dependencies: name in the crate's source, and real name.
    uses: Vec<(String, String)>,
    /// Additional rustc arguments, one per line.
    arguments: Vec<String>,
}

/// Compiles the crates of a module. Returns its objects; the object with the tables is first.
pub(super) fn compile(inputs: &Inputs<'_>, dir: &Path, log: &Path) -> Result<Vec<PathBuf>, Error> {
    let work = dir.join("kbuild");
    let crates = lay_out(inputs, dir, &work)?;
    make_dir(&work.join("meta"))?;
    make_dir(&work.join("arguments"))?;
    for item in &crates {
        write(&work.join("arguments").join(&item.name), arguments(item, &work, &inputs.tree.headers))?;
    }
    write(&work.join("Kbuild"), kbuild_file(&inputs.resolved.module, &crates))?;

    let cmd = klp_kernel::kbuild::make(inputs.tree, &work)
        .args(inputs.rustc.make_words())
        .arg("delay-objtool=y")
        .arg(format!("{}.o", inputs.resolved.module))
        .log(log);
    let output = cmd.output()?;
    let object = |item: &Crate| work.join(&item.name).join(format!("{}.o", item.name));
    let stderr = output.stderr_text();
    let (messages, others): (Vec<&str>, Vec<&str>) = stderr.lines().partition(|line| line.starts_with('{'));
    // kbuild compiles the crates one after the other, and warnings are errors. Therefore all messages belong
    // to the first crate without an object.
    if let Some(failed) = crates.iter().find(|item| !object(item).is_file()) {
        let job = Job {
            tree: inputs.tree,
            subject: &failed.subject,
            root: inputs.project.root(),
            out: &work,
            log,
            resolved: Some(inputs.resolved),
        };
        // rustc prints the root file with the name that kbuild's rule requires.
        let named = failed.shown.with_file_name(format!("{}.rs", failed.name)).display().to_string();
        judge(&messages.join("\n").replace(&named, &failed.shown.display().to_string()), &job)?;
    }
    if !output.status.success() {
        return Err(cmd.failed(&output).into());
    }
    let unknown: Vec<&str> =
        messages.into_iter().chain(others).filter(|line| !line.trim().is_empty()).collect();
    if !unknown.is_empty() {
        return Err(klp_kernel::Error::UnknownOutput {
            tool: "the kernel's build of Rust code",
            subject: inputs.resolved.module.clone(),
            text: unknown.join("\n"),
            log: log.to_owned(),
        }
        .into());
    }
    Ok(crates.iter().rev().map(object).collect())
}

/// Copies the sources to the places that kbuild expects; the source of the root crate is written to `dir` before. Returns the
/// crates in compilation order.
fn lay_out(inputs: &Inputs<'_>, dir: &Path, work: &Path) -> Result<Vec<Crate>, Error> {
    let Inputs { tree, project, target, resolved, sources, .. } = *inputs;
    let mut crates = Vec::new();
    let mut add = |name: &str, subject: &str, root: &Path, uses: &[(&str, &str)], arguments: Vec<String>| {
        let dir = work.join(name);
        make_dir(&dir)?;
        copy(root, &dir.join(format!("{name}.rs")))?;
        crates.push(Crate {
            name: name.to_owned(),
            subject: subject.to_owned(),
            shown: root.strip_prefix(project.root()).unwrap_or(root).to_owned(),
            uses: uses.iter().map(|(alias, name)| ((*alias).to_owned(), (*name).to_owned())).collect(),
            arguments,
        });
        Ok::<_, Error>(())
    };
    // The kernel has its own crate `bindings`.
    let bindings = ("bindings", "klp_bindings");
    let klp = ("klp", "klp");
    add(bindings.1, "the bindings", &sources.join("bindings.rs"), &[], Vec::new())?;
    add(
        "klp",
        "crate klp",
        &project.kmod().join("src/lib.rs"),
        &[bindings],
        vec!["--cfg=kernel_crate".to_owned()],
    )?;
    let mut of_tables = vec![bindings, klp];
    let names: Vec<(String, String)> = target
        .fixes
        .iter()
        .map(|fix| (format!("fix_{}", fix.crate_name()), format!("replaced_{}", fix.crate_name())))
        .collect();
    for (fix, (name, replaced)) in target.fixes.iter().zip(&names) {
        let traits = sources.join(format!("replaced/{}.rs", fix.name));
        add(replaced, &format!("the traits of {}", fix.name), &traits, &[bindings, klp], Vec::new())?;
        let uses = [bindings, klp, ("replaced", replaced.as_str())];
        add(name, &fix.name, &fix.compiled_source(sources), &uses, cfg_flags(resolved, &fix.name))?;
        of_tables.extend([(name.as_str(), name.as_str()), (replaced, replaced)]);
    }
    let tables = dir.join("module.rs");
    // kbuild builds the objects of the part together with the root crate.
    let parts = super::parts(target, resolved, sources, inputs.diffs)?;
    write(&tables, root::source(tree, project, target, resolved, &parts)?)?;
    add(TABLES, ROOT, &tables, &of_tables, vec![super::flags::room_for(sites(tree))])?;
    // The modules of a crate are next to its root file.
    let with_modules = target
        .fixes
        .iter()
        .zip(&names)
        .filter(|(fix, _)| !fix.is_diff_alone())
        .map(|(fix, (name, _))| (fix.dir.join("src"), name.as_str()));
    for (from, name) in with_modules.chain([(project.kmod().join("src"), "klp")]) {
        for file in klp_base::cache::walk(&from)? {
            let relative = file.strip_prefix(&from).unwrap_or(&file);
            if relative != Path::new("lib.rs") {
                let to = work.join(name).join(relative);
                make_dir(to.parent().unwrap_or(work))?;
                copy(&file, &to)?;
            }
        }
    }
    Ok(crates)
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::copy(from, to).map_err(io_error("copy", from))?;
    Ok(())
}

/// Additional rustc arguments for one crate, one per line.
fn arguments(item: &Crate, work: &Path, headers: &Path) -> String {
    let meta = work.join("meta");
    let shown = item.shown.parent().unwrap_or(Path::new("")).display();
    let mut text = format!(
        "-L\n{}\n--emit=metadata={}\n--remap-path-prefix={}=kernel\n--remap-path-prefix={}={shown}\n",
        meta.display(),
        metadata(&meta, &item.name),
        headers.display(),
        work.join(&item.name).display(),
    );
    for (alias, name) in &item.uses {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "--extern\n{alias}={}", metadata(&meta, name));
    }
    text.extend(item.arguments.iter().map(|argument| format!("{argument}\n")));
    text
}

fn metadata(meta: &Path, name: &str) -> String {
    meta.join(format!("lib{name}.rmeta")).display().to_string()
}

/// Content of the `Kbuild` file. Fixes and `klp` have a later edition than the kernel's own code, and the
/// kernel's documentation lints are off for them.
fn kbuild_file(module: &str, crates: &[Crate]) -> String {
    let object = |name: &str| format!("{name}/{name}.o");
    let objects: Vec<String> = crates.iter().map(|item| object(&item.name)).collect();
    let mut text = format!(
        "# Generated.\nobj-m := {module}.o\n{module}-objs := {}\nexport KLP_MODULE := {module}\n\
         rustflags-remove-y := --edition=2021\n\
         rustflags-y := --edition={EDITION} --error-format=json -Dwarnings -Amissing_docs -Aunreachable_pub \
         -Aunused_attributes -Cdebuginfo=2\n",
        objects.join(" ")
    );
    for (item, objects) in crates.iter().zip((0..).map(|position| &objects[..position])) {
        let _ = writeln!(text, "RUSTFLAGS_{} := @$(obj)/arguments/{}", object(&item.name), item.name);
        if !objects.is_empty() {
            let earlier: Vec<String> = objects.iter().map(|object| format!("$(obj)/{object}")).collect();
            let _ = writeln!(text, "$(obj)/{}: {}", object(&item.name), earlier.join(" "));
        }
    }
    text
}
