// SPDX-License-Identifier: GPL-2.0-or-later
//! bindgen, as a library, on this kernel's headers: only what is asked for, and only the members of what is looked into.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};

use super::render::Needed;
use super::{cflags, trim};
use crate::error::{Error, read_text, write};
use crate::kernel::KernelTree;

/// What bindings are wanted.
pub(super) struct Request {
    /// `#include` lines.
    pub(super) headers: String,
    /// Types.
    pub(super) needed: Needed,
    /// Functions.
    pub(super) functions: Vec<String>,
    /// Variables, with the name that they are linked under.
    pub(super) variables: BTreeMap<String, String>,
}

/// Version of libclang, as part of the key of what it makes.
pub(super) fn version(tree: &KernelTree) -> Result<String, Error> {
    load(tree)?;
    Ok(bindgen::clang_version().full)
}

fn load(tree: &KernelTree) -> Result<(), Error> {
    if clang_sys::is_loaded() {
        return Ok(());
    }
    clang_sys::load().map_err(|error| Error::NotAble {
        what: format!("libclang, which reads the headers of {}, is missing: {error}", tree.id),
        help: "install the package libclang1-19 (or run `cargo xtask doctor --fix`)".to_owned(),
    })
}

/// Whether libclang can be loaded.
pub fn libclang_is_there() -> bool {
    clang_sys::is_loaded() || clang_sys::load().is_ok()
}

/// Makes or finds the bindings.
pub(super) fn bindings(
    tree: &KernelTree,
    request: &Request,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<String, Error> {
    let mut key = Key::new("bindgen 5").with(&tree.fingerprint).with(version(tree)?).with(&request.headers);
    for name in request.needed.full.keys().chain(&request.needed.names).chain(&request.functions) {
        key = key.with(name);
    }
    key = key.with("opaque");
    for name in request.needed.opaque.keys() {
        key = key.with(name);
    }
    for (name, link_name) in &request.variables {
        key = key.with(name).with(link_name);
    }
    let entry = cache.entry("bindings", &tree.id, &key, |dir| {
        stage(sink, "bindgen", &tree.id, || {
            let text = generate(tree, request, cache)?;
            write(&dir.join("bindings.rs"), text).map(|()| (StageEnd::Done, ()))
        })
    })?;
    read_text(&entry.join("bindings.rs"))
}

fn generate(tree: &KernelTree, request: &Request, cache: &Cache) -> Result<String, Error> {
    load(tree)?;
    let failed = |message: String| Error::Bindings { kernel: tree.id.clone(), message };
    let target = bindgen::RustTarget::stable(85, 0).map_err(|error| failed(error.to_string()))?;
    let mut builder = bindgen::builder()
        .header_contents("ferrograft.h", &request.headers)
        .clang_args(cflags::for_clang(tree, cache)?)
        .rust_target(target)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .use_core()
        .ctypes_prefix("ffi")
        .enable_function_attribute_detection()
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .derive_debug(false)
        .derive_default(false)
        .layout_tests(false)
        .generate_comments(false)
        .disable_header_comment()
        .formatter(bindgen::Formatter::Prettyplease)
        .allowlist_var("E[A-Z][A-Z0-9]+");
    for name in request.needed.full.keys().chain(&request.needed.names) {
        builder = builder.allowlist_type(name);
    }
    for name in request.needed.opaque.keys() {
        builder = builder.allowlist_type(name).opaque_type(name);
    }
    for name in &request.functions {
        builder = builder.allowlist_function(name);
    }
    for name in request.variables.keys() {
        builder = builder.allowlist_var(name);
    }
    // bindgen panics on some input; that is a failure of this stage, not of the process.
    let generated = catch_unwind(AssertUnwindSafe(|| builder.generate()))
        .map_err(|_| failed("bindgen panicked; its message is above".to_owned()))?
        .map_err(|error| failed(format!("{error}; check `headers` in patch.toml")))?;
    let text = generated.to_string();
    let needed = &request.needed;
    let errnos = text
        .split("pub const ")
        .skip(1)
        .filter_map(|rest| rest.split(':').next())
        .filter(|name| is_errno(name));
    let roots = needed.full.keys().chain(needed.opaque.keys()).chain(&needed.names).chain(&request.functions);
    let roots = roots.chain(request.variables.keys()).cloned().chain(errnos.map(ToOwned::to_owned)).collect();
    let opaque = needed.opaque.iter().filter(|(_, id)| id.is_some()).map(|(name, _)| name);
    let known = needed.full.keys().chain(opaque).cloned().collect();
    let text = trim::trim(&text, &roots, &known)
        .map_err(|error| failed(format!("bindgen's text cannot be read: {error}")))?;
    Ok(name_links(text, &request.variables))
}

/// Names of error numbers: the only macros that fixes get.
fn is_errno(name: &str) -> bool {
    name.len() > 2
        && name.starts_with('E')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// Gives variables the name that they are linked under. (bindgen has a callback for it, which it heeds for functions only.)
fn name_links(mut text: String, variables: &BTreeMap<String, String>) -> String {
    for (name, link_name) in variables.iter().filter(|(name, link_name)| name != link_name) {
        for start in [format!("pub static mut {name}:"), format!("pub static {name}:")] {
            text = text.replace(&start, &format!("#[link_name = \"{link_name}\"]\n    {start}"));
        }
    }
    text
}
