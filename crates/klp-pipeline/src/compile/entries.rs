// SPDX-License-Identifier: GPL-2.0-or-later
//! Entry functions: the replacements in the livepatch tables. Each calls the fix's method and stays on the
//! stack until the method returns.
//!
//! Source of the requirement: `klp_check_stack_func()` in `kernel/livepatch/transition.c`. The kernel
//! searches the stacks of sleeping tasks for `new_func` to find the tasks that still run the replacement. If
//! the tables contained the method itself, the compiler could turn its last call into a jump (tail call). A
//! task that sleeps in the called function would then have no `new_func` on its stack, and the module could
//! be unloaded while the task still runs its code.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use klp_base::files::read_text;
use quote::ToTokens;
use syn::{FnArg, Item, ReturnType, Signature, TraitItem, ext::IdentExt};

use crate::error::Error;
use crate::part::{ModulePart, Replaced};
use crate::project::{Fix, Target};
use crate::resolved::{Function, Resolved};
use crate::rust_name::object_in_rust;

/// Name prefix of entry functions, as in the kernel's own live patches in C.
const PREFIX: &str = "livepatch_";

/// Symbol names of the entry functions, in the order of `functions`: `livepatch_<function>`, or
/// `livepatch_<object>_<function>_<position>` if the module replaces several functions with one name. The
/// names are unique in a module.
fn names(functions: &[Function]) -> Vec<String> {
    let word = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
    let short = |function: &Function| format!("{PREFIX}{}", word(&function.symbol.symbol));
    let repeated = |name: &str| functions.iter().filter(|other| short(other) == name).count() > 1;
    let mut taken: BTreeSet<String> = functions.iter().map(short).collect();
    let mut name = |function: &Function| {
        let short = short(function);
        if !repeated(&short) {
            return short;
        }
        let symbol = &function.symbol;
        let object = word(symbol.object.as_str());
        let mut name = format!("{PREFIX}{object}_{}_{}", word(&symbol.symbol), symbol.position);
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        name
    };
    functions.iter().map(&mut name).collect()
}

/// Part of a module that its fixes in Rust form. `sources` is the directory of stage 2.
///
/// # Errors
/// The traits of stage 2 cannot be read.
pub(super) fn part(
    target: &Target,
    resolved: &Resolved,
    sources: &Path,
    objects: Vec<PathBuf>,
) -> Result<ModulePart, Error> {
    let names = names(&resolved.functions);
    let thunk = |function: &Function| {
        let (fix, object) = (function.fix.replace('-', "_"), object_in_rust(&function.symbol.object));
        format!("replaced_{fix}::original::{object}::{}", function.method)
    };
    let replaced = resolved.functions.iter().zip(&names).map(|(function, name)| Replaced {
        symbol: function.symbol.clone(),
        entry: format!("{}::{name}", module_of(&function.fix)),
        original: function.original().map(|_| thunk(function)),
    });
    let originals = resolved.functions.iter().filter_map(Function::original);
    let items = target.fixes.iter().map(|fix| source(fix, resolved, &names, sources));
    Ok(ModulePart {
        objects,
        shims: Some(sources.join("shims.c")),
        symbols: resolved.externs.iter().cloned().chain(originals).collect(),
        replaced: replaced.collect(),
        items: items.collect::<Result<_, _>>()?,
    })
}

/// Name of the module in the root crate with the entry functions of a fix.
fn module_of(fix: &str) -> String {
    format!("entries_{}", fix.replace('-', "_"))
}

/// Source of the entry functions of one fix, generated from the traits of stage 2 in `sources`. `names` are
/// the entry names of `resolved.functions`.
///
/// # Errors
/// The traits cannot be read.
fn source(fix: &Fix, resolved: &Resolved, names: &[String], sources: &Path) -> Result<String, Error> {
    let file = sources.join(format!("replaced/{}.rs", fix.name));
    let damaged = |message: String| Error::Intermediate { file: file.clone(), message };
    let traits = syn::parse_file(&read_text(&file)?).map_err(|error| damaged(error.to_string()))?;
    let mut functions = String::new();
    for (function, name) in resolved.functions.iter().zip(names).filter(|(f, _)| f.fix == fix.name) {
        let signature = method(&traits, function).ok_or_else(|| {
            damaged(format!("it has no method `{}` for {}", function.method, function.symbol))
        })?;
        functions.push_str(&entry(fix, function, name, signature));
    }
    if functions.is_empty() {
        return Ok(functions);
    }
    Ok(format!(
        "\n/// What the tables name as the replacements of fix `{}`.\n\
         #[allow(non_snake_case, unused_imports, improper_ctypes_definitions, clippy::all)]\nmod {} {{\n    \
         use bindings::ffi::*;\n    use bindings::*;\n{functions}}}\n",
        fix.name,
        module_of(&fix.name)
    ))
}

