// SPDX-License-Identifier: GPL-2.0-or-later
//! Symbols of a kernel or of a module: by name, by address, and by symbol position.

use klp_format::SymbolPosition;

use crate::error::ImageError;

/// Name prefixes of the padding before functions, from objtool and the compiler.
pub(crate) const PADDING: [&str; 2] = ["__pfx_", "__cfi_"];

/// A symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Symbol name.
    pub name: &'a str,
    /// Address. In a kernel: address at link time (a running kernel adds the KASLR offset). In a module: offset in the
    /// section.
    pub address: u64,
    /// Kind as a letter of nm: `t` or `T` for code; `d`, `D`, `r`, `R`, `b`, `B` for data; `w` or `W` for weak; `A` for
    /// absolute. Capital letters are global symbols.
    pub kind: char,
    /// Symbol position, from 1, as counted by the livepatch core (`klp_find_callback`): in the order of kallsyms, over
    /// symbols of all kinds.
    pub position: SymbolPosition,
}

impl Symbol<'_> {
    /// True if the symbol is code.
    pub fn is_code(&self) -> bool {
        matches!(self.kind, 't' | 'T' | 'w' | 'W')
    }

    /// True if the symbol is the padding before a function, used by call depth tracking or kCFI.
    pub fn is_padding(&self) -> bool {
        PADDING.iter().any(|start| self.name.starts_with(start))
    }
}

/// All symbols of a kernel or of a module, in the order of kallsyms.
///
/// # Invariants
/// All arrays except `names` have one entry per symbol. `by_name` holds the indexes of all symbols, ordered by name and
/// then by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    names: String,
    ends: Vec<u32>,
    kinds: Vec<u8>,
    addresses: Vec<u64>,
    positions: Vec<u32>,
    by_name: Vec<u32>,
}

