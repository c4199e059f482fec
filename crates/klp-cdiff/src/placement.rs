// SPDX-License-Identifier: GPL-2.0-or-later
//! Proof that the compile of the unchanged source is the shipped code, and the addresses of all that this code uses.
//!
//! Each function of the object is compared with the shipped one, but for the relocated fields and the jump labels, which the
//! kernel's build and the kernel change. The fields of equal functions then show where each static function and variable of the
//! file is.

use std::collections::{BTreeMap, BTreeSet};

use crate::object::{Item, ItemId, Object, Relocation, length_at};
use crate::pairs::Compiled;
use crate::shipped::{Found, Place, Pointed, Shipped};
use crate::special::JUMPS;

/// A function whose compile is not the shipped code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Name of the function.
    pub function: String,
    /// First difference.
    pub what: MismatchKind,
}

/// Difference between a compiled function and the shipped one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MismatchKind {
    /// The kernel has no function of this name.
    Missing,
    /// The code differs from this offset on, in bytes, in the candidate that agrees longest.
    Code(u64),
}

/// Addresses of one object file in the shipped code.
#[derive(Default)]
pub(crate) struct Placement {
    /// Place of the start of each section.
    sections: BTreeMap<usize, Place>,
    /// Sections for which the code shows two places: nothing is known about them.
    contradicted: BTreeSet<usize>,
    /// References of the code to symbols of other files, by their names.
    outside: BTreeMap<String, Pointed>,
    /// Compared functions that are equal.
    pub(crate) identical: usize,
    /// Functions that are not equal.
    pub(crate) mismatches: Vec<Mismatch>,
    /// Weak functions that another file overrides.
    pub(crate) overridden: Vec<String>,
}

impl Placement {
    /// Compares an object file with the shipped code.
    pub(crate) fn of(original: &Compiled, shipped: &Shipped<'_>) -> Self {
        let mut placement = Self::default();
        let mut several = Vec::new();
        let mut placed: BTreeMap<ItemId, Place> = BTreeMap::new();
        let object = &original.object;
        for (id, item) in object.items.iter().enumerate().filter(|(_, item)| item.is_function()) {
            match matches(original, id, shipped) {
                Ok(found) if found.len() == 1 => {
                    placed.extend(found.first().map(|place| (id, *place)));
                }
                Ok(found) => several.push((id, found)),
                Err(_) if item.is_weak => placement.overridden.push(item.name.clone()),
                Err(what) => placement.mismatches.push(Mismatch { function: item.name.clone(), what }),
            }
        }
        placement.identical = placed.len() + several.len();
        for (id, place) in &placed {
            placement.collect(original, *id, *place, shipped);
        }
        // Of equal functions, the one that other code of the file refers to, or the one between its neighbours.
        for (id, found) in several {
            let item = &object.items[id];
            let referred = placement.sections.get(&item.section).map(|start| start.after(item.start));
            let chosen = referred
                .filter(|place| found.contains(place))
                .or_else(|| between(object, id, &placed, &found));
            if let Some(place) = chosen {
                placed.insert(id, place);
                placement.collect(original, id, place, shipped);
            }
        }
        placement
    }

    /// Accepts the functions that are equal in another compile of the same source.
    pub(crate) fn accept_equal(&mut self, original: &Compiled, other: &Compiled, shipped: &Shipped<'_>) {
        let mut left = Vec::new();
        for mismatch in std::mem::take(&mut self.mismatches) {
            let id = other.object.item(&mismatch.function);
            let found = id.and_then(|id| matches(other, id, shipped).ok()).unwrap_or_default();
            let item = original.object.item(&mismatch.function).map(|id| &original.object.items[id]);
            match (item, found.as_slice()) {
                (Some(item), [place]) => {
                    self.sections.entry(item.section).or_insert(place.before(item.start));
                    self.identical += 1;
                }
                _ => left.push(mismatch),
            }
        }
        self.mismatches = left;
    }

    /// Collects the addresses that a placed function shows.
    fn collect(&mut self, original: &Compiled, id: ItemId, place: Place, shipped: &Shipped<'_>) {
        let object = &original.object;
        let item = &object.items[id];
        self.add(item.section, place.before(item.start));
        for relocation in object.relocations_of(id) {
            let field = place.after(relocation.offset - item.start);
            let symbol = &object.symbols[relocation.symbol];
            let Some(pointed) = shipped.pointed(field, relocation) else { continue };
            match (symbol.section, pointed) {
                (None, pointed) => {
                    self.outside.entry(symbol.name.clone()).or_insert(pointed);
                }
                (Some(section), Pointed::Here(place)) => {
                    // The linker merges texts and constants.
                    if object.sections[section].entry_size == 0 {
                        self.add(section, place.before(symbol.value));
                    }
                }
                (Some(_), Pointed::Outside(_)) => {}
            }
        }
    }

    /// True if no function of the file is in the kernel. `is_built` tells that the Makefiles build it: then a function of the same
    /// name with other code is a fault, otherwise it is another file's.
    pub(crate) fn is_absent(&self, is_built: bool) -> bool {
        let is_other = |mismatch: &Mismatch| matches!(mismatch.what, MismatchKind::Missing) || !is_built;
        self.identical == 0 && self.mismatches.iter().all(is_other)
    }

    fn add(&mut self, section: usize, place: Place) {
        if *self.sections.entry(section).or_insert(place) != place {
            self.contradicted.insert(section);
        }
    }

