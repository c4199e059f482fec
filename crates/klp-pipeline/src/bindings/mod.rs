// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 2: Rust declarations of this kernel as crate `bindings`, and the traits that the fixes implement as
//! one crate `replaced` per fix.
//!
//! One Rust type per C type: bindgen's type if a header defines it, otherwise a type with BTF's size and
//! alignment.

mod anonymous;
mod asserted;
mod cflags;
mod clang;
mod constants;
mod from_btf;
mod kernel_crate;
mod module_params;
mod originals;
mod own;
mod parameters;
mod qualified;
pub(crate) mod render;
mod same;
mod trim;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use klp_base::cache::{Cache, Key};
use klp_base::events::Sink;
use klp_image::{BtfError, TypeId, TypeKind, Types};
use klp_kernel::KernelTree;

use self::kernel_crate::KernelBindings;
use self::render::{Needed, Renderer, type_name};
use crate::error::Error;
use crate::objects::Objects;
use crate::project::{CType, Fix, Header, Runtime, Target, objects_of};
use crate::resolve;
use crate::resolved::{Extern, ExternKind, Resolved};
use crate::rust_name::{is_rust_keyword, object_in_rust};

/// Headers of every fix.
const HEADERS: [&str; 7] = [
    "linux/module.h",
    "linux/livepatch.h",
    "linux/seq_file.h",
    "linux/errno.h",
    "linux/slab.h",
    "linux/ptrace.h",
    "linux/ratelimit.h",
];
/// Structs with members that crate `klp` uses.
const STRUCTS: [&str; 6] = ["klp_func", "klp_object", "klp_patch", "klp_state", "pt_regs", "ratelimit_state"];
/// Exported functions that crate `klp` uses.
const FUNCTIONS: [&str; 14] = [
    "klp_enable_patch",
    "klp_get_state",
    "klp_get_prev_state",
    "klp_shadow_get",
    "klp_shadow_alloc",
    "klp_shadow_get_or_alloc",
    "klp_shadow_free",
    "klp_shadow_free_all",
    "seq_write",
    "seq_putc",
    "_printk",
    "kfree",
    // A kernel has one of the two functions.
    "__kmalloc",
    "__kmalloc_noprof",
];
/// Constant macros that crate `klp` uses.
const CONSTANTS: [&str; 2] = ["GFP_KERNEL", "GFP_ATOMIC"];
/// Number of structs in one module of [`structs_alone`].
const MODULE_SIZE: usize = 1000;
/// Name prefix of a function that calls a macro.
pub(crate) const MACRO: &str = "klp_macro_";

/// Lints that are off in generated crates: the names come from C, and declarations may be unused.
const C_NAMES: &str = "#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, dead_code, unused_imports, \
                       improper_ctypes, improper_ctypes_definitions, unnecessary_transmutes, unsafe_op_in_unsafe_fn, clippy::all)]";

/// Generated sources of one module.
pub struct Sources {
    /// Crate `bindings`.
    pub bindings: String,
    /// Crate `replaced` of each fix, by name of the fix.
    pub replaced: Vec<(String, String)>,
    /// C source of the module: shims that give static inline functions a symbol, module parameters, tripwires. Empty if
    /// there are none.
    pub shims: String,
}

