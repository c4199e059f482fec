// SPDX-License-Identifier: GPL-2.0-or-later
//! Prototypes of the functions that fixes replace or call, and what they are worth.
//!
//! BTF has functions by name alone: where an object has several of one name, its one prototype may be of any of them. Only
//! where the name stands once is BTF's prototype evidence.

use klp_format::KlpSymbol;
use klp_image::{Area, BtfError, Prototype, Symbol, Types};
use klp_kernel::KernelTree;

use super::{advice, c_type, refuse};
use crate::error::Error;
use crate::objects::Objects;
use crate::project::CPrototype;

/// What a fix does with a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Replaces it.
    Replaced,
    /// Replaces it as a system call, whose prototype all have.
    Syscall,
    /// Calls it.
    Called,
}

/// Where the prototype of a function comes from.
pub(crate) enum Typed {
    /// The object's BTF.
    Btf(Prototype),
    /// The author.
    Asserted(CPrototype),
}

impl Typed {
    pub(super) fn is_asserted(&self) -> bool {
        matches!(self, Self::Asserted(_))
    }

    pub(super) fn is_variadic(&self) -> bool {
        match self {
            Self::Btf(prototype) => prototype.variadic,
            Self::Asserted(prototype) => prototype.is_variadic(),
        }
    }

    pub(super) fn c_text(&self, types: &Types) -> String {
        match self {
            Self::Btf(prototype) => types.c_prototype(prototype),
            Self::Asserted(prototype) => prototype.text().to_owned(),
        }
    }
}

/// The prototype of a function: BTF's where that is evidence, else the author's word.
///
/// # Errors
/// The object has no such function; BTF says nothing of it and neither does the author; BTF is damaged, or the author
/// contradicts it.
pub(crate) fn typed(
    tree: &KernelTree,
    objects: &Objects,
    symbol: &KlpSymbol,
    asserted: Option<&CPrototype>,
    used: Use,
) -> Result<Typed, Error> {
    if let Some((function, suffix)) = symbol.symbol.split_once('.') {
        return Err(refuse(tree, symbol, &variant(function, suffix, used)));
    }
    let found = objects.function(&symbol.object, &symbol.symbol);
    match (found, asserted) {
        (Err(error @ BtfError::Damaged(_)), _) => Err(refuse(tree, symbol, &error.to_string())),
        (found, asserted) if several(objects, symbol) > 1 => {
            is_function(tree, objects, symbol)?;
            let asserted = asserted.ok_or_else(|| ambiguous(tree, objects, symbol, found.ok().as_ref()))?;
            Ok(Typed::Asserted(asserted.clone()))
        }
        (Ok(prototype), asserted) => {
            is_function(tree, objects, symbol)?;
            let said = asserted.filter(|_| used != Use::Syscall);
            if let Some(said) = said {
                agree(tree, objects, symbol, said, &prototype)?;
            }
            Ok(Typed::Btf(prototype))
        }
        (Err(BtfError::NoFunction), Some(asserted)) => {
            is_function(tree, objects, symbol)?;
            Ok(Typed::Asserted(asserted.clone()))
        }
        (Err(BtfError::NoFunction), None) => {
            Err(refuse(tree, symbol, &advice::no_function(tree, objects, symbol)?))
        }
        (Err(error), _) => Err(refuse(tree, symbol, &error.to_string())),
    }
}

/// The prototype that BTF has for a function whose prototype [`typed`] took from there.
///
/// # Errors
/// BTF has none.
pub fn prototype(tree: &KernelTree, objects: &Objects, symbol: &KlpSymbol) -> Result<Prototype, Error> {
    match typed(tree, objects, symbol, None, Use::Replaced)? {
        Typed::Btf(prototype) => Ok(prototype),
        // Without the author's word there is nothing else.
        Typed::Asserted(_) => Err(refuse(tree, symbol, "its BTF has no prototype of it")),
    }
}

fn variant(function: &str, suffix: &str, used: Use) -> String {
    let what = format!(
        "it is a compiler's variant (.{suffix}) of a function, whose arguments are not those of its prototype"
    );
    match used {
        Use::Called => format!(
            "{what}; call {function} itself where the kernel has it, or a function that calls it, or write in Rust what it does"
        ),
        Use::Replaced | Use::Syscall => format!("{what}; replace its callers"),
    }
}