    /// Place of an item; `None` if no function of the file shows it, or two show different ones.
    pub(crate) fn place(&self, item: &Item) -> Option<Place> {
        let known = self.sections.get(&item.section).filter(|_| !self.contradicted.contains(&item.section));
        known.map(|start| start.after(item.start))
    }

    /// Symbol of the shipped code for an item of the original.
    pub(crate) fn symbol(&self, item: &Item, shipped: &Shipped<'_>) -> Option<Found> {
        let of_kind = |found: &Found| found.is_code == item.is_function();
        let names = || std::iter::once(&item.name).chain(&item.aliases);
        if let Some(place) = self.place(item) {
            let found = shipped.at(place);
            let exact = names().find_map(|name| found.iter().find(|found| &found.name == name));
            let base = |found: &&Found| {
                crate::object::base_name(&found.name) == crate::object::base_name(&item.name)
            };
            return exact.or_else(|| found.iter().find(base)).cloned();
        }
        // Without an address only a name that is there once tells.
        match shipped.named(&item.name).as_slice() {
            [found] if of_kind(found) => Some(found.clone()),
            _ => None,
        }
    }

    /// Reference of the shipped code to a symbol of another file.
    pub(crate) fn outside(&self, name: &str) -> Option<&Pointed> {
        self.outside.get(name)
    }
}

/// Places of the shipped functions that are equal to a function of the object.
fn matches(original: &Compiled, id: ItemId, shipped: &Shipped<'_>) -> Result<Vec<Place>, MismatchKind> {
    let object = &original.object;
    let item = &object.items[id];
    let names = std::iter::once(&item.name).chain(&item.aliases);
    let mut candidates: Vec<Place> = names
        .flat_map(|name| shipped.named(name))
        .filter(|found| found.is_code)
        .map(|found| found.place)
        .collect();
    candidates.sort_unstable();
    candidates.dedup();
    let masks = masks(original, id);
    let mut longest = None;
    let mut equal = Vec::new();
    for place in candidates {
        match first_difference(object, id, &masks, shipped, place) {
            None => equal.push(place),
            Some(at) => longest = longest.max(Some(at)),
        }
    }
    match (equal.is_empty(), longest) {
        (false, _) => Ok(equal),
        (true, None) => Err(MismatchKind::Missing),
        (true, Some(at)) => Err(MismatchKind::Code(at)),
    }
}

/// Ranges of a function that the kernel's build and the kernel change, as offsets in the function.
fn masks(original: &Compiled, id: ItemId) -> Vec<std::ops::Range<u64>> {
    let object = &original.object;
    let item = &object.items[id];
    let field = |relocation: &Relocation| {
        let from = relocation.offset - item.start;
        from..from + relocation.size()
    };
    let jump = |at: i64| {
        let at = u64::try_from(at).ok()?;
        Some(at..at + length_at(&object.sections[item.section], item.start + at))
    };
    let jumps = original
        .entries_of(id)
        .iter()
        .filter(|entry| object.sections[entry.section].name == JUMPS)
        .filter_map(|entry| jump(entry.at));
    object.relocations_of(id).iter().map(field).chain(jumps).collect()
}

/// Offset of the first byte of a function that differs from the shipped code.
fn first_difference(
    object: &Object,
    id: ItemId,
    masks: &[std::ops::Range<u64>],
    shipped: &Shipped<'_>,
    place: Place,
) -> Option<u64> {
    let item = &object.items[id];
    let mut mine = object.sections[item.section].bytes(item.range()).to_vec();
    let Some(theirs) = shipped.bytes(place, item.size) else { return Some(0) };
    let mut theirs = theirs.to_vec();
    for mask in masks {
        let range =
            usize::try_from(mask.start).unwrap_or(0)..usize::try_from(mask.end).unwrap_or(0).min(mine.len());
        for bytes in [&mut mine, &mut theirs] {
            if let Some(bytes) = bytes.get_mut(range.clone()) {
                bytes.fill(0);
            }
        }
    }
    mine.iter().zip(&theirs).position(|(a, b)| a != b).map(|at| at as u64)
}

/// The one place of several that lies between the functions before and after in the file.
fn between(object: &Object, id: ItemId, placed: &BTreeMap<ItemId, Place>, found: &[Place]) -> Option<Place> {
    let same_kind = |other: &ItemId| kind_of(object, *other) == kind_of(object, id);
    let before = placed.range(..id).rev().find(|(other, _)| same_kind(other)).map(|(_, place)| *place);
    let after = placed.range(id + 1..).find(|(other, _)| same_kind(other)).map(|(_, place)| *place);
    let fits = |place: &&Place| {
        let beside = before.or(after).is_some_and(|other| other.section == place.section);
        beside && before.is_none_or(|before| before < **place) && after.is_none_or(|after| **place < after)
    };
    let (before_known, after_known) = (before.is_some(), after.is_some());
    let mut fitting = found.iter().filter(fits);
    let chosen = *fitting.next()?;
    (fitting.next().is_none() && before_known && after_known).then_some(chosen)
}

/// Section of the shipped code that the linker puts a function into.
fn kind_of(object: &Object, id: ItemId) -> &str {
    const KINDS: [&str; 4] = [".text.unlikely", ".init.text", ".exit.text", ".noinstr.text"];
    let name = object.sections[object.items[id].section].name.as_str();
    KINDS.iter().find(|kind| name.starts_with(**kind)).copied().unwrap_or(".text")
}