/// Generates the sources of stage 2.
///
/// # Errors
/// libclang is missing or cannot parse the headers, or BTF is damaged.
pub fn generate(
    tree: &KernelTree,
    objects: &Objects,
    target: &Target,
    resolved: &Resolved,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Sources, Error> {
    let module = Module { tree, objects, target, resolved };
    let (mut needed, traits, externs) = rendered(&module)?;
    // Crate `klp` needs only the address of a `struct module`.
    if !target.fixes.iter().any(|fix| fix.imports.types.iter().any(|name| name == "module")) {
        let ids = objects.types().composites("module").map_err(failed(tree))?;
        needed.opaque.insert("module".to_owned(), ids.first().copied());
        needed.full.remove("module");
    }
    let unreadable = |message| Error::Bindings { kernel: tree.id.clone(), message };
    let asserted = asserted::Asserted::of(resolved).map_err(unreadable)?;
    let request = request(target, resolved, &needed, &asserted);
    let made = clang::bindings(tree, objects.types(), &request, cache, sink)?;
    let signatures = asserted.signatures(&made.rust).map_err(unreadable)?;
    let fill_in = |text: &str| {
        let replace = |text: String, (name, signature): (&String, &String)| {
            text.replace(&format!("@{name}@"), signature)
        };
        signatures.iter().fold(text.to_owned(), replace)
    };
    check_declared(tree, resolved, &made.rust)?;
    let bindings = bindings_crate(&module, &needed, &request, made.rust, &fill_in(&externs))?;
    let variables = rust_names(&request.variables);
    let bindings = without_conflicts(tree, bindings, &variables)?;
    let traits = traits.into_iter().map(|(fix, text)| {
        let text = without_conflicts(tree, fill_in(&text), &variables)?;
        let unreadable = |error| unreadable(format!("the generated text cannot be read: {error}"));
        Ok((fix, qualified::qualified(text).map_err(unreadable)?))
    });
    Ok(Sources {
        bindings,
        replaced: traits.collect::<Result<_, Error>>()?,
        shims: made.shims + &module_params::c_source(target),
    })
}

/// A module, and the kernel for which its sources are generated.
struct Module<'a> {
    tree: &'a KernelTree,
    objects: &'a Objects,
    target: &'a Target,
    resolved: &'a Resolved,
}

/// Types that the module needs, traits of each fix by name, and declarations of the imports.
type Rendered = (Needed, Vec<(String, String)>, String);

/// Renders traits and declarations from BTF, and collects the types that they use.
fn rendered(module: &Module<'_>) -> Result<Rendered, Error> {
    let Module { tree, objects, target, resolved } = *module;
    let mut renderer = Renderer::new(objects.types());
    let of_klp = STRUCTS.iter().map(|name| ("crate klp".to_owned(), (*name).to_owned()));
    let of_fix = |fix: &Fix| {
        let user = format!("`types` of `{}`", fix.name);
        fix.imports.types.iter().map(move |name| (user.clone(), name.clone())).collect::<Vec<_>>()
    };
    for (user, name) in of_klp.chain(target.fixes.iter().flat_map(of_fix)) {
        renderer.wants_for(user);
        want_by_name(objects.types(), &mut renderer, &name, tree)?;
    }
    let mut replaced = Vec::new();
    for fix in &target.fixes {
        replaced.push((fix.name.clone(), traits(&mut renderer, fix, resolved, tree, objects)?));
    }
    let externs = externs(&mut renderer, resolved, tree, objects)?;
    Ok((renderer.into_needed(), replaced, externs))
}

/// Request to bindgen: headers, types and functions for crate `klp` and the fixes.
fn request(
    target: &Target,
    resolved: &Resolved,
    needed: &Needed,
    asserted: &asserted::Asserted,
) -> clang::Request {
    clang::Request {
        headers: format!(
            "{}{}{}",
            header_text(target),
            asserted.declarations(),
            variables::assertions(target, resolved)
        ),
        needed: needed.clone(),
        functions: FUNCTIONS.iter().map(|name| (*name).to_owned()).chain(asserted.names()).collect(),
        inlines: all_of(target, |fix| &fix.imports.inlines).into_iter().chain(macro_names(target)).collect(),
        constants: constants(target),
        variables: variables::linked(target, resolved),
    }
}

/// Constants for crate `klp` and the fixes. The fixes of a module agree on the type of each.
fn constants(target: &Target) -> Vec<clang::Constant> {
    let untyped = |name: &str| (name.to_owned(), clang::Constant::new(name, name, None));
    let mut constants: BTreeMap<String, clang::Constant> = CONSTANTS.map(untyped).into_iter().collect();
    for item in target.fixes.iter().flat_map(|fix| &fix.imports.constants) {
        let c_type = item.c_type.as_ref().map(CType::as_str);
        constants.insert(item.name.clone(), clang::Constant::new(&item.name, &item.c_name, c_type));
    }
    constants.into_values().collect()
}

