// SPDX-License-Identifier: GPL-2.0-or-later
//! Creates a new fix from `patches/_template` with the kernel's prototype. The new fix builds and passes its
//! case without changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_base::files::{io_error, make_dir, read_text, write};
use klp_base::process::Cmd;
use klp_cdiff::inlined::Copies;
use klp_format::{KlpSymbol, ObjectName};
use klp_image::{BtfError, TypeId, TypeKind, Types};
use klp_kernel::KernelTree;
use quote::ToTokens;
use syn::{FnArg, Signature};

use crate::bindings::render::{Renderer, type_name};
use crate::c_diff;
use crate::error::Error;
use crate::objects::Objects;
use crate::project::{ModuleSource, Project, Target, is_fix_name, read_fix};
use crate::resolve;
use crate::rust_name::{is_rust_keyword, is_rust_name, object_in_rust, snake_case};

/// Creates `patches/<name>` and `tests/cases/<name>`. Returns the written files.
///
/// # Errors
/// The name is invalid or exists, or the kernel has no such function. No incomplete files remain.
pub fn new_fix(
    project: &Project,
    tree: &KernelTree,
    objects: &Objects,
    name: &str,
    symbol: &KlpSymbol,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<PathBuf>, Error> {
    let patches = project.root().join("patches");
    let fix = free_place(project, name)?;
    let case = project.root().join("tests/cases").join(name);
    let aside = tempfile::Builder::new()
        .prefix(".new-patch-")
        .tempdir_in(&patches)
        .map_err(io_error("make a directory in", &patches))?;
    let copies = callers_with_copies(project, tree, symbol, cache, sink)?;
    fill_in(project, tree, objects, (name, symbol, &copies), aside.path())?;
    // A function that stage 1 rejects must not leave a fix or a case.
    let made = read_fix(name, &aside.path().join("fix"))?;
    resolve::resolve(tree, objects, &Target::of_fix(made), Vec::new())?;
    std::fs::rename(aside.path().join("case"), &case).map_err(io_error("make", &case))?;
    std::fs::rename(aside.path().join("fix"), &fix).map_err(io_error("make", &fix))?;
    Ok(vec![fix.join("patch.toml"), fix.join("src/lib.rs"), case.join("case.toml"), case.join("run.sh")])
}

/// Directory of a new fix, which is free, as is that of its case.
///
/// # Errors
/// The name is invalid, or is there already.
pub(crate) fn free_place(project: &Project, name: &str) -> Result<PathBuf, Error> {
    let fix = project.root().join("patches").join(name);
    let case = project.root().join("tests/cases").join(name);
    let wrong = |message: &str| {
        Error::from(klp_kernel::Error::Config { file: fix.clone(), message: message.to_owned() })
    };
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
    Ok(fix)
}

/// Symbols of the functions into which the compiler inlined a function, as far as they are known.
///
/// # Errors
/// A file cannot be read or written.
pub fn callers_with_copies(
    project: &Project,
    tree: &KernelTree,
    symbol: &KlpSymbol,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<String>, Error> {
    let Copies::Known { copies, .. } = c_diff::inlined(project, tree, symbol, cache, sink)? else {
        return Ok(Vec::new());
    };
    let callers: BTreeSet<String> = copies.into_iter().map(|copy| copy.caller).collect();
    Ok(callers.into_iter().collect())
}

/// Fills in the template for a function, whose copies are in the functions `copies`: writes a fix to `to/fix` and its case to `to/case`.
///
/// # Errors
/// The kernel has no such function, or a file cannot be written.
pub fn fill_in(
    project: &Project,
    tree: &KernelTree,
    objects: &Objects,
    (name, symbol, copies): (&str, &KlpSymbol, &[String]),
    to: &Path,
) -> Result<(), Error> {
    let template = project.root().join("patches/_template");
    let mut values = values(tree, objects, name, symbol, copies)?;
    values.push(("out_of_tree", out_of_tree(project, tree, &symbol.object)));
    if !is_rust_name(&method(&symbol.symbol)) {
        return Err(Error::Symbol {
            symbol: symbol.to_string(),
            kernel: tree.id.clone(),
            message: "its name is no Rust name; write the fix by hand, with `as = \"...\"` in patch.toml"
                .to_owned(),
        });
    }
    for (from, file) in [
        ("patch.toml", "fix/patch.toml"),
        ("src/lib.rs", "fix/src/lib.rs"),
        ("case/case.toml", "case/case.toml"),
        ("case/run.sh", "case/run.sh"),
    ] {
        let file = to.join(file);
        make_dir(file.parent().unwrap_or(Path::new(".")))?;
        let text = read_text(&template.join(from))?;
        write(
            &file,
            values.iter().fold(text, |text, (key, value)| text.replace(&format!("{{{{{key}}}}}"), value)),
        )?;
    }
    Cmd::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(project.root())
        .arg(to.join("fix/src/lib.rs"))
        .hint("install rustfmt: `rustup toolchain install` in the project's directory")
        .run()?;
    Ok(())
}

/// Line of patch.toml with the file of a module that is not the kernel's own; empty for other objects.
fn out_of_tree(project: &Project, tree: &KernelTree, object: &ObjectName) -> String {
    match project.module_source(object) {
        Some(ModuleSource::File(file)) => {
            let file = toml::Value::String(project.out_of_tree_path(&file, tree));
            format!("out_of_tree = {{ {object} = {file} }}\n")
        }
        Some(ModuleSource::C(_)) | None => String::new(),
    }
}

fn values(
    tree: &KernelTree,
    objects: &Objects,
    name: &str,
    symbol: &KlpSymbol,
    copies: &[String],
) -> Result<Vec<(&'static str, String)>, Error> {
    let prototype = resolve::prototype(tree, objects, symbol)?;
    let failed =
        |error: BtfError| klp_image::Error::Image { path: tree.image.clone(), message: error.to_string() };
    let types = objects.types();
    // rustc warns about unused parameters until the author has written the body.
    let shows_command_line = symbol.symbol == "cmdline_proc_show";
    let calls_original = !shows_command_line && objects.body(symbol).is_some();
    let signature = Renderer::new(types)
        .signature_with(&prototype, |parameter| {
            let used = calls_original || shows_command_line && parameter == "m";
            let name = snake_case(parameter);
            if used { type_name(name) } else { format!("_{name}") }
        })
        .map_err(failed)?;
    let method = method(&symbol.symbol);
    let body = if shows_command_line {
        format!(
            "// SAFETY: the seq_file core passes a valid `m`.\n        unsafe {{ SeqFile::from_ptr(m) }}.puts(c\"{name}\\n\")"
        )
    } else if calls_original {
        format!(
            "// SAFETY: the arguments are those of the replacement.\n        unsafe {{ replaced::original::{}::{method}({}) }}",
            object_in_rust(&symbol.object),
            parameter_names(&signature).join(", ")
        )
    } else {
        empty_body(types, prototype.returns).map_err(failed)?
    };
    let import = "use klp::prelude::*;";
    let import = if shows_command_line || names_a_type(&signature) {
        import.to_owned()
    } else {
        format!("#[allow(unused_imports, reason = \"for the body that is to come\")]\n{import}")
    };
    let named = if method == symbol.symbol { String::new() } else { format!(", as = \"{method}\"") };
    let patch = if !copies.is_empty() {
        format!(
            "\n    # The compiler inlined it into these functions, which run the old code: replace them too, or leave them here.\n    \
             {{ symbol = \"{symbol}\"{named}, inlined_in = {copies:?} }},\n"
        )
    } else if named.is_empty() {
        format!("\"{symbol}\"")
    } else {
        format!("{{ symbol = \"{symbol}\"{named} }}")
    };
    Ok(vec![
        ("name", name.to_owned()),
        ("variable", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")),
        ("description", format!("Replaces {symbol}")),
        ("symbol", symbol.to_string()),
        ("object", object_in_rust(&symbol.object)),
        ("function", symbol.symbol.clone()),
        ("patch", patch),
        ("method", method),
        ("import", import),
        ("prototype", objects.types().c_prototype(&prototype)),
        ("signature", signature),
        ("body", body),
        ("kernel", tree.id.clone()),
    ])
}

/// Names of the parameters in the text of a signature.
fn parameter_names(signature: &str) -> Vec<String> {
    let inputs = syn::parse_str::<Signature>(&format!("fn f{signature}")).map(|parsed| parsed.inputs);
    let names = inputs.into_iter().flatten().filter_map(|input| match input {
        FnArg::Typed(input) => Some(input.pat.to_token_stream().to_string()),
        FnArg::Receiver(_) => None,
    });
    names.collect()
}

/// Body of a function whose original cannot be called: it returns zero.
fn empty_body(types: &Types, returns: TypeId) -> Result<String, BtfError> {
    Ok(match types.kind(types.bare(returns)?)? {
        TypeKind::Void => String::new(),
        TypeKind::Pointer(target) => {
            let function = matches!(types.kind(types.bare(target)?)?, TypeKind::Function(_));
            if function { "None" } else { "core::ptr::null_mut()" }.to_owned()
        }
        TypeKind::Int { name, .. } if name == "_Bool" || name == "bool" => "false".to_owned(),
        TypeKind::Int { .. } | TypeKind::Enum { .. } => "0".to_owned(),
        // SAFETY of the generated text: all zeroes is a valid value of every C struct.
        _ => "// SAFETY: all zeroes is a value of the C type.\n        unsafe { core::mem::zeroed() }"
            .to_owned(),
    })
}

/// Name of the function, or a similar name that is valid in Rust.
fn method(function: &str) -> String {
    if is_rust_keyword(function) { format!("{function}_") } else { function.to_owned() }
}

/// True if a signature contains a type that is not built into Rust and therefore comes from the prelude.
fn names_a_type(signature: &str) -> bool {
    const OF_THE_LANGUAGE: [&str; 22] = [
        "bool", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
        "f32", "f64", "mut", "const", "Option", "unsafe", "extern", "fn", "C",
    ];
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // The text before a colon is a parameter name.
    let types = signature.split(',').map(|part| part.split_once(": ").map_or(part, |(_, rest)| rest));
    types.flat_map(|part| part.split(|c| !word(c))).any(|part| {
        !part.is_empty()
            && !part.starts_with(|c: char| c.is_ascii_digit())
            && !OF_THE_LANGUAGE.contains(&part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prelude_is_used_where_a_type_is_named() {
        for with in
            ["(_m: *mut seq_file) -> bool", "() -> c_int", "(_f: Option<unsafe extern \"C\" fn(u8, c_int)>)"]
        {
            assert!(names_a_type(with), "{with}");
        }
        for without in
            ["()", "(_a: u8, _b: [u64; 4]) -> bool", "(_f: Option<unsafe extern \"C\" fn(u8, bool) -> i32>)"]
        {
            assert!(!names_a_type(without), "{without}");
        }
    }

    #[test]
    fn parameters_are_named_as_in_the_signature() {
        assert_eq!(
            parameter_names("(m: *mut seq_file, a_1: Option<unsafe extern \"C\" fn(u8)>) -> c_int"),
            ["m", "a_1"]
        );
        assert_eq!(parameter_names("()"), [""; 0]);
    }

    #[test]
    fn a_keyword_gets_another_name() {
        assert_eq!([method("yield"), method("schedule")], ["yield_", "schedule"]);
    }
}
