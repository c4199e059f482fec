// SPDX-License-Identifier: GPL-2.0-or-later
//! Places in a module: sections, offsets, bytes.

use klp_module::{Module, Place, Symbol, SymbolSection};

/// Place of a symbol plus addend; `None` for a symbol outside of the module.
pub(crate) fn place_of(module: &Module<'_>, symbol: usize, addend: i64) -> Option<Place> {
    let symbol = &module.symbols()[symbol];
    Some(Place { section: section_of(symbol)?, offset: symbol.value.wrapping_add_signed(addend) })
}

/// Index of the section that defines a symbol.
pub(crate) fn section_of(symbol: &Symbol<'_>) -> Option<usize> {
    match symbol.section {
        SymbolSection::Section(section) => Some(section),
        _ => None,
    }
}

/// Bytes of a section; `None` if they are not all inside.
pub(crate) fn range(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

/// A place as text for messages: section, offset and function.
pub(crate) fn describe_place(module: &Module<'_>, section: usize, offset: u64) -> String {
    let section_name = module.sections()[section].name;
    match module.function_at(section, offset) {
        Some(function) => format!("{section_name}+{offset:#x} ({})", function.name),
        None => format!("{section_name}+{offset:#x}"),
    }
}