/// Checks that each variable is declared. A const variable of C is not `mut` in Rust.
fn check_declared(tree: &KernelTree, resolved: &Resolved, generated: &str) -> Result<(), Error> {
    let is_declared = |item: &&Extern| {
        ["static mut ", "static "].iter().any(|start| generated.contains(&format!("{start}{}:", item.name)))
    };
    let mut variables = resolved.externs.iter().filter(|item| item.kind == ExternKind::Variable);
    match variables.find(|item| !is_declared(item)) {
        None => Ok(()),
        Some(item) => Err(Error::Symbol {
            symbol: item.symbol.to_string(),
            kernel: tree.id.clone(),
            message: "no header that the fix names declares this variable; add the one that does to `headers` of [imports], or for a static variable its C declaration: { symbol = \"...\", declaration = \"struct mutex a_lock\" }"
                .to_owned(),
        }),
    }
}

/// Crate `bindings`: bindgen's text, names for crate `klp`, imports, and types without a header definition.
fn bindings_crate(
    module: &Module<'_>,
    needed: &Needed,
    request: &clang::Request,
    mut generated: String,
    externs: &str,
) -> Result<String, Error> {
    let Module { tree, objects, target, resolved } = *module;
    let kernel = match target.runtime() {
        Runtime::Klp => None,
        Runtime::Kernel => Some(KernelBindings::read(tree)?),
    };
    let mut bindings = match &kernel {
        None => crate_head(tree),
        Some(kernel) => {
            let mut ours = rust_names(&request.variables);
            ours.extend(
                request.constants.iter().filter(|item| item.is_given()).map(|item| item.name.clone()),
            );
            generated = kernel.rest_of(&generated, &ours, tree)?;
            kernel_crate::head(tree)
        }
    };
    let others = own::others(&resolved.externs);
    let own = own::module(&mut generated, &others, kernel.as_ref().map(KernelBindings::text));
    let theirs = kernel.as_ref().map_or("", KernelBindings::text);
    let others = not_in_headers(objects.types(), needed, &[&generated, theirs]).map_err(failed(tree))?;
    let assertions =
        layout_assertions(objects.types(), needed, &[&generated, &others, theirs]).map_err(failed(tree))?;
    let places = anonymous::places(&[&generated, &others]).map_err(|error| Error::Bindings {
        kernel: tree.id.clone(),
        message: format!("the generated text cannot be read: {error}"),
    })?;
    for part in [&generated, &own, externs, &others, &places, &assertions] {
        bindings.push_str(part);
    }
    for name in macro_names(target) {
        // Writing to a String cannot fail.
        let _ = writeln!(bindings, "pub use {name} as {};", name.trim_start_matches(MACRO));
    }
    bindings.push_str(&originals::thunks(tree, resolved));
    if kernel.is_some() {
        // The other constants are only for crate `klp`, and the kernel's prelude has its own constants with
        // these names.
        let constants = target.fixes.iter().flat_map(|fix| &fix.imports.constants);
        let constants: Vec<String> = constants.map(|item| item.name.clone()).collect();
        bindings.push_str(&kernel_crate::named(request, &constants, &resolved.externs));
    }
    Ok(bindings)
}

/// The text without parameters that have the name of a variable (E0530). A text without such parameters is
/// returned unchanged, because a new rendering of the syntax tree loses plain comments.
fn without_conflicts(tree: &KernelTree, text: String, variables: &BTreeSet<String>) -> Result<String, Error> {
    if !variables.iter().any(|name| parameters::may_be_called(&text, name)) {
        return Ok(text);
    }
    parameters::unlike(&text, variables).map_err(|error| Error::Bindings {
        kernel: tree.id.clone(),
        message: format!("the generated text cannot be read: {error}"),
    })
}

/// Rust source of a complete crate that defines structs from BTF alone, without headers.
///
/// # Errors
/// BTF is damaged, or contains no struct with one of the names.
pub fn from_btf_alone(types: &Types, names: &[String]) -> Result<String, BtfError> {
    let missing = |name: &String| BtfError::Damaged(format!("it has no struct {name}"));
    let mut wanted = BTreeMap::new();
    for name in names {
        wanted.insert(name.clone(), *types.composites(name)?.first().ok_or_else(|| missing(name))?);
    }
    let needed = Needed { full: wanted, ..Needed::default() };
    Ok(format!(
        "{}\nuse self::ffi::*;\n{}",
        head("from BTF alone", "u8"),
        not_in_headers(types, &needed, &[])?
    ))
}

