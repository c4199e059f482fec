// SPDX-License-Identifier: GPL-2.0-or-later
//! bindgen, used as a library on this kernel's headers. Only requested items are generated, and only structs
//! with accessed members get their members.

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

/// Requested bindings.
#[derive(Clone)]
pub(super) struct Request {
    /// `#include` lines.
    pub(super) headers: String,
    /// Types.
    pub(super) needed: Needed,
    /// Functions.
    pub(super) functions: Vec<String>,
    /// Static inline functions of the headers; each gets a C shim.
    pub(super) inlines: Vec<String>,
    /// Macros with constant values, and enumerators.
    pub(super) constants: Vec<Constant>,
    /// Variables.
    pub(super) variables: Vec<Linked>,
}

/// Constant of the bindings.
#[derive(Clone)]
pub(super) struct Constant {
    /// Name in Rust.
    pub(super) name: String,
    c_name: String,
    /// C type; `None`: that of the macro or enumerator.
    c_type: Option<String>,
    /// Value of an enumerator that no header declares.
    value: Option<i64>,
}

impl Constant {
    pub(super) fn new(name: &str, c_name: &str, c_type: Option<&str>) -> Self {
        let c_type = c_type.map(ToOwned::to_owned);
        Self { name: name.to_owned(), c_name: c_name.to_owned(), c_type, value: None }
    }

    /// True if the fix gives the type or the name.
    pub(super) fn is_given(&self) -> bool {
        self.c_type.is_some() || self.name != self.c_name
    }

    /// The constant with the type that it has in C.
    fn untyped(&self) -> Self {
        Self { c_type: None, ..self.clone() }
    }

    /// Expression of C.
    fn expression(&self) -> String {
        match self.value {
            // Enumerators have type `int` in C, as far as they fit. The least number has no literal in C.
            Some(value) if i32::try_from(value).is_ok() => format!("((int){value}LL)"),
            Some(i64::MIN) => format!("({}LL - 1)", i64::MIN + 1),
            Some(value) => format!("({value}LL)"),
            None => self.c_name.clone(),
        }
    }

    /// C constant that bindgen evaluates instead of a macro. clang refuses a type that does not hold the value.
    fn in_c(&self) -> String {
        let (name, value) = (&self.name, self.expression());
        match &self.c_type {
            None => format!("static const __typeof__({value}) {CONSTANT}{name} = {value};\n"),
            Some(c_type) => format!(
                "{}static const {c_type} {CONSTANT}{name} = ({c_type})({value});\n\
                 _Static_assert(({c_type})({value}) == ({value}) && (({c_type})({value}) < 0) == (({value}) < 0), \"\");\n",
                constants::integer_in_c(c_type)
            ),
        }
    }
}

/// Output of bindgen.
pub(super) struct Made {
    /// Rust text.
    pub(super) rust: String,
    /// C shims that give static inline functions a symbol. Empty if none is requested.
    pub(super) shims: String,
}

/// Name prefix of the C constant that replaces a macro. bindgen does not evaluate macros that contain casts.
const CONSTANT: &str = "__klp_constant_";
/// Name prefix of the constant with the alignment of a struct.
const ALIGNMENT: &str = "__klp_alignment_";

/// Version of libclang, for the cache key of its output.
pub(super) fn version(tree: &KernelTree) -> Result<String, Error> {
    libclang::load(&tree.id)?;
    Ok(bindgen::clang_version().full)
}

