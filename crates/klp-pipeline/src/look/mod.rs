// SPDX-License-Identifier: GPL-2.0-or-later
//! Facts of a kernel's functions for authors, from its image: what can be replaced, what can be called, and who calls it.

mod c_file;

use std::collections::BTreeMap;

use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_cdiff::inlined::Copies;
use klp_format::{KlpSymbol, ObjectName, SymbolPosition};
use klp_image::{Calls, Reference, Symbol, Symbols, Traceability};
use klp_kernel::{KernelTree, exports};
use serde::Serialize;

use crate::c_diff;
use crate::error::Error;
use crate::objects::Objects;
use crate::project::Project;

/// Facts of one function.
#[derive(Clone, Debug, Serialize)]
pub struct Function {
    /// Symbol, with its position if the name is not unique.
    pub symbol: String,
    /// Address at link time; in a module the offset in its section.
    pub address: u64,
    /// Distance to the next symbol in bytes, padding included; `None` at the end of a section of a module.
    pub size: Option<u64>,
    /// True if the symbol is global: other source files may call it.
    pub global: bool,
    /// Prototype in C; `None` if BTF has none for this name, or several.
    pub prototype: Option<String>,
    /// Reason why it cannot be replaced; `None` if it can.
    pub not_replaceable: Option<String>,
    /// Offset of its own code behind the ftrace site in bytes; `None` if `replaced::original` cannot call it.
    pub original: Option<u64>,
    /// Export to modules, and its namespace.
    pub export: Option<Export>,
    /// Variants of the function that the compiler made, as `f.constprop.0`.
    pub variants: Vec<String>,
    /// Functions that call it or jump to it; `None` for a module, whose callers are not looked for.
    pub callers: Option<Vec<Use>>,
    /// Functions that it calls or jumps to.
    pub callees: Option<Vec<Use>>,
    /// Functions of `callees` in which tasks sleep. A task that sleeps under the function holds the transition of a patch up.
    pub sleeps_in: Option<Vec<String>>,
    /// Functions that start a kernel thread with it: the thread stays in it, and the transition of a patch would not end.
    pub thread_of: Vec<String>,
    /// Functions and data that hold its address.
    pub pointers: Option<Vec<Use>>,
    /// True if it is static and nothing reaches it: it was inlined into all its callers. `None` if that is not known.
    pub unreached: Option<bool>,
    /// Copies that the compiler inlined into other functions; `None` for a function that cannot be replaced.
    pub copies: Option<Copies>,
}

/// Export of a symbol.
#[derive(Clone, Debug, Serialize)]
pub struct Export {
    /// Namespace that a module must import.
    pub namespace: Option<String>,
}

/// A function or variable, and its number of references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Name of the symbol that contains the reference.
    pub name: String,
    /// Number of references.
    pub count: usize,
}