/// Rust source of a complete crate that defines structs and unions from BTF alone, and asserts sizes and
/// offsets. Types with the same name are in different modules of the crate.
///
/// # Errors
/// BTF is damaged.
pub fn structs_alone(types: &Types, wanted: &[(String, TypeId)]) -> Result<String, BtfError> {
    let mut modules: Vec<BTreeMap<String, TypeId>> = Vec::new();
    for (name, id) in wanted {
        let mut with = from_btf::by_value(types, *id)?;
        with.insert(type_name(name.clone()), types.bare(*id)?);
        let fits = |module: &&mut BTreeMap<String, TypeId>| {
            module.len() < MODULE_SIZE
                && with.iter().all(|(name, id)| module.get(name).is_none_or(|other| other == id))
        };
        match modules.iter_mut().rev().find(fits) {
            Some(module) => module.extend(with),
            None => modules.push(with),
        }
    }
    let mut text = head("from BTF alone", "u8");
    for (number, full) in modules.into_iter().enumerate() {
        let needed = Needed { full, ..Needed::default() };
        let definitions = from_btf::with_offsets(types, &needed)?;
        let _ = writeln!(text, "pub mod m{number} {{\nuse crate::ffi::*;\n{definitions}}}");
    }
    Ok(text)
}

/// Key over all inputs of [`generate`].
///
/// # Errors
/// libclang is missing.
pub fn key(tree: &KernelTree, target: &Target, resolved: &Resolved) -> Result<Key, Error> {
    let mut key =
        Key::new("bindings").with(&tree.fingerprint).with(clang::version(tree)?).with(header_text(target));
    for fix in &target.fixes {
        key = key
            .with(&fix.name)
            .with(fix.imports.types.join(","))
            .with(fix.imports.inlines.join(","))
            .with(format!("{:?}{:?}{:?}{:?}", fix.imports.macros, fix.patch, fix.imports.functions, fix.exit))
            .with(format!("{:?}{:?}", fix.params, fix.tripwires))
            .with(format!("{:?}", fix.imports.constants));
    }
    Ok(key.with(format!("{:?}", target.runtime())).with(resolved.to_json()))
}

/// Names from all fixes, without duplicates.
fn all_of(target: &Target, names: impl Fn(&Fix) -> &Vec<String>) -> Vec<String> {
    target
        .fixes
        .iter()
        .flat_map(|fix| names(fix).iter().cloned())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn rust_names(variables: &[variables::Linked]) -> BTreeSet<String> {
    variables.iter().map(|variable| variable.name.clone()).collect()
}

fn header_text(target: &Target) -> String {
    let usual = HEADERS.map(|header| Header::Kernel(header.to_owned()));
    let extra = target.fixes.iter().flat_map(|fix| fix.imports.headers.iter().cloned());
    let mut seen = BTreeSet::new();
    let includes = usual.into_iter().chain(extra).map(|header| header.text());
    let includes = includes.filter(move |text| seen.insert(text.clone()));
    let macros = target.fixes.iter().flat_map(|fix| &fix.imports.macros).collect::<BTreeSet<_>>().into_iter();
    includes
        .chain(variables::declarations(target))
        .chain(macros.map(|item| {
            let arguments = item.parameters().unwrap_or_default().join(", ");
            let head = item.renamed(&format!("{MACRO}{}", item.name()));
            format!("static inline {head}\n{{\n\treturn {}({arguments});\n}}\n", item.name())
        }))
        .collect()
}

/// Names of the functions that call the macros.
fn macro_names(target: &Target) -> BTreeSet<String> {
    let macros = target.fixes.iter().flat_map(|fix| &fix.imports.macros);
    macros.map(|item| format!("{MACRO}{}", item.name())).collect()
}

fn failed(tree: &KernelTree) -> impl FnOnce(BtfError) -> Error + '_ {
    |error| Error::Bindings { kernel: tree.id.clone(), message: error.to_string() }
}

