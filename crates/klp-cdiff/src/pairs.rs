// SPDX-License-Identifier: GPL-2.0-or-later
//! Pairs of the functions and variables of two compiles of one file, and which functions differ.
//!
//! The compiler numbers the static variables of functions (`count.7`) and the names of `__UNIQUE_ID`; a change anywhere in the
//! file moves the numbers. So these are paired by their uses: in functions of one shape place by place, in the others in the
//! order of the first use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::object::{
    Damaged, Flow, Instructions, Item, ItemId, ItemKind, Object, Relocation, Section, Target, base_name,
    instructions, is_numbered,
};
use crate::special::{self, Entry, without_fields};

/// One compile: the object and the entries of its functions in special sections.
pub(crate) struct Compiled {
    pub(crate) object: Object,
    pub(crate) entries: BTreeMap<ItemId, Vec<Entry>>,
    /// Functions with entries in a section of unknown purpose, and its name.
    pub(crate) unknown: BTreeMap<ItemId, String>,
}

impl Compiled {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Damaged> {
        let object = Object::parse(bytes)?;
        let entries = special::entries(&object)?;
        let unknown = special::unknown(&object);
        Ok(Self { object, entries, unknown })
    }

    pub(crate) fn entries_of(&self, id: ItemId) -> &[Entry] {
        self.entries.get(&id).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Names of constants that the compiler makes, and of texts of a macro (`NL_SET_ERR_MSG`): they are compared by content, and copied.
const BY_CONTENT: [&str; 7] =
    ["__func__", "__FUNCTION__", "__PRETTY_FUNCTION__", "CSWTCH", "C", "__UNIQUE_ID_ptr", "__msg"];
/// Names of variables of macros, which hold state that may start anew: once-flags, lockdep's keys, rate limits, descriptors of
/// dynamic debugging.
const START_ANEW: [&str; 7] =
    ["__already_done", "__warned", "__print_once", "__key", "_rs", "__UNIQUE_ID_ddebug", "__ret_warn_once"];

/// Pairs of items.
#[derive(Default)]
pub(crate) struct Pairs {
    /// Item of the original by item of the patched object.
    original: BTreeMap<ItemId, ItemId>,
    /// Item of the patched object by item of the original.
    patched: BTreeMap<ItemId, ItemId>,
    /// Numbered items of the patched object that may be one of several of the original.
    ambiguous: BTreeSet<ItemId>,
}

impl Pairs {
    fn add(&mut self, original: ItemId, patched: ItemId) {
        if !self.original.contains_key(&patched) && !self.patched.contains_key(&original) {
            self.original.insert(patched, original);
            self.patched.insert(original, patched);
        }
    }

    /// The same item in the original.
    pub(crate) fn original(&self, patched: ItemId) -> Option<ItemId> {
        self.original.get(&patched).copied()
    }

    /// The same item in the patched object.
    pub(crate) fn patched(&self, original: ItemId) -> Option<ItemId> {
        self.patched.get(&original).copied()
    }

    /// Takes a pair apart: the patched item is new.
    pub(crate) fn part(&mut self, original: ItemId, patched: ItemId) {
        self.original.remove(&patched);
        self.patched.remove(&original);
    }

    /// True if the item may be one of several of the original.
    pub(crate) fn is_ambiguous(&self, patched: ItemId) -> bool {
        self.ambiguous.contains(&patched)
    }
}

/// First difference of two functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The sizes differ.
    Size { original: u64, patched: u64 },
    /// The code differs at this offset.
    Code { at: u64 },
    /// The code at this offset refers to something else.
    Reference { at: u64 },
    /// An entry of this special section differs.
    Entry { section: String },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { original, patched } => write!(f, "{original} bytes, {patched} with the diff"),
            Self::Code { at } => write!(f, "the code differs from byte {at} on"),
            Self::Reference { at } => write!(f, "byte {at} refers to something else"),
            Self::Entry { section } => write!(f, "an entry in section {section} differs"),
        }
    }
}

/// Range of a section, with the instructions of its relocated fields.
type Part<'s> = (&'s Section, std::ops::Range<u64>, &'s Instructions);

/// Two compiles of one file.
pub(crate) struct Comparison<'c> {
    pub(crate) original: &'c Compiled,
    pub(crate) patched: &'c Compiled,
    pub(crate) pairs: Pairs,
}

impl<'c> Comparison<'c> {
    pub(crate) fn new(original: &'c Compiled, patched: &'c Compiled) -> Self {
        let mut comparison = Self { original, patched, pairs: Pairs::default() };
        comparison.pair_names();
        comparison.pair_places();
        comparison.pair_uses();
        comparison
    }

