// SPDX-License-Identifier: GPL-2.0-or-later
//! Copies of a function that the compiler inlined, by a compile of its file with debug information. The compile is the kernel's:
//! the function is compared with the shipped code first. So no debug package is needed.

use std::collections::{BTreeMap, BTreeSet};

use gimli::{AttributeValue, UnitOffset, UnitRef, constants as dw};
use klp_base::cache::{Cache, Key};
use klp_base::files;
use klp_format::{KlpSymbol, ObjectName};
use klp_image::Memory;
use klp_kernel::c_source::{CSource, CompileCommand};
use klp_module::Module;
use serde::{Deserialize, Serialize};

use crate::compile::{self, Form};
use crate::definitions::{self, Definitions};
use crate::error::Error;
use crate::file::parse;
use crate::generated;
use crate::includers::Includers;
use crate::layout::{self, Reader, Tree};
use crate::object::{Damaged, Item, ItemId};
use crate::pairs::Compiled;
use crate::placement::Placement;
use crate::refuse_architecture;
use crate::report::Inputs;
use crate::shipped::Shipped;
use crate::special::without_fields;

/// Most files to compile in the search for a function.
const MOST_FILES: usize = 12;

/// Copy of a function's code in another function of its object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InlinedCopy {
    /// Symbol of the function with the copy.
    pub caller: String,
    /// File of the call, from the top of the source.
    pub file: String,
    /// Line of the call; 0 for a clone.
    pub line: u64,
    /// True if the copy is a function of its own, specialised for some callers: `f.constprop.0`.
    pub is_clone: bool,
}

/// Knowledge about the copies of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Copies {
    /// All of them; empty if the compiler made none.
    Known {
        /// File with the function.
        file: String,
        /// The copies.
        copies: Vec<InlinedCopy>,
        /// Parameters that the source marks as pointers of the user's program (`__user`), from 0.
        user_pointers: Vec<usize>,
    },
    /// The reason why they are not known.
    NotKnown(String),
}

/// Copies of a function of the kernel. The diffs of `inputs` are not used. The cache keeps the answer.
///
/// # Errors
/// The kernel has no source package, or a file cannot be read or written.
pub fn copies(inputs: &Inputs<'_>, function: &KlpSymbol) -> Result<Copies, Error> {
    let key = Key::new("copies of a function 2")
        .with(&inputs.tree.fingerprint)
        .with(inputs.sources)
        .with(function.to_string());
    let label = format!("{}-{}", inputs.tree.id, function.symbol);
    let stored = inputs.cache.small("c-copies-of", &label, &key, || {
        Ok::<_, Error>(serde_json::to_vec(&find(inputs, function)?).unwrap_or_default())
    })?;
    serde_json::from_slice(&stored).map_err(|error| Error::Object {
        file: function.to_string(),
        kernel: inputs.tree.id.clone(),
        message: format!("its stored copies: {error}"),
    })
}

fn find(inputs: &Inputs<'_>, function: &KlpSymbol) -> Result<Copies, Error> {
    refuse_architecture(inputs.tree)?;
    let cache = inputs.cache;
    let source = CSource::of(inputs.tree, cache, inputs.sink)?;
    let name = base_of(&function.symbol);
    let files = Definitions::of(&source, cache, inputs.sink)?.files(name);
    if files.is_empty() {
        return Ok(Copies::NotKnown(format!("no C file of the source defines {name} by this name")));
    }
    // A C file may be compiled as a part of another one: `kernel/sched/build_utility.c`.
    let includers = Includers::of(&source, cache, inputs.sink)?;
    let within = |file: &String| match includers.is_included(file) {
        true => includers.c_files(&[file]),
        false => BTreeSet::new(),
    };
    let names = files.iter().flat_map(|file| std::iter::once(file.as_str()).chain(within(file)));
    let names: Vec<&str> = names.take(MOST_FILES).collect();
    let commands = source.commands(&names, cache)?;
    for (file, command) in names.iter().zip(commands) {
        let Some(command) = command.ok().filter(|command| command.object == function.object.as_str()) else {
            continue;
        };
        let unchanged = |command: &_| compile::original(&source, file, command, Form::Sections, cache);
        let (bytes, command) = match generated::with(&source, file, command, cache, unchanged) {
            Ok(found) => found,
            Err(Error::Compile { .. }) => continue,
            Err(error) => return Err(error),
        };
        let original = parse(&source, file, &bytes)?;
        if !is_of(inputs, &original, function)? {
            continue;
        }
        let Some(mut all) = of_file(&source, file, &command, &original, cache)? else {
            let message = format!("{file}: its code differs when it is compiled with debug information");
            return Ok(Copies::NotKnown(message));
        };
        let mut copies = all.remove(name).unwrap_or_default();
        copies.retain(|copy| copy.caller != function.symbol);
        let text = files::read(&source.root.join(file))?;
        let user_pointers = definitions::user_pointers(&String::from_utf8_lossy(&text), name);
        return Ok(Copies::Known { file: (*file).to_owned(), copies, user_pointers });
    }
    Ok(Copies::NotKnown(format!("no compile of {} gives the shipped code of {name}", names.join(", "))))
}