/// Facts of every function with this name. `symbol` is `[object:]name[,position]`.
///
/// # Errors
/// The object cannot be read, or it has no function with this name; the message lists similar names.
pub fn function(
    project: &Project,
    tree: &KernelTree,
    symbol: &KlpSymbol,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<Function>, Error> {
    let objects = Objects::load(project, tree, [symbol], cache, sink)?;
    let unread = || Error::Symbol {
        symbol: symbol.to_string(),
        kernel: tree.id.clone(),
        message: "its object was not read".to_owned(),
    };
    let symbols = objects.symbols(&symbol.object).ok_or_else(unread)?;
    let wanted =
        |found: &Symbol<'_>| found.is_code() && (symbol.position.0 == 0 || found.position == symbol.position);
    let found: Vec<Symbol<'_>> = symbols.named(&symbol.symbol).into_iter().filter(wanted).collect();
    if found.is_empty() {
        return Err(Error::Symbol {
            symbol: symbol.to_string(),
            kernel: tree.id.clone(),
            message: missing(symbols, &symbol.symbol),
        });
    }
    let calls = symbol.object.is_vmlinux().then_some(&objects.calls);
    let exports = exports::of(tree)?;
    let unique = symbols.count(&symbol.symbol) == 1;
    found
        .iter()
        .map(|found| {
            let position = if unique { SymbolPosition(0) } else { found.position };
            let symbol = KlpSymbol { position, ..symbol.clone() };
            let export = exports.get(&symbol.symbol).filter(|export| {
                found.kind.is_ascii_uppercase() && export.object_name() == symbol.object.as_str()
            });
            let mut facts = facts(&objects, symbols, calls, &symbol, found, export);
            if facts.not_replaceable.is_none() {
                facts.copies = Some(c_diff::inlined(project, tree, &symbol, cache, sink)?);
            }
            Ok(facts)
        })
        .collect()
}

fn facts(
    objects: &Objects,
    symbols: &Symbols,
    calls: Option<&Calls>,
    symbol: &KlpSymbol,
    found: &Symbol<'_>,
    export: Option<&exports::Export>,
) -> Function {
    let prototype = objects.function(&symbol.object, &symbol.symbol).ok();
    let start = format!("{}.", symbol.symbol);
    let variants = symbols.starting_with(&start);
    let end = if symbol.object.is_vmlinux() { symbols.next(found.address) } else { None };
    let range = found.address..end.unwrap_or(found.address);
    let callees = calls.map(|calls| by_name(symbols, calls.calls_from(range), |call| call.target));
    let sleeps = |list: &Vec<Use>| -> Vec<String> {
        list.iter().map(|callee| &callee.name).filter(|name| klp_verify::sleeps(name)).cloned().collect()
    };
    Function {
        symbol: symbol.to_string(),
        address: found.address,
        size: end.map(|end| end - found.address),
        global: found.kind.is_ascii_uppercase(),
        prototype: prototype.map(|prototype| objects.types().c_prototype(&prototype)),
        not_replaceable: not_replaceable(objects, symbol),
        original: objects.body(symbol),
        export: export.map(|export| Export { namespace: export.namespace.clone() }),
        variants: variants.map(|variant| variant.name.to_owned()).collect(),
        callers: calls.map(|calls| by_name(symbols, calls.calls_of(found.address), |call| call.place)),
        sleeps_in: callees.as_ref().map(sleeps),
        callees,
        thread_of: objects.starters(symbol),
        pointers: calls.map(|calls| by_name(symbols, calls.addresses_of(found.address), |word| word.place)),
        unreached: objects.is_unreached(symbol),
        copies: None,
    }
}

fn not_replaceable(objects: &Objects, symbol: &KlpSymbol) -> Option<String> {
    match objects.traceability(symbol) {
        Some(Traceability::Traceable) => None,
        Some(Traceability::Not(why)) => Some(why.to_string()),
        None => Some("its object was not read".to_owned()),
    }
}

/// References by the name of the symbol that contains one of their ends.
fn by_name<'a>(
    symbols: &Symbols,
    references: impl IntoIterator<Item = &'a Reference>,
    end: impl Fn(&Reference) -> u64,
) -> Vec<Use> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reference in references {
        let address = end(reference);
        let name = symbols
            .containing(address)
            .map_or_else(|| format!("{address:#x}"), |(symbol, _)| symbol.name.to_owned());
        *counts.entry(name).or_insert(0) += 1;
    }
    counts.into_iter().map(|(name, count)| Use { name, count }).collect()
}

/// Message for a name without a function: variants of the compiler, and names that contain it.
fn missing(symbols: &Symbols, name: &str) -> String {
    const MOST: usize = 8;
    let start = format!("{name}.");
    let variants: Vec<&str> = symbols.starting_with(&start).map(|symbol| symbol.name).collect();
    if !variants.is_empty() {
        return format!("there are only the compiler's variants {}", variants.join(", "));
    }
    let like: Vec<&str> = symbols
        .iter()
        .filter(|symbol| symbol.is_code() && !symbol.is_padding() && symbol.name.contains(name))
        .map(|symbol| symbol.name)
        .take(MOST)
        .collect();
    if like.is_empty() {
        "it has no function of that name: it may be inlined everywhere, be in a module (`module:function`), or be spelled differently".to_owned()
    } else {
        format!("it has no function of that name; similar names are {}", like.join(", "))
    }
}