/// Finds the bindings in the cache, or generates them.
pub(super) fn bindings(
    tree: &KernelTree,
    types: &Types,
    request: &Request,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Made, Error> {
    let mut key = Key::new("bindgen 11").with(&tree.fingerprint).with(version(tree)?).with(&request.headers);
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
    for constant in &request.constants {
        key = key.with(&constant.name);
        if let Some(c_type) = &constant.c_type {
            key = key.with(format!("of type {c_type}"));
        }
        if constant.name != constant.c_name {
            key = key.with(format!("for {}", constant.c_name));
        }
        if is_errno(&constant.name) {
            key = key.with("instead of bindgen's");
        }
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
            // bindgen writes only the wrappers, without `#include` lines.
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
    let session = Session::new(tree, request, cache)?;
    let text = match session.run(session.builder(shims)) {
        Ok(text) => text,
        Err(error) => {
            let Some(with_values) = session.with_enumerators(types)? else {
                return Err(session.with_cause(error));
            };
            return generate(tree, types, &with_values, shims, cache);
        }
    };
    let text = session.trimmed(&text)?;
    session.check_presence(&text)?;
    let text = session.aligned(text, types)?;
    Ok(name_links(text.replace(CONSTANT, ""), &request.variables))
}

/// bindgen runs for one request.
struct Session<'a> {
    tree: &'a KernelTree,
    request: &'a Request,
    target: bindgen::RustTarget,
    clang_args: Vec<String>,
}

impl<'a> Session<'a> {
    fn new(tree: &'a KernelTree, request: &'a Request, cache: &Cache) -> Result<Self, Error> {
        libclang::load(&tree.id)?;
        let target = bindgen::RustTarget::stable(85, 0)
            .map_err(|error| Error::Bindings { kernel: tree.id.clone(), message: error.to_string() })?;
        Ok(Self { tree, request, target, clang_args: cflags::for_clang(tree, cache)? })
    }

    fn failed(&self, message: String) -> Error {
        Error::Bindings { kernel: self.tree.id.clone(), message }
    }

    /// Builder for the request's headers, followed by the C text `constants`.
    fn plain(&self, constants: &str) -> bindgen::Builder {
        bindgen::builder()
            .header_contents("ferrograft.h", &format!("{}{constants}", self.request.headers))
            .clang_args(&self.clang_args)
            .rust_target(self.target)
            .rust_edition(bindgen::RustEdition::Edition2024)
            .use_core()
            .ctypes_prefix("ffi")
    }

    /// Builder for all items of the request.
    fn builder(&self, shims: &Path) -> bindgen::Builder {
        let request = self.request;
        let evaluated: String = request.constants.iter().map(Constant::in_c).collect();
        let mut builder = self
            .plain(&evaluated)
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
        for constant in &request.constants {
            builder = builder.allowlist_var(format!("{CONSTANT}{}", constant.name));
        }
        if !request.inlines.is_empty() {
            builder = builder.wrap_static_fns(true).wrap_static_fns_path(shims);
        }
        for name in &request.inlines {
            builder = builder.allowlist_function(name);
        }
        builder
    }

    /// Runs bindgen. It panics on some input; the panic becomes an error of this stage.
    fn run(&self, builder: bindgen::Builder) -> Result<String, Error> {
        catch_unwind(AssertUnwindSafe(|| builder.generate()))
            .map_err(|_| self.failed("bindgen panicked; its message is above".to_owned()))?
            .map_err(|error| self.failed(format!("{error}; check `headers` of [imports]")))
            .map(|generated| generated.to_string())
    }

    /// Reason why a macro is not a constant, or why it does not have the type that the fix gives.
    fn no_constant(&self, constant: &Constant) -> Error {
        let name = &constant.c_name;
        let diagnosis = match &constant.c_type {
            Some(c_type) if self.is_constant(&constant.untyped()) => {
                let (expression, text) = (constant.expression(), constant.in_c());
                let typed = constants::Typed { name, c_type, expression: &expression, text: &text };
                constants::diagnose_type(&typed, |text| self.probes(text))
            }
            _ => constants::diagnose(name, |text| self.probes(text)),
        };
        self.failed(format!("{diagnosis} (`constants` of [imports])"))
    }

    /// bindgen's text of the probes in `text`, which follows the headers. `None` if clang rejects it.
    fn probes(&self, text: &str) -> Option<String> {
        self.run(self.plain(text).allowlist_var(format!("{}.*", constants::PROBE))).ok()
    }

    /// True if bindgen evaluates the constant.
    fn is_constant(&self, constant: &Constant) -> bool {
        self.run(self.plain(&constant.in_c()).allowlist_var(format!("{CONSTANT}.*"))).is_ok()
    }

    /// The request with the values of the constants that no header declares and that are enumerators in the kernel's types. `None`
    /// if there are none.
    fn with_enumerators(&self, types: &Types) -> Result<Option<Request>, Error> {
        let mut request = self.request.clone();
        let mut found = false;
        for constant in request.constants.iter_mut().filter(|constant| constant.value.is_none()) {
            let name = &constant.c_name;
            let values = types.enumerators(name).map_err(|error| self.failed(error.to_string()))?;
            match values.as_slice() {
                [] => {}
                _ if self.is_constant(&constant.untyped()) => {}
                [value] => {
                    constant.value = Some(*value);
                    found = true;
                }
                several => {
                    return Err(self.failed(format!(
                        "`{name}` (`constants` of [imports]) is no constant of a header that the fix names, and the kernel's types have several \
                         enumerators of that name, with the values {several:?}; write in Rust the one of the file that you change"
                    )));
                }
            }
        }
        Ok(found.then_some(request))
    }

    /// Adds the constant that caused an error. clang's own message refers only to the generated C text of the
    /// constant.
    fn with_cause(&self, error: Error) -> Error {
        // If the headers fail without any constant, no constant is the cause.
        if self.run(self.plain("").allowlist_var(constants::PROBE)).is_err() {
            return error;
        }
        let mut constants = self.request.constants.iter();
        constants
            .find(|constant| !self.is_constant(constant))
            .map_or(error, |constant| self.no_constant(constant))
    }

    /// bindgen's text without unused items.
    fn trimmed(&self, text: &str) -> Result<String, Error> {
        let needed = &self.request.needed;
        let errnos = text
            .split("pub const ")
            .skip(1)
            .filter_map(|rest| rest.split(':').next())
            // A fix may list one in `constants`, which gives it a constant of its own.
            .filter(|name| {
                is_errno(name) && !self.request.constants.iter().any(|constant| constant.name == *name)
            });
        let types = needed.full.keys().chain(needed.opaque.keys()).chain(needed.names.keys());
        let constants = self.request.constants.iter().map(|constant| format!("{CONSTANT}{}", constant.name));
        let roots = types
            .chain(&self.request.functions)
            .chain(&self.request.inlines)
            .chain(self.request.variables.iter().map(|variable| &variable.c_name))
            .cloned()
            .chain(constants)
            .chain(errnos.map(ToOwned::to_owned))
            .collect();
        let opaque = needed.opaque.iter().filter(|(_, id)| id.is_some()).map(|(name, _)| name);
        let known = needed.full.keys().chain(opaque).cloned().collect();
        trim::trim(text, &roots, &known)
            .map_err(|error| self.failed(format!("bindgen's text cannot be read: {error}")))
    }

    /// Checks that the text contains each requested static inline function and constant.
    fn check_presence(&self, text: &str) -> Result<(), Error> {
        let is_there = |start: &str, name: &str| {
            text.contains(&format!("{start}{name}(")) || text.contains(&format!("{start}{name}:"))
        };
        if let Some(name) = self.request.inlines.iter().find(|name| !is_there("pub fn ", name)) {
            return Err(self.failed(if constants::is_macro(name, |text| self.probes(text)) {
                format!(
                    "`{name}` is a macro and no function (`inlines` of [imports]); {}; where it assigns an argument or pastes names, call it in a \
                     static inline function of a header of your own (headers = [\"c/{name}.h\"])",
                    constants::in_macros(name)
                )
            } else {
                format!(
                    "no header that the fix names has a static inline function `{name}` that can be had; check `inlines` and `headers` of [imports]"
                )
            }));
        }
        let is_missing =
            |constant: &&Constant| !is_there("pub const ", &format!("{CONSTANT}{}", constant.name));
        self.request
            .constants
            .iter()
            .find(is_missing)
            .map_or(Ok(()), |constant| Err(self.no_constant(constant)))
    }

    /// Adds the alignment in C to structs without members.
    fn aligned(&self, text: String, types: &Types) -> Result<String, Error> {
        let mut alignments = String::new();
        for name in empty_structs(&text) {
            if let Some(in_c) = c_name(types, &name).map_err(|error| self.failed(error.to_string()))? {
                // Writing to a String cannot fail.
                let _ =
                    writeln!(alignments, "static const unsigned long {ALIGNMENT}{name} = _Alignof({in_c});");
            }
        }
        if alignments.is_empty() {
            return Ok(text);
        }
        let found = self.run(self.plain(&alignments).allowlist_var(format!("{ALIGNMENT}.*")))?;
        Ok(aligned(text, &found))
    }
}

/// Structs without members that have a name in C.
fn empty_structs(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("pub struct ")?.strip_suffix(" {}")?.to_owned());
    text.lines().filter_map(name).filter(|name| !name.contains("__bindgen_")).collect()
}

/// C name of a struct: its tag or its typedef. `None` if the kernel's types do not contain the struct.
fn c_name(types: &Types, name: &str) -> Result<Option<String>, BtfError> {
    if !types.composites(name)?.is_empty() {
        return Ok(Some(format!("struct {name}")));
    }
    Ok(types.typedef(name)?.map(|_| name.to_owned()))
}

/// Adds the alignment from the constants in `alignments` to structs without members. bindgen omits it, and a
/// struct with such a member (`task_struct` without scheduler statistics) would have another layout than in
/// C.
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

/// True for names of error numbers, the only macros that fixes get.
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
