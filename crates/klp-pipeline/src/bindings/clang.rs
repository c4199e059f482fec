// SPDX-License-Identifier: GPL-2.0-or-later
//! bindgen, as a library, on this kernel's headers: only what is asked for, and only the members of what is looked into.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{read_text, write};
use klp_image::{BtfError, Types};
use klp_kernel::KernelTree;
use klp_kernel::host::libclang;

use super::render::Needed;
use super::variables::{Linked, name_links};
use super::{cflags, constants, trim};
use crate::error::Error;

/// What bindings are wanted.
pub(super) struct Request {
    /// `#include` lines.
    pub(super) headers: String,
    /// Types.
    pub(super) needed: Needed,
    /// Functions.
    pub(super) functions: Vec<String>,
    /// Static inline functions of the headers, for which shims in C are made.
    pub(super) inlines: Vec<String>,
    /// Macros that are constants.
    pub(super) constants: Vec<String>,
    /// Variables.
    pub(super) variables: Vec<Linked>,
}

/// What bindgen made.
pub(super) struct Made {
    /// Rust.
    pub(super) rust: String,
    /// C that gives static inline functions a symbol; empty where none is wanted.
    pub(super) shims: String,
}

/// A constant of this name and prefix stands for a macro: bindgen does not evaluate macros with casts in them.
const CONSTANT: &str = "__klp_constant_";
/// A constant of this prefix and a struct's name is the struct's alignment.
const ALIGNMENT: &str = "__klp_alignment_";

/// Version of libclang, as part of the key of what it makes.
pub(super) fn version(tree: &KernelTree) -> Result<String, Error> {
    libclang::load(&tree.id)?;
    Ok(bindgen::clang_version().full)
}

/// Makes or finds the bindings.
pub(super) fn bindings(
    tree: &KernelTree,
    types: &Types,
    request: &Request,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Made, Error> {
    let mut key = Key::new("bindgen 9").with(&tree.fingerprint).with(version(tree)?).with(&request.headers);
    for name in request.needed.full.keys().chain(request.needed.names.keys()).chain(&request.functions) {
        key = key.with(name);
    }
    key = key.with("opaque");
    for name in request.needed.opaque.keys() {
        key = key.with(name);
    }
    key = key.with("inlines");
    for name in &request.inlines {
        key = key.with(name);
    }
    key = key.with("constants");
    for name in &request.constants {
        key = key.with(name);
    }
    for variable in &request.variables {
        key = key.with(&variable.c_name).with(&variable.link_name);
        if variable.name != variable.c_name || variable.per_cpu {
            key = key.with(format!("as {} {}", variable.name, variable.per_cpu));
        }
    }
    let entry = cache.entry("bindings", &tree.id, &key, |dir| {
        stage(sink, "bindgen", &tree.id, || {
            let shims = dir.join("shims.c");
            let text = generate(tree, types, request, &shims, cache)?;
            // bindgen writes the wrappers alone.
            let wrappers = if shims.is_file() {
                format!("{}{}", request.headers, read_text(&shims)?)
            } else {
                String::new()
            };
            write(&shims, wrappers)?;
            write(&dir.join("bindings.rs"), text)?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })
    })?;
    Ok(Made { rust: read_text(&entry.join("bindings.rs"))?, shims: read_text(&entry.join("shims.c"))? })
}

fn generate(
    tree: &KernelTree,
    types: &Types,
    request: &Request,
    shims: &Path,
    cache: &Cache,
) -> Result<String, Error> {
    libclang::load(&tree.id)?;
    let failed = |message: String| Error::Bindings { kernel: tree.id.clone(), message };
    let target = bindgen::RustTarget::stable(85, 0).map_err(|error| failed(error.to_string()))?;
    let evaluated = request.constants.iter().fold(String::new(), |mut text, name| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "static const __typeof__({name}) {CONSTANT}{name} = {name};");
        text
    });
    let clang_args = cflags::for_clang(tree, cache)?;
    let plain = |constants: &str| {
        bindgen::builder()
            .header_contents("ferrograft.h", &format!("{}{constants}", request.headers))
            .clang_args(&clang_args)
            .rust_target(target)
            .rust_edition(bindgen::RustEdition::Edition2024)
            .use_core()
            .ctypes_prefix("ffi")
    };
    let mut builder = plain(&evaluated)
        .enable_function_attribute_detection()
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .derive_debug(false)
        .derive_default(false)
        .layout_tests(false)
        .generate_comments(false)
        .disable_header_comment()
        .formatter(bindgen::Formatter::Prettyplease)
        .allowlist_var("E[A-Z][A-Z0-9]+");
    for name in request.needed.full.keys().chain(request.needed.names.keys()) {
        builder = builder.allowlist_type(name);
    }
    for name in request.needed.opaque.keys() {
        builder = builder.allowlist_type(name).opaque_type(name);
    }
    for name in &request.functions {
        builder = builder.allowlist_function(name);
    }
    for variable in &request.variables {
        builder = builder.allowlist_var(&variable.c_name);
    }
    for name in &request.constants {
        builder = builder.allowlist_var(format!("{CONSTANT}{name}"));
    }
    if !request.inlines.is_empty() {
        builder = builder.wrap_static_fns(true).wrap_static_fns_path(shims);
    }
    for name in &request.inlines {
        builder = builder.allowlist_function(name);
    }
    // bindgen panics on some input; that is a failure of this stage, not of the process.
    let run = |builder: bindgen::Builder| {
        catch_unwind(AssertUnwindSafe(|| builder.generate()))
            .map_err(|_| failed("bindgen panicked; its message is above".to_owned()))?
            .map_err(|error| failed(format!("{error}; check `headers` in patch.toml")))
            .map(|generated| generated.to_string())
    };
    let why = |name: &str| {
        let compile = |text: &str| run(plain(text).allowlist_var(format!("{}.*", constants::PROBE))).ok();
        failed(format!("{} (`constants` in patch.toml)", constants::diagnose(name, compile)))
    };
    // clang's own words are about the text that stands for a constant.
    let fault = |error: Error| {
        let alone = |name: &&String| {
            let text = format!("static const __typeof__({name}) {CONSTANT}{name} = {name};\n");
            run(plain(&text).allowlist_var(format!("{CONSTANT}.*"))).is_err()
        };
        // Where the headers fail without any, it is none's fault.
        let headers = || run(plain("").allowlist_var(constants::PROBE)).is_ok();
        let found = if headers() { request.constants.iter().find(alone) } else { None };
        found.map_or(error, |name| why(name))
    };
    let text = run(builder).map_err(fault)?;
    let needed = &request.needed;
    let errnos = text
        .split("pub const ")
        .skip(1)
        .filter_map(|rest| rest.split(':').next())
        .filter(|name| is_errno(name));
    let roots =
        needed.full.keys().chain(needed.opaque.keys()).chain(needed.names.keys()).chain(&request.functions);
    let named_constants: Vec<String> =
        request.constants.iter().map(|name| format!("{CONSTANT}{name}")).collect();
    let roots = roots
        .chain(&request.inlines)
        .chain(&named_constants)
        .chain(request.variables.iter().map(|variable| &variable.c_name))
        .cloned()
        .chain(errnos.map(ToOwned::to_owned))
        .collect();
    let opaque = needed.opaque.iter().filter(|(_, id)| id.is_some()).map(|(name, _)| name);
    let known = needed.full.keys().chain(opaque).cloned().collect();
    let text = trim::trim(&text, &roots, &known)
        .map_err(|error| failed(format!("bindgen's text cannot be read: {error}")))?;
    for (what, start, names) in [
        ("static inline function", "pub fn ", &request.inlines),
        ("constant", "pub const ", &named_constants),
    ] {
        let there = |name: &&String| {
            text.contains(&format!("{start}{name}(")) || text.contains(&format!("{start}{name}:"))
        };
        if let Some(name) = names.iter().find(|name| !there(name)) {
            if let Some(name) = name.strip_prefix(CONSTANT) {
                return Err(why(name));
            }
            return Err(failed(format!(
                "no header that the fix names has a {what} `{name}` that can be had; check `inlines` and `headers` in patch.toml"
            )));
        }
    }
    let mut alignments = String::new();
    for name in empty_structs(&text) {
        if let Some(in_c) = c_name(types, &name).map_err(|error| failed(error.to_string()))? {
            let _ = writeln!(alignments, "static const unsigned long {ALIGNMENT}{name} = _Alignof({in_c});");
        }
    }
    let text = if alignments.is_empty() {
        text
    } else {
        aligned(text, &run(plain(&alignments).allowlist_var(format!("{ALIGNMENT}.*")))?)
    };
    Ok(name_links(text.replace(CONSTANT, ""), &request.variables))
}