/// A function that a C file defines.
#[derive(Clone, Debug, Serialize)]
pub struct Defined {
    /// Name in the file.
    pub name: String,
    /// Symbols of this name in the object; none if the compiler inlined the function into its callers, or left it out.
    pub symbols: Vec<Match>,
    /// Variants of the function that the compiler made, as `f.constprop.0`.
    pub variants: Vec<String>,
}

/// Functions that the C text `text` defines, with what the object has of each, in the order of the text. Static functions of other
/// files may have the same name.
///
/// # Errors
/// The object cannot be read.
pub fn in_file(
    project: &Project,
    tree: &KernelTree,
    object: &ObjectName,
    text: &str,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<Defined>, Error> {
    let objects = Objects::of(project, tree, [object], cache, sink)?;
    let Some(symbols) = objects.symbols(object) else { return Ok(Vec::new()) };
    let name = |definition| match definition {
        c_file::Definition::Function(name) => name,
        c_file::Definition::Syscall(name) => format!("{}sys_{name}", tree.arch.syscall_prefix()),
    };
    let names = c_file::definitions(text).into_iter().map(name);
    Ok(names
        .map(|name| {
            let named = symbols.named(&name);
            let code = named.iter().filter(|symbol| symbol.is_code());
            let start = format!("{name}.");
            Defined {
                symbols: code.map(|symbol| matched(&objects, symbols, object, symbol)).collect(),
                variants: symbols.starting_with(&start).map(|variant| variant.name.to_owned()).collect(),
                name,
            }
        })
        .collect())
}

/// A function whose name matches a pattern.
#[derive(Clone, Debug, Serialize)]
pub struct Match {
    /// Symbol, with its position if the name is not unique.
    pub symbol: String,
    /// Reason why it cannot be replaced; `None` if it can.
    pub not_replaceable: Option<String>,
}

/// Functions of an object whose names match a pattern, in which `*` stands for any text.
///
/// # Errors
/// The object cannot be read.
pub fn matching(
    project: &Project,
    tree: &KernelTree,
    object: &ObjectName,
    pattern: &str,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<Match>, Error> {
    let objects = Objects::of(project, tree, [object], cache, sink)?;
    let Some(symbols) = objects.symbols(object) else { return Ok(Vec::new()) };
    let parts: Vec<&str> = pattern.split('*').collect();
    let functions = symbols.iter().filter(|symbol| symbol.is_code() && !symbol.is_padding());
    let named = functions.filter(|symbol| matches(symbol.name, &parts));
    let mut found: Vec<Match> = named.map(|symbol| matched(&objects, symbols, object, &symbol)).collect();
    found.sort_by(|one, other| one.symbol.cmp(&other.symbol));
    Ok(found)
}

fn matched(objects: &Objects, symbols: &Symbols, object: &ObjectName, symbol: &Symbol<'_>) -> Match {
    let unique = symbols.count(symbol.name) == 1;
    let position = if unique { SymbolPosition(0) } else { symbol.position };
    let symbol = KlpSymbol { object: object.clone(), symbol: symbol.name.to_owned(), position };
    Match { symbol: symbol.to_string(), not_replaceable: not_replaceable(objects, &symbol) }
}

/// True if a text consists of the parts with any text between them.
fn matches(text: &str, parts: &[&str]) -> bool {
    let [first, middle @ .., last] = parts else { return parts.first() == Some(&text) };
    let Some(mut rest) = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    middle.iter().all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let is = |text: &str, pattern: &str| matches(text, &pattern.split('*').collect::<Vec<_>>());
        assert!(is("pipe_read", "pipe_*") && is("pipe_read", "*read") && is("pipe_read", "p*_*d"));
        assert!(is("pipe_read", "pipe_read") && is("aba", "a*a") && is("anything", "*"));
        assert!(!is("pipe_read", "pipe") && !is("a", "a*a") && !is("pipe_read", "*x*"));
    }
}
