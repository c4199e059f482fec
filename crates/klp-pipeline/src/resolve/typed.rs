// SPDX-License-Identifier: GPL-2.0-or-later
//! Prototypes of the functions that fixes replace or call, and their reliability.
//!
//! BTF identifies functions by name only. If an object has several functions with one name, its single
//! prototype may belong to any of them. BTF's prototype is reliable only for a unique name.

use klp_format::KlpSymbol;
use klp_image::{Area, BtfError, Prototype, Symbol, Types};
use klp_kernel::KernelTree;

use super::{advice, c_type, refuse};
use crate::error::Error;
use crate::objects::Objects;
use crate::project::CPrototype;

/// Use of a function by a fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Replaces it.
    Replaced,
    /// Replaces it as a system call; all system calls have the same prototype.
    Syscall,
    /// Calls it.
    Called,
}

/// Source of a function's prototype.
pub(crate) enum Typed {
    /// The object's BTF.
    Btf(Prototype),
    /// The author: an unchecked prototype.
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

/// Prototype of a function: from BTF if that is reliable, otherwise the author's unchecked prototype.
///
/// # Errors
/// The object has no such function; neither BTF nor the author gives a prototype; BTF is damaged; or the
/// author's prototype contradicts BTF.
pub(crate) fn typed(
    tree: &KernelTree,
    objects: &Objects,
    symbol: &KlpSymbol,
    asserted: Option<&CPrototype>,
    used: Use,
) -> Result<Typed, Error> {
    if let Some((function, suffix)) = symbol.symbol.split_once('.') {
        let callable = used == Use::Called && !suffix.starts_with("cold");
        let Some(asserted) = asserted.filter(|_| callable) else {
            return Err(refuse(tree, symbol, &variant(symbol, function, suffix, used)));
        };
        is_function(tree, objects, symbol)?;
        return Ok(Typed::Asserted(asserted.clone()));
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

/// BTF prototype of a function for which `typed` returns BTF's prototype.
///
/// # Errors
/// BTF has no prototype.
pub fn prototype(tree: &KernelTree, objects: &Objects, symbol: &KlpSymbol) -> Result<Prototype, Error> {
    match typed(tree, objects, symbol, None, Use::Replaced)? {
        Typed::Btf(prototype) => Ok(prototype),
        // There is no other source, because no unchecked prototype is passed.
        Typed::Asserted(_) => Err(refuse(tree, symbol, "its BTF has no prototype of it")),
    }
}

fn variant(symbol: &KlpSymbol, function: &str, suffix: &str, used: Use) -> String {
    let what = format!(
        "it is a compiler's variant (.{suffix}) of a function, whose arguments are not those of its prototype"
    );
    match used {
        Use::Called if suffix.starts_with("cold") => format!("{what}; it is jumped to and never called"),
        Use::Called => format!(
            "{what}; call {function} itself where the kernel has it, or a function that calls it; or read the variant's arguments from \
             its code, and give them: {{ symbol = \"{symbol}\", as = \"{function}\", prototype = \"int {function}(struct x *p)\" }} (nothing \
             checks it)"
        ),
        Use::Replaced | Use::Syscall => format!("{what}; replace its callers"),
    }
}

/// Number of functions in an object with the symbol's name. Data with this name is not counted, because BTF
/// distinguishes it.
fn several(objects: &Objects, symbol: &KlpSymbol) -> usize {
    let symbols = objects.symbols(&symbol.object);
    symbols.map_or(0, |symbols| symbols.named(&symbol.symbol).iter().filter(|found| found.is_code()).count())
}

/// Checks that the given symbol is a function and stays in memory.
fn is_function(tree: &KernelTree, objects: &Objects, symbol: &KlpSymbol) -> Result<(), Error> {
    let found = unique(tree, objects, symbol)?;
    if !found.is_code() {
        let kind = found.kind;
        return Err(refuse(
            tree,
            symbol,
            &format!(
                "it is no function (kallsyms has it as `{kind}`); a variable is named in `variables` of [imports]"
            ),
        ));
    }
    Ok(())
}

/// Checks that code or data is still in memory while a fix uses it.
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

/// Checks that the livepatch core will find exactly the given symbol. Returns this symbol.
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

/// Error for several functions with one name: BTF has at most one prototype and does not tell which function
/// it belongs to.
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

/// Checks that the author's prototype equals BTF's prototype.
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