    /// Pairs what the source names.
    fn pair_names(&mut self) {
        let names: BTreeMap<(&str, bool), ItemId> = self
            .original
            .object
            .items
            .iter()
            .enumerate()
            .filter(|(_, item)| named_by_source(item))
            .map(|(id, item)| ((item.name.as_str(), item.is_function()), id))
            .collect();
        for (id, item) in
            self.patched.object.items.iter().enumerate().filter(|(_, item)| named_by_source(item))
        {
            if let Some(original) = names.get(&(item.name.as_str(), item.is_function())) {
                self.pairs.add(*original, id);
            }
        }
    }

    /// Paired functions: original and patched.
    pub(crate) fn functions(&self) -> Vec<(ItemId, ItemId)> {
        let pairs = self.pairs.original.iter().map(|(patched, original)| (*original, *patched));
        pairs.filter(|(original, _)| self.original.object.items[*original].is_function()).collect()
    }

    /// Paired variables: original and patched.
    pub(crate) fn variables(&self) -> Vec<(ItemId, ItemId)> {
        let pairs = self.pairs.original.iter().map(|(patched, original)| (*original, *patched));
        pairs.filter(|(original, _)| !self.original.object.items[*original].is_function()).collect()
    }

    /// True if code alone refers to a variable in both compiles, and the variable refers to nothing.
    pub(crate) fn may_be_replaced(&self, original: ItemId, patched: ItemId) -> bool {
        let by_data = |compiled: &Compiled, id: ItemId| {
            let object = &compiled.object;
            let data = object.sections.iter().filter(|section| section.is_alloc() && !section.is_code());
            data.flat_map(|section| &section.relocations)
                .any(|relocation| matches!(object.target(relocation, None), Target::Item(target, _) if target == id))
        };
        let refers = |compiled: &Compiled, id: ItemId| !compiled.object.relocations_of(id).is_empty();
        [(self.original, original), (self.patched, patched)]
            .into_iter()
            .all(|(compiled, id)| !by_data(compiled, id) && !refers(compiled, id))
    }

    /// True if the unchanged object takes the address of a symbol of another file.
    pub(crate) fn original_takes_address(&self, name: &str) -> bool {
        let object = &self.original.object;
        let is_it = |relocation: &Relocation| object.symbols[relocation.symbol].name == name;
        let data = object.sections.iter().filter(|section| section.is_alloc() && !section.is_code());
        let mut functions = object.items.iter().enumerate().filter(|(_, item)| item.is_function());
        data.flat_map(|section| &section.relocations).any(is_it)
            || functions.any(|(id, item)| {
                object.relocations_of(id).iter().any(|relocation| {
                    let flow = item.instructions.get(&relocation.offset).map(|found| found.flow);
                    is_it(relocation) && flow == Some(Flow::Other)
                })
            })
    }

    /// True if the unchanged object only calls a function and jumps to it: nothing has its address.
    pub(crate) fn only_branches_use(&self, original: ItemId) -> bool {
        let object = &self.original.object;
        let is_it = |target: &Target<'_>| matches!(target, Target::Item(target, _) if *target == original);
        let data = object.sections.iter().filter(|section| {
            section.is_alloc() && !section.is_code() && !special::is_special(&section.name)
        });
        let in_data = data
            .flat_map(|section| &section.relocations)
            .any(|relocation| is_it(&object.target(relocation, None)));
        let functions = object.items.iter().enumerate().filter(|(_, item)| item.is_function());
        let mut in_code = functions.flat_map(|(id, item)| {
            object.relocations_of(id).iter().filter(move |relocation| {
                is_it(&object.target_in(id, relocation))
                    && id != original
                    && item.instructions.get(&relocation.offset).is_none_or(|found| found.flow == Flow::Other)
            })
        });
        !in_data && in_code.next().is_none()
    }

    /// Pairs numbered items that functions of one shape use at one place.
    fn pair_places(&mut self) {
        for (original, patched) in self.functions() {
            let (a, b) =
                (self.original.object.relocations_of(original), self.patched.object.relocations_of(patched));
            let offset = |compiled: &Compiled, id: ItemId| compiled.object.items[id].start;
            let shape = |list: &[Relocation], start: u64| -> Vec<(u64, u32)> {
                list.iter().map(|relocation| (relocation.offset - start, relocation.kind)).collect()
            };
            let same = shape(a, offset(self.original, original)) == shape(b, offset(self.patched, patched));
            if !same || self.original.object.items[original].size != self.patched.object.items[patched].size {
                continue;
            }
            for (a, b) in a.iter().zip(b) {
                let targets =
                    (self.original.object.target_in(original, a), self.patched.object.target_in(patched, b));
                if let (Target::Item(a, _), Target::Item(b, _)) = targets
                    && self.may_pair(a, b)
                {
                    self.pairs.add(a, b);
                }
            }
        }
    }