/// Name of a function without what the compiler adds for a specialised one: `f.constprop.0`.
fn base_of(symbol: &str) -> &str {
    symbol.split('.').next().unwrap_or(symbol)
}

/// True if an object has a function, and its code is the shipped one.
fn is_of(inputs: &Inputs<'_>, original: &Compiled, function: &KlpSymbol) -> Result<bool, Error> {
    let name = &function.symbol;
    let is_named = |item: &&Item| item.is_function() && (item.name == *name || item.aliases.contains(name));
    let Some(item) = original.object.items.iter().find(is_named) else { return Ok(false) };
    let placed = |shipped: &Shipped<'_>| {
        let placement = Placement::of(original, shipped);
        let differs = placement.mismatches.iter().any(|mismatch| mismatch.function == item.name);
        let symbols = shipped.named(name);
        let wanted = symbols.iter().find(|found| found.position == function.position);
        !differs && wanted.is_some_and(|found| placement.place(item) == Some(found.place))
    };
    if function.object.is_vmlinux() {
        let memory = Memory::load(inputs.tree.image_file(), inputs.cache, inputs.sink)?;
        return Ok(placed(&Shipped::kernel(function.object.clone(), inputs.image, &memory)));
    }
    let object: &ObjectName = &function.object;
    let (image, bytes) = (inputs.module)(object)?;
    let module = Module::parse(&bytes).map_err(|error| Error::Object {
        file: object.to_string(),
        kernel: inputs.tree.id.clone(),
        message: error.to_string(),
    })?;
    Ok(placed(&Shipped::module(object.clone(), &image, module)))
}

/// Copies of the functions of a file, by their names. `None` if the code with debug information is another. The cache keeps them.
fn of_file(
    source: &CSource<'_>,
    file: &str,
    command: &CompileCommand,
    original: &Compiled,
    cache: &Cache,
) -> Result<Option<BTreeMap<String, Vec<InlinedCopy>>>, Error> {
    let key =
        Key::new("inlined copies 1").with(&source.fingerprint).with(file).with(command.words.join("\0"));
    let label = format!("{}-{}", source.tree.id, file.replace('/', "-"));
    let stored = cache.small("c-inlined", &label, &key, || {
        let bytes = compile::with_lines(source, file, command, cache)?;
        let compiled = parse(source, file, &bytes)?;
        let found = if same_code(original, &compiled) {
            let damaged = |error: Damaged| Error::Object {
                file: file.to_owned(),
                kernel: source.tree.id.clone(),
                message: error.to_string(),
            };
            Some(read(&bytes, &compiled).map_err(damaged)?)
        } else {
            None
        };
        Ok::<_, Error>(serde_json::to_vec(&found).unwrap_or_default())
    })?;
    serde_json::from_slice(&stored).map_err(|error| Error::Object {
        file: file.to_owned(),
        kernel: source.tree.id.clone(),
        message: format!("its stored copies: {error}"),
    })
}

/// True if the functions of two compiles have the same code.
fn same_code(a: &Compiled, b: &Compiled) -> bool {
    let code = |compiled: &Compiled| -> BTreeMap<String, Vec<u8>> {
        let functions = compiled.object.items.iter().filter(|item| item.is_function());
        functions
            .map(|item| {
                (item.name.clone(), without_fields(&compiled.object.sections[item.section], item.range()))
            })
            .collect()
    };
    code(a) == code(b)
}

/// Reads the copies in an object file with debug information.
fn read(bytes: &[u8], compiled: &Compiled) -> Result<BTreeMap<String, Vec<InlinedCopy>>, Damaged> {
    let mut copies = BTreeMap::new();
    layout::each_unit(bytes, |unit| {
        let mut tree = unit.entries_tree(None)?;
        Ok(collect(unit, compiled, tree.root()?, None, &mut copies)?)
    })?;
    for list in copies.values_mut() {
        list.sort();
        list.dedup();
    }
    Ok(copies)
}

