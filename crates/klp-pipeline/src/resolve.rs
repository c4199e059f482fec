// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 1: resolves names to objects, symbol positions and prototypes, from the kernel's image.

mod advice;
mod c_type;
mod externs;
mod layout;
mod typed;

use klp_format::{KlpSymbol, parse_version};
use klp_image::{BtfError, Symbol, Traceability, TypeKind, Types};
use klp_kernel::KernelTree;

pub use self::externs::unexported;
pub use self::layout::{klp_layout, module_struct};
pub use self::typed::prototype;
use self::typed::{Use, typed};
use crate::error::Error;
use crate::objects::Objects;
use crate::project::{Target, module_params, objects_of};
use crate::resolved::{Answer, CDiff, Function, Resolved, State};

/// Resolves the names of a module for one kernel.
///
/// # Errors
/// The kernel has no such function, or the function cannot be replaced from Rust.
pub fn resolve(
    tree: &KernelTree,
    objects: &Objects,
    target: &Target,
    diffs: Vec<CDiff>,
) -> Result<Resolved, Error> {
    let functions = functions(tree, objects, target)?;
    refuse_twice(tree, &functions, &diffs)?;
    let layout = klp_layout(objects.types())
        .map_err(|error| klp_image::Error::Image { path: tree.image.clone(), message: error.to_string() })?;
    let mut changed = objects_of(&target.fixes);
    changed
        .extend(diffs.iter().flat_map(|diff| &diff.replaced).map(|function| function.symbol.object.clone()));
    changed.sort();
    changed.dedup();
    Ok(Resolved {
        kernel: tree.id.clone(),
        module: target.module_name(&tree.release)?.to_string(),
        description: target.description.clone(),
        functions,
        callbacks: target
            .fixes
            .iter()
            .flat_map(|fix| fix.callbacks.iter().map(|object| (fix.name.clone(), object.to_string())))
            .collect(),
        states: target
            .fixes
            .iter()
            .flat_map(|fix| fix.states.iter().map(|state| (fix.name.clone(), state.clone())))
            .map(|(fix, state)| State { fix, name: state.name, id: state.id, version: state.version })
            .collect(),
        params: module_params(&target.fixes),
        replace: target.replace,
        externs: externs::externs(tree, objects, target)?,
        diffs,
        needs: externs::needs(objects, &changed),
        cfg: answers(tree, objects, target)?,
        vermagic: objects.kernel.facts.vermagic.clone(),
        kernel_build_id: objects.kernel.facts.build_id.clone(),
        module_build_ids: changed
            .iter()
            .filter_map(|object| Some((object.to_string(), objects.module_build_id(object)?.to_owned())))
            .collect(),
        layout,
    })
}

/// Functions that the fixes replace in Rust.
fn functions(tree: &KernelTree, objects: &Objects, target: &Target) -> Result<Vec<Function>, Error> {
    let mut functions: Vec<Function> = Vec::new();
    for fix in &target.fixes {
        let calls_original = fix.names("original")?;
        for replaced in &fix.patch {
            let symbol = replaced.symbol_on(tree.arch);
            let used = if replaced.syscall { Use::Syscall } else { Use::Replaced };
            let typed = typed(tree, objects, &symbol, replaced.prototype.as_ref(), used)?;
            match objects.traceability(&symbol) {
                Some(Traceability::Not(why)) => {
                    let instead = advice::syscall(objects, &symbol.symbol).map(|text| format!("; {text}"));
                    let message = format!("it cannot be replaced: {why}{}", instead.unwrap_or_default());
                    return Err(refuse(tree, &symbol, &message));
                }
                None => {
                    let message = "its object was not read, so that nobody knows whether ftrace reaches it";
                    return Err(refuse(tree, &symbol, message));
                }
                Some(_) => {}
            }
            if typed.is_variadic() {
                return Err(refuse(
                    tree,
                    &symbol,
                    "it takes a variable number of arguments, which Rust cannot define",
                ));
            }
            if let Some(other) = functions.iter().find(|other| other.symbol == symbol) {
                return Err(refuse(
                    tree,
                    &symbol,
                    &format!("it is replaced twice, by `{}` and by `{}`", other.fix, fix.name),
                ));
            }
            functions.push(Function {
                fix: fix.name.clone(),
                method: replaced.method.clone(),
                c_prototype: typed.c_text(objects.types()),
                asserted: typed.is_asserted(),
                body: objects.body(&symbol),
                unreached: objects.is_unreached(&symbol) == Some(true),
                copies: None,
                inlined_in: replaced.inlined_in.clone(),
                calls_original,
                symbol,
            });
        }
    }
    Ok(functions)
}

/// Refuses a function that two C diffs, or a C diff and Rust code, replace.
fn refuse_twice(tree: &KernelTree, functions: &[Function], diffs: &[CDiff]) -> Result<(), Error> {
    let of_rust = functions.iter().map(|function| (&function.symbol, function.fix.as_str()));
    let of_diffs = diffs
        .iter()
        .flat_map(|diff| diff.replaced.iter().map(|function| (&function.symbol, diff.fix.as_str())));
    let mut seen: Vec<(&KlpSymbol, &str)> = Vec::new();
    for (symbol, fix) in of_rust.chain(of_diffs) {
        if let Some((_, other)) = seen.iter().find(|(other, _)| *other == symbol) {
            let message = format!("it is replaced twice, by `{other}` and by `{fix}`");
            return Err(refuse(tree, symbol, &message));
        }
        seen.push((symbol, fix));
    }
    Ok(())
}

/// Answers of this kernel to the questions in `cfg` of the fixes' patch.toml.
fn answers(tree: &KernelTree, objects: &Objects, target: &Target) -> Result<Vec<Answer>, Error> {
    let mut answers = Vec::new();
    for fix in &target.fixes {
        for (name, value) in fix.cfg.questions() {
            let failed = |error: BtfError| klp_image::Error::Image {
                path: tree.image.clone(),
                message: error.to_string(),
            };
            let holds = match name {
                "has_function" => objects.kernel.symbols.named(value).iter().any(Symbol::is_code),
                "has_member" => has_member(objects.types(), value).map_err(failed)?,
                _ => tree.release.version() >= parse_version(value).unwrap_or((u32::MAX, 0)),
            };
            answers.push(Answer {
                fix: fix.name.clone(),
                name: name.to_owned(),
                value: value.to_owned(),
                holds,
            });
        }
    }
    Ok(answers)
}

/// True if any struct or union with this name has the member, given as `struct.member`. Members of anonymous
/// members are included.
fn has_member(types: &Types, path: &str) -> Result<bool, BtfError> {
    let Some((name, member)) = path.split_once('.') else { return Ok(false) };
    let mut pending = types.composites(name)?;
    while let Some(id) = pending.pop() {
        if let TypeKind::Composite { members, .. } = types.kind(types.bare(id)?)? {
            if members.iter().any(|found| found.name.as_deref() == Some(member)) {
                return Ok(true);
            }
            pending.extend(members.iter().filter(|found| found.name.is_none()).map(|found| found.type_id));
        }
    }
    Ok(false)
}

fn refuse(tree: &KernelTree, symbol: &KlpSymbol, message: &str) -> Error {
    Error::Symbol { symbol: symbol.to_string(), kernel: tree.id.clone(), message: message.to_owned() }
}