    /// True if two items are numbered, and equal but for the numbers.
    fn may_pair(&self, original: ItemId, patched: ItemId) -> bool {
        let (a, b) = (&self.original.object.items[original], &self.patched.object.items[patched]);
        !named_by_source(a)
            && !named_by_source(b)
            && !is_by_content(a)
            && a.kind == b.kind
            && a.size == b.size
            && base_name(&a.name) == base_name(&b.name)
    }

    /// Pairs the other numbered items in the order in which a function uses them first.
    fn pair_uses(&mut self) {
        for (original, patched) in self.functions() {
            let a = numbered_uses(self.original, original, |id| self.pairs.patched(id).is_some());
            let b = numbered_uses(self.patched, patched, |id| self.pairs.original(id).is_some());
            for (base, patched) in &b {
                let original = a.get(base).map(Vec::as_slice).unwrap_or_default();
                if original.len() == patched.len() {
                    for (original, patched) in original.iter().zip(patched) {
                        if self.may_pair(*original, *patched) {
                            self.pairs.add(*original, *patched);
                        }
                    }
                } else if !original.is_empty() && !START_ANEW.contains(base) {
                    self.pairs.ambiguous.extend(patched);
                }
            }
        }
    }

    /// First difference of two paired functions, with their unlikely parts.
    pub(crate) fn difference(&self, original: ItemId, patched: ItemId) -> Option<Difference> {
        self.difference_of_one(original, patched).or_else(|| {
            match (self.original.object.cold(original), self.patched.object.cold(patched)) {
                (None, None) => None,
                (Some(a), Some(b)) => self.difference_of_one(a, b),
                (a, b) => {
                    let size = |compiled: &Compiled, id: Option<ItemId>| {
                        id.map_or(0, |id| compiled.object.items[id].size)
                    };
                    Some(Difference::Size {
                        original: size(self.original, a),
                        patched: size(self.patched, b),
                    })
                }
            }
        })
    }

    fn difference_of_one(&self, original: ItemId, patched: ItemId) -> Option<Difference> {
        let (a, b) = (&self.original.object.items[original], &self.patched.object.items[patched]);
        if a.size != b.size {
            return Some(Difference::Size { original: a.size, patched: b.size });
        }
        let (from, to) =
            (&self.original.object.sections[a.section], &self.patched.object.sections[b.section]);
        let code = (without_fields(from, a.range()), without_fields(to, b.range()));
        if let Some(at) = code.0.iter().zip(&code.1).position(|(a, b)| a != b) {
            return Some(Difference::Code { at: at as u64 });
        }
        if let Some(at) =
            self.reference(&(from, a.range(), &a.instructions), &(to, b.range(), &b.instructions))
        {
            return Some(Difference::Reference { at });
        }
        let (mine, theirs) = (self.original.entries_of(original), self.patched.entries_of(patched));
        let longer =
            mine.iter().skip(theirs.len()).map(|entry| &self.original.object.sections[entry.section].name);
        let other =
            theirs.iter().skip(mine.len()).map(|entry| &self.patched.object.sections[entry.section].name);
        if let Some(section) = longer.chain(other).next() {
            return Some(Difference::Entry { section: section.clone() });
        }
        mine.iter().zip(theirs).find(|(a, b)| !self.same_entry(a, b)).map(|(a, _)| Difference::Entry {
            section: self.original.object.sections[a.section].name.clone(),
        })
    }

    /// Offset of the first relocation of two parts that is not the same.
    fn reference(&self, a: &Part<'_>, b: &Part<'_>) -> Option<u64> {
        let (mine, theirs) = (a.0.relocations_in(a.1.clone()), b.0.relocations_in(b.1.clone()));
        for (x, y) in mine.iter().zip(theirs) {
            let at = x.offset - a.1.start;
            let same_field = at == y.offset - b.1.start && x.kind == y.kind;
            let targets = (
                self.original.object.target(x, a.2.get(&x.offset)),
                self.patched.object.target(y, b.2.get(&y.offset)),
            );
            if !same_field || !self.same_target(&targets.0, &targets.1, 0) {
                return Some(at);
            }
        }
        let more = mine.get(theirs.len()).map(|relocation| relocation.offset - a.1.start);
        more.or_else(|| theirs.get(mine.len()).map(|relocation| relocation.offset - b.1.start))
    }

