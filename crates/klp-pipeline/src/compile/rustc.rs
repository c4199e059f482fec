// SPDX-License-Identifier: GPL-2.0-or-later
//! rustc runs, and their diagnostics for authors.

use std::path::{Path, PathBuf};

use klp_base::files::make_dir;
use klp_base::process::Cmd;
use klp_kernel::KernelTree;
use klp_kernel::host::rustc::Rustc;
use serde::Deserialize;

use super::flags;
use crate::error::Error;
use crate::resolved::Resolved;
use crate::rust_name::object_in_rust;

/// rustc warnings about flags that it nevertheless passes to LLVM.
const KNOWN_WARNINGS: [&str; 2] =
    ["unknown and unstable feature specified for `-Ctarget-feature`: `harden-sls-", "warnings emitted"];

/// A crate to compile.
pub(super) struct Crate<'a> {
    pub(super) name: &'a str,
    pub(super) source: &'a Path,
    /// Suffix in file names that distinguishes crates with the same name.
    pub(super) suffix: &'a str,
    pub(super) edition: &'a str,
    pub(super) externs: Vec<(String, PathBuf)>,
    /// Directories with indirect dependencies.
    pub(super) search: Vec<PathBuf>,
    pub(super) extra: Vec<String>,
}

/// Compiles one crate into `out`: `lib<name><suffix>.rmeta` and `<name><suffix>.o`.
pub(super) fn compile(rustc: &Rustc, job: &Job<'_>, item: &Crate<'_>) -> Result<(), Error> {
    make_dir(job.out)?;
    let mut cmd = Cmd::new(rustc.program())
        .args(flags::rustc(job.tree))
        .args(["--crate-type", "rlib", "--crate-name", item.name, "--edition", item.edition])
        .args(["--sysroot=/dev/null", "--error-format=json", "--emit=obj,metadata"])
        .arg(format!("-Cextra-filename={}", item.suffix))
        .arg(format!("-Cmetadata={}{}", item.name, item.suffix))
        .arg(format!("--remap-path-prefix={}=.", job.root.display()))
        .arg("--out-dir")
        .arg(job.out)
        .args(&item.extra)
        .cwd(job.root)
        .clean_env()
        .env("RUSTC_BOOTSTRAP", "1");
    for dir in &item.search {
        cmd = cmd.arg("-L").arg(dir);
    }
    for (name, path) in &item.externs {
        cmd = cmd.arg("--extern").arg(format!("{name}={}", path.display()));
    }
    let cmd = cmd.arg(item.source).log(job.log);
    let output = cmd.output()?;
    judge(&output.stderr_text(), job)?;
    if output.status.success() { Ok(()) } else { Err(cmd.failed(&output).into()) }
}

/// Checks rustc's messages (JSON lines). Any message that is not known to be harmless is an error.
pub(crate) fn judge(stderr: &str, job: &Job<'_>) -> Result<(), Error> {
    let said = diagnostics(stderr, job);
    if said.is_empty() {
        return Ok(());
    }
    Err(Error::Compile { subject: job.subject.to_owned(), kernel: job.tree.id.clone(), diagnostics: said })
}

/// Common settings of the crates of one module.
pub(crate) struct Job<'a> {
    pub(crate) tree: &'a KernelTree,
    /// Subject of the compilation, for messages.
    pub(crate) subject: &'a str,
    /// Directory of the project. rustc runs there, and paths in the result are relative to it.
    pub(crate) root: &'a Path,
    pub(crate) out: &'a Path,
    pub(crate) log: &'a Path,
    pub(crate) resolved: Option<&'a Resolved>,
}