fn want_by_name(
    types: &Types,
    renderer: &mut Renderer<'_>,
    name: &str,
    tree: &KernelTree,
) -> Result<(), Error> {
    let failed = |message: String| Error::Bindings { kernel: tree.id.clone(), message };
    let found = types.composites(name).and_then(|found| same::distinct(types, &found));
    let found = found.map_err(|error| failed(error.to_string()))?;
    match found.as_slice() {
        [id] => renderer.want(*id).map_err(|error| failed(error.to_string())),
        [] => Err(failed(format!("there is no struct or union `{name}`; check `types` of [imports]"))),
        several => Err(failed(format!(
            "there are {} structs named `{name}` in different source files, and a name alone cannot tell which is meant; take it out of `types` of [imports]",
            several.len()
        ))),
    }
}

/// One trait per object. The documentation of each method is the C prototype.
fn traits(
    renderer: &mut Renderer<'_>,
    fix: &Fix,
    resolved: &Resolved,
    tree: &KernelTree,
    objects: &Objects,
) -> Result<String, Error> {
    let no_std = if fix.runtime == Runtime::Klp { "#![no_std]\n" } else { "" };
    let mut text = format!(
        "//! Generated: what fix `{}` replaces on {}.\n{no_std}{C_NAMES}\n\
         use bindings::ffi::*;\nuse bindings::*;\n",
        fix.name, resolved.kernel
    );
    let (mut bounds, mut signatures) = (Vec::new(), Vec::new());
    text.push_str("\n/// The objects that the fix changes, as types.\npub mod objects {\n");
    for object in objects_of([fix]) {
        let _ = writeln!(text, "    /// `{object}`.\n    pub struct {}(());", object_in_rust(&object));
    }
    text.push_str("}\n");
    if !fix.states.is_empty() {
        text.push_str("\n/// The system states that the fix supports.\npub mod states {\n    use klp::core::state::Declared;\n");
        for state in &fix.states {
            let _ = writeln!(
                text,
                "    /// Id {}, version {}.\n    pub const {}: Declared = Declared::new({}, {});",
                state.id, state.version, state.name, state.id, state.version
            );
        }
        text.push_str("}\n");
    }
    text.push_str(&module_params::rust_source(fix));
    for object in &fix.callbacks {
        bounds.push(format!("klp::core::callbacks::Callbacks<objects::{}>", object_in_rust(object)));
    }
    if fix.exit {
        bounds.push("klp::core::exit::Exit".to_owned());
    }
    for object in objects_of([fix]) {
        if !fix.patch.iter().any(|item| item.symbol.object == object) {
            continue;
        }
        let name = object_in_rust(&object);
        let _ = writeln!(text, "\n/// Functions of `{object}` that the fix replaces.\npub trait {name} {{");
        bounds.push(name);
        for function in
            resolved.functions.iter().filter(|item| item.fix == fix.name && item.symbol.object == object)
        {
            let signature = if function.asserted {
                format!("@{}@", asserted::alias(&function.symbol, &function.c_prototype))
            } else {
                let prototype = resolve::prototype(tree, objects, &function.symbol)?;
                renderer.wants_for(format!("{} of `{}`", function.symbol, fix.name));
                renderer.signature(&prototype).map_err(failed(tree))?
            };
            let _ = writeln!(
                text,
                "    /// `{}`\n    ///\n    /// # Safety\n    /// The kernel calls it in place of the original, with arguments that are valid for the original.\n    \
                 unsafe extern \"C\" fn {}{signature};",
                function.c_prototype, function.method,
            );
            signatures.push((function, signature));
        }
        text.push_str("}\n");
    }
    if !signatures.is_empty() {
        text.push_str(&originals::module(&signatures));
    }
    let _ = writeln!(
        text,
        "\n/// Compiles where `T` replaces everything that patch.toml names.\npub const fn require<T: {}>() {{}}",
        bounds.join(" + ")
    );
    Ok(text)
}

/// Declarations of the functions that fixes call, with types from BTF and the link names that stage 5
/// expects.
fn externs(
    renderer: &mut Renderer<'_>,
    resolved: &Resolved,
    tree: &KernelTree,
    objects: &Objects,
) -> Result<String, Error> {
    let mut text = String::from("\nuse self::ffi::*;\nunsafe extern \"C\" {\n");
    let functions = resolved.externs.iter().filter(|item| item.kind == ExternKind::Function);
    for item in functions.filter(|item| !own::is_shared(item)) {
        let signature = if item.asserted {
            format!("@{}@", asserted::alias(&item.symbol, &item.c_declaration))
        } else {
            let prototype = resolve::prototype(tree, objects, &item.symbol)?;
            renderer.wants_for(format!("the called {}", item.symbol));
            renderer.signature(&prototype).map_err(failed(tree))?
        };
        let _ = writeln!(text, "    /// {}", describe(item));
        let _ = writeln!(
            text,
            "    #[link_name = \"{}\"]\n    pub fn {}{signature};",
            item.link_name(),
            item.name
        );
    }
    text.push_str("}\n");
    Ok(text)
}

