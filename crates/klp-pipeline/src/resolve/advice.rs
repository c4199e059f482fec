// SPDX-License-Identifier: GPL-2.0-or-later
//! Messages for a name that is missing or ambiguous in an object: the objects with this name, and the correct
//! entry.

use std::fmt::Write;

use klp_format::KlpSymbol;
use klp_kernel::KernelTree;
use klp_kernel::exports;

use crate::error::Error;
use crate::objects::Objects;

/// Maximum number of symbol positions in a message.
const POSITIONS: usize = 20;

/// Message for a function that is not in its object's BTF and has no unchecked prototype.
pub(super) fn no_function(tree: &KernelTree, objects: &Objects, symbol: &KlpSymbol) -> Result<String, Error> {
    let there = objects.symbols(&symbol.object).is_some_and(|symbols| symbols.count(&symbol.symbol) > 0);
    if !there {
        let nothing = no_symbol(tree, objects, symbol)?;
        return Ok(nothing.replacen(
            "there is no such symbol",
            "there is no such function in the kernel's BTF, and no such symbol",
            1,
        ));
    }
    let instead = syscall(objects, &symbol.symbol).map(|text| format!("; {text}"));
    Ok(format!(
        "there is no such function in the BTF of {}, only the symbol{}; give the prototype that it has in the kernel's source: \
         {{ symbol = \"{symbol}\", prototype = \"int {}(struct x *p)\" }} (nothing checks it)",
        symbol.object,
        instead.unwrap_or_default(),
        symbol.symbol
    ))
}

/// Message for a name without a symbol in its object.
pub(super) fn no_symbol(tree: &KernelTree, objects: &Objects, symbol: &KlpSymbol) -> Result<String, Error> {
    let KlpSymbol { object, symbol: name, .. } = symbol;
    let nothing = format!("there is no such symbol in the object's symbol table ({object})");
    if let Some(instead) = syscall(objects, name) {
        return Ok(format!("{nothing}; {instead}"));
    }
    if !object.is_vmlinux() && objects.kernel.symbols.count(name) > 0 {
        return Ok(format!("{nothing}; the kernel itself has it: write \"vmlinux:{name}\""));
    }
    let exports = exports::of(tree)?;
    let exporter = exports.get(name).map(exports::Export::object_name);
    if let Some(exporter) = exporter.filter(|exporter| exporter != object.as_str()) {
        return Ok(format!("{nothing}; module {exporter} exports it: write \"{exporter}:{name}\""));
    }
    let start = format!("{name}.");
    let symbols = objects.symbols(object);
    let variants: Vec<&str> = symbols
        .into_iter()
        .flat_map(|symbols| symbols.starting_with(&start))
        .map(|variant| variant.name)
        .collect();
    if !variants.is_empty() {
        return Ok(format!(
            "{nothing}; the compiler made variants of it ({}), whose arguments are not those of its prototype: replace its \
             callers, or write in Rust what it does",
            variants.join(", ")
        ));
    }
    Ok(format!(
        "{nothing}; it is spelled differently, in another object, or inlined everywhere (replace its callers then)"
    ))
}

/// Advice for a name of a system call's C functions: the correct entry.
pub(super) fn syscall(objects: &Objects, name: &str) -> Option<String> {
    const STARTS: [&str; 7] =
        ["__x64_sys_", "__ia32_sys_", "__arm64_sys_", "__do_sys_", "__se_sys_", "ksys_", "sys_"];
    let call = STARTS.iter().find_map(|start| name.strip_prefix(start)).filter(|call| !call.is_empty())?;
    let wrapper = ["__x64_sys_", "__arm64_sys_"]
        .iter()
        .any(|start| objects.kernel.symbols.count(&format!("{start}{call}")) > 0);
    wrapper.then(|| format!("to replace the system call, write {{ syscall = \"{call}\" }}"))
}

/// Symbols with one name, each with its neighbouring symbols; end of a sentence.
pub(super) fn positions(objects: &Objects, symbol: &KlpSymbol) -> String {
    let Some(symbols) = objects.symbols(&symbol.object) else { return String::new() };
    let named = symbols.named(&symbol.symbol);
    if named.len() < 2 {
        return String::new();
    }
    let mut text = String::from("; the symbols beside them tell their source files:");
    for found in named.iter().take(POSITIONS) {
        let (before, after) = symbols.beside(found.position, &symbol.symbol);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n    {},{}", symbol.symbol, found.position);
        let what = if found.is_code() { "" } else { " (data)" };
        let _ = write!(text, "{what} between {} and {}", before.unwrap_or("-"), after.unwrap_or("-"));
    }
    if named.len() > POSITIONS {
        text.push_str("\n    ...");
    }
    text
}