/// Collects the copies below an entry, which is inside of `function`.
fn collect<'d>(
    unit: UnitRef<'_, Reader<'d>>,
    compiled: &Compiled,
    node: Tree<'_, '_, 'd>,
    function: Option<ItemId>,
    copies: &mut BTreeMap<String, Vec<InlinedCopy>>,
) -> Result<(), gimli::Error> {
    let mut function = function;
    {
        let entry = node.entry();
        let origin = match entry.attr_value(dw::DW_AT_abstract_origin) {
            Some(AttributeValue::UnitRef(offset)) => Some(offset),
            _ => None,
        };
        match entry.tag() {
            dw::DW_TAG_subprogram => {
                let range = unit.die_ranges(entry)?.next()?;
                function = range.and_then(|range| function_at(compiled, range.begin));
                let name = named(unit, origin.unwrap_or(entry.offset()))?;
                if let (Some(id), Some(name)) = (function, name) {
                    let symbol = &compiled.object.items[id].name;
                    // `.part` and `.cold` are parts of the function, not copies.
                    let is_part = symbol.contains(".part.") || symbol.contains(".cold");
                    if !is_itself(compiled, id, &name) && !is_part {
                        let file = layout::file_of(unit, &unit.entry(origin.unwrap_or(entry.offset()))?)
                            .unwrap_or_default();
                        let copy = InlinedCopy { caller: symbol.clone(), file, line: 0, is_clone: true };
                        copies.entry(name).or_default().push(copy);
                    }
                }
            }
            dw::DW_TAG_inlined_subroutine => {
                let name = origin.map(|offset| named(unit, offset)).transpose()?.flatten();
                if let (Some(id), Some(name)) = (function, name) {
                    let caller = compiled.object.items[id].name.clone();
                    // A copy of the function in itself goes with it.
                    if !is_itself(compiled, id, &name) {
                        let line = layout::number(entry, dw::DW_AT_call_line).unwrap_or(0);
                        let file = layout::file_in(unit, entry, dw::DW_AT_call_file).unwrap_or_default();
                        let copy = InlinedCopy { caller, file, line, is_clone: false };
                        copies.entry(name).or_default().push(copy);
                    }
                }
            }
            _ => {}
        }
    }
    let mut children = node.children();
    while let Some(child) = children.next()? {
        collect(unit, compiled, child, function, copies)?;
    }
    Ok(())
}

/// True if a function of the object has this name, perhaps among others.
fn is_itself(compiled: &Compiled, id: ItemId, name: &str) -> bool {
    let item = &compiled.object.items[id];
    item.name == name || item.aliases.iter().any(|alias| alias == name)
}

/// Function at an address as [`layout::section`] makes it: the number of the section, and the offset.
fn function_at(compiled: &Compiled, address: u64) -> Option<ItemId> {
    let section = usize::try_from(address >> 32).ok()?;
    let id = compiled.object.item_at(section, address & u64::from(u32::MAX))?;
    let item = &compiled.object.items[id];
    // The code of the start has run, and its memory is freed.
    let has_run = compiled.object.sections[section].name.starts_with(".init.text");
    (item.is_function() && !has_run).then(|| item.parent.unwrap_or(id))
}

/// Name of a function, by the entry of its declaration.
fn named(unit: UnitRef<'_, Reader<'_>>, offset: UnitOffset) -> Result<Option<String>, gimli::Error> {
    let entry = unit.entry(offset)?;
    if let Some(name) = layout::text(unit, &entry, dw::DW_AT_name) {
        return Ok(Some(name));
    }
    match entry.attr_value(dw::DW_AT_abstract_origin).or_else(|| entry.attr_value(dw::DW_AT_specification)) {
        Some(AttributeValue::UnitRef(inner)) if inner != offset => {
            Ok(layout::text(unit, &unit.entry(inner)?, dw::DW_AT_name))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use klp_base::process::Cmd;

    use super::*;

    #[test]
    fn inlined_copies_and_clones_are_found_with_their_callers_and_lines() {
        let source = "int g(int);\nstatic inline __attribute__((always_inline)) int small(int a) { return g(a) + 1; }\n\
            int keep(int a) { return small(a); }\n\
            static __attribute__((noinline)) int big(int a, int b) { for (int i = 0; i < a; i++) b += g(i * b); return b; }\n\
            int one(int a) { return small(a) + big(a, 3); }\nint two(int a) { return big(g(a), 3) + keep(a) * 2; }\n";
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.c"), source).unwrap();
        let flags =
            ["-O2", "-g", "-gdwarf-5", "-gz=none", "-ffunction-sections", "-fdata-sections", "-c", "x.c"];
        Cmd::new("gcc").args(flags).cwd(dir.path()).run().unwrap();
        let bytes = std::fs::read(dir.path().join("x.o")).unwrap();
        let compiled = Compiled::parse(&bytes).unwrap();
        let found = read(&bytes, &compiled).unwrap();
        let of = |name: &str| -> Vec<(String, u64, bool)> {
            let list = found.get(name).cloned().unwrap_or_default();
            list.into_iter().map(|copy| (copy.caller, copy.line, copy.is_clone)).collect()
        };
        let inlined = |caller: &str, line| (caller.to_owned(), line, false);
        assert_eq!(of("small"), [inlined("keep", 3), inlined("one", 5), inlined("two", 3)]);
        assert_eq!(of("keep"), [inlined("two", 6)]);
        assert_eq!(of("big"), [("big.constprop.0".to_owned(), 0, true)]);
        assert!(of("one").is_empty());
        assert!(found["keep"].iter().all(|copy| copy.file == "x.c"), "{found:?}");
    }
}