fn describe(item: &Extern) -> String {
    let how = if item.exported { "exported" } else { "not exported: resolved by the livepatch core" };
    format!("`{}` of `{}`, {how}.", item.c_declaration, item.symbol.object)
}

fn crate_head(tree: &KernelTree) -> String {
    // Plain `char` is unsigned since 6.2 (-funsigned-char).
    let c_char = if tree.release.version() >= (6, 2) { "u8" } else { "i8" };
    head(&format!("declarations of kernel {} ({})", tree.id, tree.release), c_char)
}

fn head(what: &str, c_char: &str) -> String {
    format!(
        "//! Generated: {what}.\n#![no_std]\n\
         {C_NAMES}\n\n\
         /// The kernel's C types.\npub mod ffi {{\n    pub use core::ffi::c_void;\n    pub type c_char = {c_char};\n    \
         pub type c_schar = i8;\n    pub type c_uchar = u8;\n    pub type c_short = i16;\n    pub type c_ushort = u16;\n    \
         pub type c_int = i32;\n    pub type c_uint = u32;\n    pub type c_long = isize;\n    pub type c_ulong = usize;\n    \
         pub type c_longlong = i64;\n    pub type c_ulonglong = u64;\n}}\n\n"
    )
}

/// Types that bindgen did not define: structs with members from BTF, opaque structs behind pointers,
/// enumerations and typedefs.
fn not_in_headers(types: &Types, needed: &Needed, generated: &[&str]) -> Result<String, BtfError> {
    let defined: BTreeSet<String> = generated.iter().flat_map(|text| defined_names(text)).collect();
    Ok(format!("\n{}", from_btf::definitions(types, needed, &defined)?))
}

/// Names of the types in generated text.
fn defined_names(generated: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let defined = ["pub struct ", "pub union ", "pub type "];
    // A typedef of an enumeration is `pub use self::tag as name;`.
    let aliases = generated.split("pub use self::").skip(1).filter_map(|rest| rest.split_once(" as "));
    defined
        .iter()
        .flat_map(|start| generated.split(start).skip(1).map(name))
        .chain(aliases.map(|(_, rest)| name(rest)))
        .filter(|name| !name.is_empty())
        .collect()
}

/// Assertions of the size of every struct and of the offset of every named member in bindgen's text, with
/// values from BTF. Bindings from wrong headers do not compile.
fn layout_assertions(types: &Types, needed: &Needed, texts: &[&str]) -> Result<String, BtfError> {
    let mut text = String::from("\n// What BTF says of the layouts.\n");
    for (name, id) in &needed.full {
        let Some(body) = texts.iter().find_map(|text| body_of(text, name)) else { continue };
        let TypeKind::Composite { size, members, .. } = types.kind(*id)? else { continue };
        let _ = writeln!(text, "const _: () = assert!(size_of::<{name}>() == {size});");
        for member in members.iter().filter(|member| member.bits.is_none() && member.bit_offset % 8 == 0) {
            if let Some(field) = &member.name
                && body.contains(&format!(" {field}:"))
                && !is_rust_keyword(field)
            {
                let _ = writeln!(
                    text,
                    "const _: () = assert!(core::mem::offset_of!({name}, {field}) == {});",
                    member.bit_offset / 8
                );
            }
        }
    }
    Ok(text)
}

/// The text between the braces of a struct or union.
fn body_of<'a>(generated: &'a str, name: &str) -> Option<&'a str> {
    ["struct", "union"].iter().find_map(|keyword| {
        let start = format!("pub {keyword} {name} {{");
        let rest = &generated[generated.find(&start)? + start.len()..];
        rest.split("\n}").next()
    })
}
