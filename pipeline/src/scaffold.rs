// SPDX-License-Identifier: GPL-2.0-or-later
//! A new fix: `patches/_template` with the kernel's prototype filled in. It builds and passes as it is.

use std::path::{Path, PathBuf};

use klp_base::process::Cmd;
use klp_format::KlpSymbol;

use crate::bindings::object_in_rust;
use crate::bindings::render::Renderer;
use crate::error::{Error, io_error, make_dir, read_text, write};
use crate::image::TypeKind;
use crate::kernel::KernelTree;
use crate::objects::Objects;
use crate::project::{Project, Target, is_fix_name, is_rust_name, read_fix};
use crate::resolve;

/// Makes `patches/<name>` and `tests/cases/<name>`: the files that were written.
///
/// # Errors
/// The name is wrong or taken, or the kernel has no such function. Nothing is left half-made.
pub fn new_fix(
    project: &Project,
    tree: &KernelTree,
    objects: &Objects,
    name: &str,
    symbol: &KlpSymbol,
) -> Result<Vec<PathBuf>, Error> {
    let patches = project.root().join("patches");
    let fix = patches.join(name);
    let case = project.root().join("tests/cases").join(name);
    let wrong = |message: &str| Error::Config { file: fix.clone(), message: message.to_owned() };
    if !is_fix_name(name) {
        return Err(wrong(
            "a fix's name begins with a small letter and has small letters, digits, `-` and `_` only",
        ));
    }
    let longest = klp_format::MODULE_NAME_MAX - "kpatch_".len();
    if name.len() > longest {
        return Err(wrong(&format!(
            "the name has {} characters, and the module kpatch_{name} would have more than the kernel's limit of {}; a \
             fix's name has at most {longest}",
            name.len(),
            klp_format::MODULE_NAME_MAX
        )));
    }
    if let Some(other) = project.like(name) {
        return Err(wrong(&format!(
            "`{other}` is there already, and a module of either would be called alike; choose another name"
        )));
    }
    if fix.exists() || case.exists() {
        return Err(wrong("is there already (or its case under tests/cases); choose another name"));
    }
    if !is_rust_name(&symbol.symbol) {
        return Err(wrong(
            "the function's name is no Rust name; write the fix by hand, with `as = \"...\"` in patch.toml",
        ));
    }
    let values = values(tree, objects, name, symbol)?;
    let template = patches.join("_template");
    let aside = tempfile::Builder::new()
        .prefix(".new-patch-")
        .tempdir_in(&patches)
        .map_err(io_error("make a directory in", &patches))?;
    for (from, to) in [
        ("patch.toml", "fix/patch.toml"),
        ("src/lib.rs", "fix/src/lib.rs"),
        ("case/case.toml", "case/case.toml"),
        ("case/run.sh", "case/run.sh"),
    ] {
        let to = aside.path().join(to);
        make_dir(to.parent().unwrap_or(Path::new(".")))?;
        let text = read_text(&template.join(from))?;
        write(
            &to,
            values.iter().fold(text, |text, (key, value)| text.replace(&format!("{{{{{key}}}}}"), value)),
        )?;
    }
    Cmd::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(project.root())
        .arg(aside.path().join("fix/src/lib.rs"))
        .hint("install rustfmt: `rustup toolchain install` in the project's directory")
        .run()?;
    // What stage 1 refuses is not begun.
    let made = read_fix(name, &aside.path().join("fix"))?;
    resolve::resolve(tree, objects, &Target::of_fix(made))?;
    std::fs::rename(aside.path().join("case"), &case).map_err(io_error("make", &case))?;
    std::fs::rename(aside.path().join("fix"), &fix).map_err(io_error("make", &fix))?;
    Ok(vec![fix.join("patch.toml"), fix.join("src/lib.rs"), case.join("case.toml"), case.join("run.sh")])
}

fn values(
    tree: &KernelTree,
    objects: &Objects,
    name: &str,
    symbol: &KlpSymbol,
) -> Result<Vec<(&'static str, String)>, Error> {
    let prototype = resolve::prototype(tree, objects, symbol)?;
    let failed =
        |error: crate::image::BtfError| Error::Image { path: tree.image.clone(), message: error.to_string() };
    let signature = Renderer::new(objects.types()).signature(&prototype).map_err(failed)?;
    let returns =
        objects.types().bare(prototype.returns).and_then(|id| objects.types().kind(id)).map_err(failed)?;
    let body = match (symbol.symbol.as_str(), returns) {
        ("cmdline_proc_show", _) => {
            format!(
                "// SAFETY: the seq_file core passes a valid `m`.\n        unsafe {{ SeqFile::from_ptr(m) }}.puts(c\"{name}\\n\")"
            )
        }
        (_, TypeKind::Void) => String::new(),
        (_, TypeKind::Pointer(_)) => "core::ptr::null_mut()".to_owned(),
        (_, TypeKind::Int { name, .. }) if name == "_Bool" => "false".to_owned(),
        (_, TypeKind::Int { .. } | TypeKind::Enum { .. }) => "0".to_owned(),
        // SAFETY of the generated text: all zeroes is a value of every C struct.
        _ => "// SAFETY: all zeroes is a value of the C type.\n        unsafe { core::mem::zeroed() }"
            .to_owned(),
    };
    let signature = if symbol.symbol == "cmdline_proc_show" {
        signature.replacen("v:", "_v:", 1)
    } else {
        unused_parameters(&signature, &prototype)
    };
    Ok(vec![
        ("name", name.to_owned()),
        ("variable", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")),
        ("description", format!("Replaces {symbol}")),
        ("symbol", symbol.to_string()),
        ("object", object_in_rust(&symbol.object)),
        ("function", symbol.symbol.clone()),
        ("prototype", objects.types().c_prototype(&prototype)),
        ("signature", signature),
        ("body", body),
        ("kernel", tree.id.clone()),
    ])
}

/// Marks parameters as unused, as long as the author has not written the body.
fn unused_parameters(signature: &str, prototype: &crate::image::Prototype) -> String {
    let names = prototype.parameters.iter().filter_map(|(name, _)| name.as_ref());
    names.fold(signature.to_owned(), |text, name| {
        let first = text.replacen(&format!("({name}: "), &format!("(_{name}: "), 1);
        first.replacen(&format!(", {name}: "), &format!(", _{name}: "), 1)
    })
}