    fn same_entry(&self, a: &Entry, b: &Entry) -> bool {
        let name = |compiled: &Compiled, entry: &Entry| compiled.object.sections[entry.section].name.clone();
        if name(self.original, a) != name(self.patched, b)
            || a.at != b.at
            || a.content(&self.original.object) != b.content(&self.patched.object)
        {
            return false;
        }
        let (mine, theirs) = (a.relocations(&self.original.object), b.relocations(&self.patched.object));
        let length = a.replacement(&self.original.object);
        mine.len() == theirs.len()
            && mine.iter().zip(theirs).all(|(x, y)| {
                let targets = (self.original.object.target(x, None), self.patched.object.target(y, None));
                self.same_target(&targets.0, &targets.1, length)
            })
    }

    /// True if two places are the same. `length` is that of code in a section without names.
    pub(crate) fn same_target(&self, a: &Target<'_>, b: &Target<'_>, length: u64) -> bool {
        match (a, b) {
            (Target::Item(a, at), Target::Item(b, other)) if at == other => {
                self.pairs.original(*b) == Some(*a) || self.same_content(*a, *b)
            }
            (Target::Place(a, at), Target::Place(b, other)) => {
                self.same_code((*a, *at), (*b, *other), length)
            }
            (Target::Item(..), Target::Item(..)) => false,
            _ => a == b,
        }
    }

    /// True if two constants of the compiler have one content.
    pub(crate) fn same_content(&self, original: ItemId, patched: ItemId) -> bool {
        let (a, b) = (&self.original.object.items[original], &self.patched.object.items[patched]);
        let of_compiler = is_by_content(a) && is_by_content(b) && base_name(&a.name) == base_name(&b.name);
        of_compiler && a.size == b.size && self.same_data(original, patched)
    }

    /// True if two variables have one content.
    pub(crate) fn same_data(&self, original: ItemId, patched: ItemId) -> bool {
        let (a, b) = (&self.original.object.items[original], &self.patched.object.items[patched]);
        let (from, to) =
            (&self.original.object.sections[a.section], &self.patched.object.sections[b.section]);
        let none = Instructions::new();
        a.size == b.size
            && without_fields(from, a.range()) == without_fields(to, b.range())
            && self.reference(&(from, a.range(), &none), &(to, b.range(), &none)).is_none()
    }

    /// True if two ranges of code without names are the same: replacements of alternatives, and what runs before them.
    fn same_code(&self, a: (usize, i64), b: (usize, i64), length: u64) -> bool {
        let (from, to) = (&self.original.object.sections[a.0], &self.patched.object.sections[b.0]);
        let (Ok(start), Ok(other)) = (u64::try_from(a.1), u64::try_from(b.1)) else { return false };
        let (mine, theirs) = if from.name == special::BEFORE_ALTERNATIVES {
            (special::before_alternatives(from, start), special::before_alternatives(to, other))
        } else {
            (start..start + length, other..other + length)
        };
        from.name == to.name
            && without_fields(from, mine.clone()) == without_fields(to, theirs.clone())
            && self
                .reference(
                    &(from, mine.clone(), &instructions(from, mine)),
                    &(to, theirs.clone(), &instructions(to, theirs)),
                )
                .is_none()
    }
}

/// True if the source names the item, so that its name is the same in both compiles.
fn named_by_source(item: &Item) -> bool {
    item.kind != ItemKind::Nameless
        && (item.is_function() || !is_numbered(&item.name))
        && !is_by_content(item)
}

/// True if the item is a constant of the compiler.
pub(crate) fn is_by_content(item: &Item) -> bool {
    item.kind == ItemKind::Nameless
        || (!item.is_function() && is_numbered(&item.name) && BY_CONTENT.contains(&base_name(&item.name)))
}

/// True if the state of the item may start anew.
pub(crate) fn may_start_anew(item: &Item) -> bool {
    START_ANEW.contains(&base_name(&item.name))
}

/// Numbered items that a function uses, by their names without numbers, in the order of the first use.
fn numbered_uses(
    compiled: &Compiled,
    function: ItemId,
    is_paired: impl Fn(ItemId) -> bool,
) -> BTreeMap<&str, Vec<ItemId>> {
    let object = &compiled.object;
    let mut uses: BTreeMap<&str, Vec<ItemId>> = BTreeMap::new();
    let parts = [Some(function), object.cold(function)];
    for part in parts.into_iter().flatten() {
        for relocation in object.relocations_of(part) {
            let Target::Item(id, _) = object.target_in(part, relocation) else { continue };
            let item = &object.items[id];
            if named_by_source(item) || is_by_content(item) || is_paired(id) {
                continue;
            }
            let list = uses.entry(base_name(&item.name)).or_default();
            if !list.contains(&id) {
                list.push(id);
            }
        }
    }
    uses
}