/// Signature of the method that replaces a function.
fn method<'a>(traits: &'a syn::File, function: &Function) -> Option<&'a Signature> {
    let object = object_in_rust(&function.symbol.object);
    let object = object.strip_prefix("r#").unwrap_or(&object);
    let of_object = traits.items.iter().filter_map(|item| match item {
        Item::Trait(item) if item.ident.unraw() == object => Some(&item.items),
        _ => None,
    });
    of_object.flatten().find_map(|item| match item {
        TraitItem::Fn(item) if item.sig.ident.unraw() == function.method => Some(&item.sig),
        _ => None,
    })
}

/// One entry function. Its parameters get new names, because a parameter must not have the name of a kernel
/// variable in scope.
fn entry(fix: &Fix, function: &Function, name: &str, signature: &Signature) -> String {
    let types = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(input) => Some(input.ty.to_token_stream()),
        FnArg::Receiver(_) => None,
    });
    let parameters: Vec<String> =
        types.enumerate().map(|(at, kind)| format!("argument_{at}: {kind}")).collect();
    let arguments: Vec<String> = (0..parameters.len()).map(|at| format!("argument_{at}")).collect();
    let returns = match &signature.output {
        ReturnType::Default => String::new(),
        ReturnType::Type(_, kind) => format!(" -> {}", kind.to_token_stream()),
    };
    let crate_name = fix.crate_name();
    let mut text = format!("\n    /// Entry of `{}`.\n", function.symbol);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "    #[unsafe(no_mangle)]\n    pub unsafe extern \"C\" fn {name}({}){returns} {{\n        \
         // SAFETY: the kernel calls it with arguments that are valid for the original.\n        \
         let result = unsafe {{ <fix_{crate_name}::__Patch as replaced_{crate_name}::{}>::{}({}) }};\n        \
         // SAFETY: it is no instruction. It stands between the call and the return, so that the call is no jump.\n        \
         unsafe {{ ::core::arch::asm!(\"\", options(nomem, nostack, preserves_flags)) }};\n        \
         result\n    }}\n",
        parameters.join(", "),
        object_in_rust(&function.symbol.object),
        signature.ident,
        arguments.join(", "),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(symbols: &[&str]) -> Vec<Function> {
        let function = |symbol: &&str| Function {
            fix: "a-fix".to_owned(),
            symbol: symbol.parse().unwrap(),
            method: "f".to_owned(),
            c_prototype: String::new(),
            asserted: false,
            body: None,
            unreached: false,
            copies: None,
            inlined_in: Vec::new(),
            calls_original: false,
        };
        symbols.iter().map(function).collect()
    }

    #[test]
    fn entry_names_contain_the_function_and_are_unique() {
        assert_eq!(names(&functions(&["vmlinux:a", "m:b"])), ["livepatch_a", "livepatch_b"]);
        assert_eq!(names(&functions(&["vmlinux:a.isra.0"])), ["livepatch_a_isra_0"]);
        assert_eq!(
            names(&functions(&["vmlinux:a,1", "vmlinux:a,2", "m:a", "vmlinux:m_a_0"])),
            ["livepatch_vmlinux_a_1", "livepatch_vmlinux_a_2", "livepatch_m_a_0_", "livepatch_m_a_0"]
        );
    }

    #[test]
    fn the_call_of_the_method_is_followed_by_a_barrier() {
        let traits = syn::parse_file(
            "pub trait r#loop { unsafe extern \"C\" fn f(r#type: *mut file, n: [u8; 4]) -> c_int; }",
        )
        .unwrap();
        let function = functions(&["loop:a"]).remove(0);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("patch.toml"), "description = 'x'\npatch = ['loop:a']").unwrap();
        let fix = crate::project::read_fix("a-fix", dir.path()).unwrap();
        let text = entry(&fix, &function, "livepatch_a", method(&traits, &function).unwrap());
        assert!(
            text.contains("fn livepatch_a(argument_0: * mut file, argument_1: [u8 ; 4]) -> c_int {"),
            "{text}"
        );
        let call = "<fix_a_fix::__Patch as replaced_a_fix::r#loop>::f(argument_0, argument_1)";
        let (before, after) = text.split_once("asm!(\"\"").unwrap();
        assert!(before.contains(call) && after.contains("result\n"), "{text}");
    }
}
