// SPDX-License-Identifier: GPL-2.0-or-later
//! Symbols of a kernel or of a module: by name, by address, and how the livepatch core counts them.

use klp_format::SymbolPosition;

use crate::error::ImageError;

/// Beginnings of names that objtool and the compiler give to the padding before functions.
pub(crate) const PADDING: [&str; 2] = ["__pfx_", "__cfi_"];

/// A symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address: in a kernel as linked (a running one adds the offset of KASLR), in a module the offset in its section.
    pub address: u64,
    /// What it is, as nm writes it: `t` or `T` for code, `d`, `D`, `r`, `R`, `b`, `B` for data, `w` or `W` for weak, `A` for
    /// absolute; capitals for global symbols.
    pub kind: char,
    /// Which of the symbols of this name it is, from 1, as the livepatch core counts them (`klp_find_callback`): in the
    /// order of kallsyms, over all kinds.
    pub position: SymbolPosition,
}

impl Symbol<'_> {
    /// Whether it names code.
    pub fn is_code(&self) -> bool {
        matches!(self.kind, 't' | 'T' | 'w' | 'W')
    }

    /// Whether it names the padding before a function, where call depth tracking or kCFI put something.
    pub fn is_padding(&self) -> bool {
        PADDING.iter().any(|start| self.name.starts_with(start))
    }
}

/// All symbols of a kernel or of a module, in the order of kallsyms.
///
/// # Invariants
/// All arrays but `names` have one entry per symbol. `by_name` holds the numbers of all symbols, ordered by name and then by
/// number.
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
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All of them, in the order of kallsyms.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The symbols of a name, in the order in which the livepatch core counts them: the first has position 1.
    pub fn named(&self, name: &str) -> Vec<Symbol<'_>> {
        self.numbers_of(name).iter().filter_map(|number| self.get(*number as usize)).collect()
    }

    /// Places of the symbols of a name in the order of kallsyms.
    pub(crate) fn numbers_of(&self, name: &str) -> &[u32] {
        let from = self.by_name.partition_point(|number| self.name(*number as usize) < name);
        let rest = self.by_name.get(from..).unwrap_or_default();
        let length = rest.partition_point(|number| self.name(*number as usize) == name);
        rest.get(..length).unwrap_or_default()
    }

    /// Names of the symbols right before and behind one of a name: those of the same source file, mostly. Padding and the
    /// compiler's variants are passed over.
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

    /// How many symbols have this name; the livepatch core asks for a position where it is more than one.
    pub fn count(&self, name: &str) -> usize {
        self.numbers_of(name).len()
    }

    /// Symbols whose names begin with `start`, in the order of their names.
    pub fn starting_with<'a>(&'a self, start: &'a str) -> impl Iterator<Item = Symbol<'a>> {
        let first = self.by_name.partition_point(|index| self.name(*index as usize) < start);
        let group = self.by_name.get(first..).unwrap_or_default().iter();
        group
            .map_while(move |index| self.get(*index as usize).filter(|symbol| symbol.name.starts_with(start)))
    }

    /// The symbols at exactly this address, aliases of each other. The kernel prints the first of them.
    pub fn at(&self, address: u64) -> impl Iterator<Item = Symbol<'_>> {
        let first = self.addresses.partition_point(|other| *other < address);
        (first..self.len()).map_while(move |index| self.get(index).filter(|symbol| symbol.address == address))
    }

    /// The symbol that the kernel prints for an address (`kallsyms_lookup`): the first of those with the greatest address
    /// that is not above it; and how far behind it the address lies.
    pub fn containing(&self, address: u64) -> Option<(Symbol<'_>, u64)> {
        let after = self.addresses.partition_point(|other| *other <= address);
        let start = *self.addresses.get(after.checked_sub(1)?)?;
        Some((self.at(start).next()?, address - start))
    }

    /// Whether addresses never fall: what [`Self::at`] and [`Self::containing`] take for granted.
    pub(crate) fn is_ordered(&self) -> bool {
        self.addresses.is_sorted()
    }

    /// The only symbol of this name: marks such as `_stext` and `__start_mcount_loc`.
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

    /// The symbol at this place in the order of kallsyms.
    pub(crate) fn get(&self, index: usize) -> Option<Symbol<'_>> {
        Some(Symbol {
            name: self.name(index),
            address: *self.addresses.get(index)?,
            kind: char::from(*self.kinds.get(index)?),
            position: SymbolPosition(*self.positions.get(index)?),
        })
    }

    /// As it is kept in the cache: numbers little-endian, [`Self::from_bytes`] reads it back.
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

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// It was something else that wrote it.
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

/// Puts [`Symbols`] together, symbol by symbol in the order of kallsyms.
#[derive(Default)]
pub(crate) struct Builder(Symbols);

impl Builder {
    pub(crate) fn push(&mut self, name: &str, kind: char, address: u64) {
        let symbols = &mut self.0;
        symbols.names.push_str(name);
        // A sum over the limit is refused by `finish`.
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