/// How many functions of an object have the symbol's name. Data of that name is not counted: BTF tells it apart.
fn several(objects: &Objects, symbol: &KlpSymbol) -> usize {
    let symbols = objects.symbols(&symbol.object);
    symbols.map_or(0, |symbols| symbols.named(&symbol.symbol).iter().filter(|found| found.is_code()).count())
}

/// Asks that the symbol that is meant is one function, which stays in memory.
fn is_function(tree: &KernelTree, objects: &Objects, symbol: &KlpSymbol) -> Result<(), Error> {
    let found = unique(tree, objects, symbol)?;
    if !found.is_code() {
        let kind = found.kind;
        return Err(refuse(
            tree,
            symbol,
            &format!("it is no function (kallsyms has it as `{kind}`); a variable is named in `symbols`"),
        ));
    }
    Ok(())
}

/// Asks that code or data that a fix uses is there when the fix runs.
pub(super) fn stays(tree: &KernelTree, objects: &Objects, symbol: &KlpSymbol) -> Result<(), Error> {
    if objects.area(symbol) == Some(Area::Init) {
        return Err(refuse(
            tree,
            symbol,
            "it belongs to the start of its object (`__init`), whose memory is freed afterwards: a fix would call or read what \
             others put there since",
        ));
    }
    Ok(())
}

/// Asks that the livepatch core will find exactly the symbol that is meant: that symbol.
pub(super) fn unique<'a>(
    tree: &KernelTree,
    objects: &'a Objects,
    symbol: &KlpSymbol,
) -> Result<Symbol<'a>, Error> {
    let named =
        objects.symbols(&symbol.object).map(|symbols| symbols.named(&symbol.symbol)).unwrap_or_default();
    let position = symbol.position.0 as usize;
    match (position, named.as_slice()) {
        (_, []) => Err(refuse(tree, symbol, &advice::no_symbol(tree, objects, symbol)?)),
        (0, [only]) => Ok(*only),
        (0, several) => Err(refuse(
            tree,
            symbol,
            &format!(
                "there are {0} symbols of that name; say which with a position from 1 to {0} after a comma{1}",
                several.len(),
                advice::positions(objects, symbol)
            ),
        )),
        (position, several) => several.get(position - 1).copied().ok_or_else(|| {
            let message = format!(
                "position {position} was asked for, there are {} symbols of that name{}",
                several.len(),
                advice::positions(objects, symbol)
            );
            refuse(tree, symbol, &message)
        }),
    }
}

/// Of several functions of one name BTF has at most one prototype, and does not say whose.
fn ambiguous(tree: &KernelTree, objects: &Objects, symbol: &KlpSymbol, found: Option<&Prototype>) -> Error {
    let count = several(objects, symbol);
    let btf = found.map_or_else(String::new, |prototype| {
        format!(
            ", and the one prototype that BTF has, `{}`, may be of another",
            objects.types().c_prototype(prototype)
        )
    });
    let message = format!(
        "{} has {count} functions of that name{btf}; look into the kernel's source for the one that you mean, and give its \
         prototype: {{ symbol = \"{symbol}\", prototype = \"int {}(struct x *p)\" }} (nothing checks it){}",
        symbol.object,
        symbol.symbol,
        advice::positions(objects, symbol)
    );
    refuse(tree, symbol, &message)
}

/// Asks that the author's word is what BTF says.
fn agree(
    tree: &KernelTree,
    objects: &Objects,
    symbol: &KlpSymbol,
    said: &CPrototype,
    prototype: &Prototype,
) -> Result<(), Error> {
    let types = objects.types();
    let same =
        c_type::same(types, said, prototype).map_err(|error| refuse(tree, symbol, &error.to_string()))?;
    if same {
        return Ok(());
    }
    Err(refuse(
        tree,
        symbol,
        &format!(
            "the prototype `{}` in patch.toml contradicts BTF, which has `{}`; take it out, or write what BTF has",
            said.text(),
            types.c_prototype(prototype)
        ),
    ))
}