/// Structs without members, which have a name in C.
fn empty_structs(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("pub struct ")?.strip_suffix(" {}")?.to_owned());
    text.lines().filter_map(name).filter(|name| !name.contains("__bindgen_")).collect()
}

/// A struct as C knows it: by its tag, or by a typedef. None for one that the kernel's layouts do not have.
fn c_name(types: &Types, name: &str) -> Result<Option<String>, BtfError> {
    if !types.composites(name)?.is_empty() {
        return Ok(Some(format!("struct {name}")));
    }
    Ok(types.typedef(name)?.map(|_| name.to_owned()))
}

/// Gives structs without members the alignment that constants of `alignments` say: bindgen does not, and what has such a
/// member (`task_struct`, where scheduler statistics are off) would be laid out otherwise than in C.
fn aligned(mut text: String, alignments: &str) -> String {
    for constant in alignments.split(&format!("pub const {ALIGNMENT}")).skip(1) {
        let name = constant.split(':').next().unwrap_or_default();
        let bytes = constant.split([';', '=']).nth(1).map_or("", str::trim);
        if bytes != "1" {
            let definition = format!("pub struct {name} {{}}\n");
            text = text.replace(&definition, &format!("#[repr(align({bytes}))]\n{definition}"));
        }
    }
    text
}

/// Names of error numbers: the only macros that fixes get.
fn is_errno(name: &str) -> bool {
    name.len() > 2
        && name.starts_with('E')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_structs_get_their_alignment() {
        let text = "#[repr(C)]\npub struct a {}\npub struct b {}\npub struct c__bindgen_ty_1 {}\npub struct d {\n    pub x: u8,\n}\n";
        assert_eq!(empty_structs(text), ["a", "b"]);
        let said = format!(
            "pub const {ALIGNMENT}a: ffi::c_ulong = 64;\npub const {ALIGNMENT}b: ffi::c_ulong = 1;\n"
        );
        let made = aligned(text.to_owned(), &said);
        assert!(made.contains("#[repr(align(64))]\npub struct a {}\n"), "{made}");
        assert_eq!(made.matches("align(").count(), 1, "{made}");
    }
}