#[derive(Deserialize)]
struct Diagnostic {
    message: String,
    rendered: Option<String>,
    code: Option<Code>,
    #[serde(default)]
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    is_primary: bool,
    #[serde(default)]
    text: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

/// rustc's messages in readable form, without the known warnings. If an implementation does not match its
/// trait, the kernel's prototype is added.
fn diagnostics(stderr: &str, job: &Job<'_>) -> String {
    let mut said = String::new();
    for line in stderr.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str::<Diagnostic>(line) {
            Ok(diagnostic) => {
                let known = KNOWN_WARNINGS.iter().any(|known| diagnostic.message.contains(known));
                let summary = diagnostic.spans.is_empty() && diagnostic.message.contains(" emitted")
                    || diagnostic.message.starts_with("For more information about")
                    || diagnostic.message.starts_with("Some errors have detailed explanations");
                if !known && !summary {
                    said.push_str(diagnostic.rendered.as_deref().unwrap_or(&diagnostic.message).trim_end());
                    said.push('\n');
                    said.push_str(&prototypes(&diagnostic, job));
                    said.push('\n');
                }
            }
            Err(_) => {
                said.push_str(line);
                said.push('\n');
            }
        }
    }
    said
}

/// Opaque struct on which a member was asked for.
fn opaque(diagnostic: &Diagnostic) -> Option<&str> {
    diagnostic.rendered.as_deref().filter(|text| text.contains("opaque"))?;
    let (_, named) = diagnostic.message.split_once("on type `")?;
    let name = named.split('`').next()?;
    name.rsplit([':', ' ']).next()
}

/// Kernel prototypes of the functions in a diagnostic.
fn prototypes(diagnostic: &Diagnostic, job: &Job<'_>) -> String {
    let (Some(resolved), Some(code)) = (job.resolved, &diagnostic.code) else { return String::new() };
    let primary = || diagnostic.spans.iter().filter(|span| span.is_primary).flat_map(|span| &span.text);
    let names = |name: &str| {
        let quoted = format!("`{name}`");
        let defined = format!("fn {name}(");
        diagnostic.message.contains(&quoted) || primary().any(|line| line.text.contains(&defined))
    };
    let in_fix = resolved.functions.iter().filter(|function| function.fix == job.subject);
    // The lines follow rustc's notes, which are indented by one column more than the arrow.
    let arrow =
        diagnostic.rendered.as_deref().and_then(|text| text.lines().find_map(|line| line.find("--> ")));
    let note = |text: String| format!("{}= kernel: {text}\n", " ".repeat(arrow.unwrap_or(1) + 1));
    let prototype = |f: &crate::resolved::Function| {
        note(format!("in {} of {} it is `{}`", f.symbol.object, resolved.kernel, f.c_prototype))
    };
    match code.code.as_str() {
        // Wrong type, wrong number of parameters, missing function.
        "E0053" | "E0050" | "E0046" | "E0195" | "E0186" => {
            in_fix.filter(|function| names(&function.method)).map(prototype).collect()
        }
        // Call of an original with a wrong type or number of arguments.
        "E0308" | "E0061" => {
            let called = |name: &str| {
                let text = format!("::{name}(");
                primary().any(|line| line.text.contains("original::") && line.text.contains(&text))
            };
            in_fix.filter(|function| called(&function.method)).map(prototype).collect()
        }
        // Missing trait implementation.
        "E0277" => in_fix
            .filter(|f| {
                diagnostic.message.contains(&format!(": replaced::{}`", object_in_rust(&f.symbol.object)))
            })
            .map(prototype)
            .collect(),
        // Member of a struct whose members no fix asked for.
        "E0609" | "E0615" => opaque(diagnostic)
            .map(|name| {
                note(format!(
                    "`{name}` is opaque in this module; to use its members, name it in `types` of [imports]"
                ))
            })
            .unwrap_or_default(),
        // A function that is not in patch.toml.
        "E0407" => {
            let declared: Vec<String> = in_fix.map(|f| format!("`{}`", f.c_prototype)).collect();
            note(format!(
                "on {} this fix replaces {}; to replace another function, name it in `patch` of patch.toml",
                resolved.kernel,
                declared.join(", ")
            ))
        }
        _ => String::new(),
    }
}