impl Symbols {
    /// Number of symbols.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there are no symbols.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All symbols in the order of kallsyms.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Symbols with this name, in the order of the livepatch core: the first has position 1.
    pub fn named(&self, name: &str) -> Vec<Symbol<'_>> {
        self.numbers_of(name).iter().filter_map(|number| self.get(*number as usize)).collect()
    }

    /// Indexes of the symbols with this name, in the order of kallsyms.
    pub(crate) fn numbers_of(&self, name: &str) -> &[u32] {
        let from = self.by_name.partition_point(|number| self.name(*number as usize) < name);
        let rest = self.by_name.get(from..).unwrap_or_default();
        let length = rest.partition_point(|number| self.name(*number as usize) == name);
        rest.get(..length).unwrap_or_default()
    }

    /// Names of the symbols before and after a symbol; both are usually of the same source file. Padding and compiler
    /// variants are skipped.
    pub fn beside(&self, position: SymbolPosition, name: &str) -> (Option<&str>, Option<&str>) {
        let numbers = self.numbers_of(name);
        let Some(at) = numbers.get((position.0 as usize).wrapping_sub(1)) else { return (None, None) };
        let telling = |number: &usize| {
            let symbol = self.get(*number);
            symbol.is_some_and(|symbol| {
                symbol.name != name && !symbol.is_padding() && !symbol.name.contains('.')
            })
        };
        let at = *at as usize;
        let before = (0..at).rev().find(telling).map(|number| self.name(number));
        let after = (at + 1..self.len()).find(telling).map(|number| self.name(number));
        (before, after)
    }

    /// Number of symbols with this name; if it is more than one, the livepatch core requires a symbol position.
    pub fn count(&self, name: &str) -> usize {
        self.numbers_of(name).len()
    }

    /// Symbols whose names start with `start`, in name order.
    pub fn starting_with<'a>(&'a self, start: &'a str) -> impl Iterator<Item = Symbol<'a>> {
        let first = self.by_name.partition_point(|index| self.name(*index as usize) < start);
        let group = self.by_name.get(first..).unwrap_or_default().iter();
        group
            .map_while(move |index| self.get(*index as usize).filter(|symbol| symbol.name.starts_with(start)))
    }

    /// Symbols at exactly this address (aliases). The kernel prints the first one.
    pub fn at(&self, address: u64) -> impl Iterator<Item = Symbol<'_>> {
        let first = self.addresses.partition_point(|other| *other < address);
        (first..self.len()).map_while(move |index| self.get(index).filter(|symbol| symbol.address == address))
    }

    /// Symbol that the kernel prints for an address (`kallsyms_lookup`): the first symbol at the greatest address not
    /// above it; and the offset of the address from that symbol.
    pub fn containing(&self, address: u64) -> Option<(Symbol<'_>, u64)> {
        let after = self.addresses.partition_point(|other| *other <= address);
        let start = *self.addresses.get(after.checked_sub(1)?)?;
        Some((self.at(start).next()?, address - start))
    }

    /// Lowest address of a symbol above an address. The addresses of a kernel's symbols are in ascending order.
    pub fn next(&self, address: u64) -> Option<u64> {
        self.addresses.get(self.addresses.partition_point(|other| *other <= address)).copied()
    }

    /// True if addresses are in ascending order, as [`Self::at`] and [`Self::containing`] require.
    pub(crate) fn is_ordered(&self) -> bool {
        self.addresses.is_sorted()
    }

    /// Address of a symbol with a unique name, such as `_stext` or `__start_mcount_loc`.
    pub(crate) fn mark(&self, name: &str) -> Result<u64, ImageError> {
        match self.named(name).as_slice() {
            [symbol] => Ok(symbol.address),
            [] => Err(ImageError::Missing(format!("symbol {name}"))),
            several => Err(ImageError::Damaged(format!("it has {} symbols {name}", several.len()))),
        }
    }

    fn name(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = start.zip(self.ends.get(index));
        range.and_then(|(start, end)| self.names.get(start as usize..*end as usize)).unwrap_or_default()
    }

    /// Symbol with this index in the order of kallsyms.
    pub(crate) fn get(&self, index: usize) -> Option<Symbol<'_>> {
        Some(Symbol {
            name: self.name(index),
            address: *self.addresses.get(index)?,
            kind: char::from(*self.kinds.get(index)?),
            position: SymbolPosition(*self.positions.get(index)?),
        })
    }

    /// Serialised form for the cache, with little-endian numbers; see [`Self::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.names.len() + 21 * self.len() + 16);
        bytes.extend((self.len() as u64).to_le_bytes());
        bytes.extend((self.names.len() as u64).to_le_bytes());
        bytes.extend(self.addresses.iter().flat_map(|number| number.to_le_bytes()));
        for table in [&self.ends, &self.positions, &self.by_name] {
            bytes.extend(table.iter().flat_map(|number| number.to_le_bytes()));
        }
        bytes.extend(&self.kinds);
        bytes.extend(self.names.as_bytes());
        bytes
    }

    /// Parses the output of [`Self::to_bytes`].
    ///
    /// # Errors
    /// The bytes were not written by [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        Self::read(bytes)
            .ok_or_else(|| ImageError::Damaged("its index of symbols is cut or foreign".to_owned()))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut number = || {
            let (number, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            usize::try_from(u64::from_le_bytes(*number)).ok()
        };
        let (count, length) = (number()?, number()?);
        let mut take = |size: usize| {
            let (taken, after) = rest.split_at_checked(count.checked_mul(size)?)?;
            rest = after;
            Some(taken)
        };
        let addresses = take(8)?.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let mut table = || {
            let numbers = take(4)?.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
            Some(numbers.collect::<Vec<u32>>())
        };
        let (ends, positions, by_name) = (table()?, table()?, table()?);
        let kinds = take(1)?.to_vec();
        let names = String::from_utf8(rest.to_vec()).ok().filter(|names| names.len() == length)?;
        Some(Self { names, ends, kinds, addresses, positions, by_name })
    }
}

/// Builder of [`Symbols`]; symbols are added in the order of kallsyms.
#[derive(Default)]
pub(crate) struct Builder(Symbols);

impl Builder {
    pub(crate) fn push(&mut self, name: &str, kind: char, address: u64) {
        let symbols = &mut self.0;
        symbols.names.push_str(name);
        // `finish` rejects a total above the limit.
        symbols.ends.push(u32::try_from(symbols.names.len()).unwrap_or(u32::MAX));
        symbols.kinds.push(u8::try_from(kind).unwrap_or(b'?'));
        symbols.addresses.push(address);
    }

    pub(crate) fn finish(self) -> Result<Symbols, ImageError> {
        let mut symbols = self.0;
        let count = u32::try_from(symbols.len()).ok().filter(|_| symbols.names.len() < u32::MAX as usize);
        let count = count.ok_or_else(|| ImageError::Damaged("it has too many symbols".to_owned()))?;
        let mut by_name: Vec<u32> = (0..count).collect();
        by_name.sort_by(|a, b| symbols.name(*a as usize).cmp(symbols.name(*b as usize)));
        symbols.positions = vec![0; symbols.len()];
        let mut positions = std::mem::take(&mut symbols.positions);
        for group in by_name.chunk_by(|a, b| symbols.name(*a as usize) == symbols.name(*b as usize)) {
            for (position, index) in (1..).zip(group) {
                if let Some(slot) = positions.get_mut(*index as usize) {
                    *slot = position;
                }
            }
        }
        symbols.positions = positions;
        symbols.by_name = by_name;
        Ok(symbols)
    }
}
