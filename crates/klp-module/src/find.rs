// SPDX-License-Identifier: GPL-2.0-or-later
//! Location and entry sizes of livepatch tables in modules without the symbol of Ferrograft.
//!
//! Source: `include/linux/livepatch.h` of Linux 5.5 to 7.3. In each structure the members that a patch fills in come
//! first, at the same offsets; the internal members after them differ in size.

use std::collections::{BTreeMap, BTreeSet};

use crate::elf::{Machine, Relocation, SymbolKind, SymbolSection};
use crate::error::TableError;
use crate::module::Module;
use crate::table::{self, KlpLayout, PatchTable, Place};

/// Symbol of the `struct klp_patch` in modules of Ferrograft (`klp::patch!` in `kmod/src/core/tables.rs`).
pub const PATCH_SYMBOL: &str = "__klp_patch";

/// Kernel function that takes the `struct klp_patch`.
const ENABLE: &str = "klp_enable_patch";
/// Symbol of `struct module` (`THIS_MODULE`).
const THIS_MODULE: &str = "__this_module";
const POINTER: u64 = 8;
/// Member offsets of `struct klp_patch`: mod, objs, states, replace.
const PATCH: (u64, u64, u64, u64) = (0, 8, 16, 24);
/// Size of `struct klp_patch` up to the last member that a patch fills in, in bytes.
const PATCH_SIZE: u64 = 25;
/// Pointers of `struct klp_object`: name, funcs, and four callbacks.
const OBJECT_POINTERS: [u64; 6] = [0, 8, 16, 24, 32, 40];
/// Pointers of `struct klp_func`: old_name, new_func. The next member, old_sympos, is a number.
const FUNC_POINTERS: [u64; 2] = [0, 8];
/// Size of `struct klp_state`: id, version, data. The structure has no internal members.
const STATE_SIZE: u64 = 24;
/// Maximum distance of the argument load before the call, in bytes, if no function symbol limits it.
const NEAR: u64 = 64;

impl Module<'_> {
    /// Reads the livepatch tables of any module: those of [`PATCH_SYMBOL`], else those that the module passes to
    /// `klp_enable_patch`.
    ///
    /// # Errors
    /// As [`Self::patch_table`]; or the argument cannot be determined.
    pub fn tables(&self, layout: &KlpLayout) -> Result<PatchTable, TableError> {
        match self.symbol(PATCH_SYMBOL) {
            Some(_) => table::read(self, layout, PATCH_SYMBOL),
            None => table::read_at(self, layout, patch(self)?),
        }
    }

    /// Like [`Self::tables`], without the layout of the kernel. The members that a patch fills in have had fixed offsets
    /// since Linux 5.5; the sizes are derived from the entries with relocations.
    ///
    /// # Errors
    /// As [`Self::tables`]; or a table has no symbol with a size, for example because local symbols were stripped.
    pub fn tables_by_relocation(&self) -> Result<PatchTable, TableError> {
        let patch = patch(self)?;
        table::read_at(self, &layout(self, patch)?, patch)
    }
}

/// Location of the `struct klp_patch`: the symbol [`PATCH_SYMBOL`], else the argument of `klp_enable_patch`, else the
/// only structure with the form of a patch.
pub(crate) fn patch(module: &Module<'_>) -> Result<Place, TableError> {
    let named = module.symbol(PATCH_SYMBOL).and_then(|symbol| place(module, symbol.index, 0));
    let found = named.or_else(|| argument(module)).or_else(|| only_candidate(module));
    found.ok_or(TableError::NoArgument { symbol: PATCH_SYMBOL })
}

/// Address that is loaded last into the first argument register before the call of `klp_enable_patch`.
fn argument(module: &Module<'_>) -> Option<Place> {
    let enable = module.symbol(ENABLE)?.index;
    let call = module.relocations().find(|relocation| {
        relocation.symbol == enable && module.sections()[relocation.target].is_executable()
    })?;
    let function = module.function_at(call.target, call.offset);
    let from = function.map_or(call.offset.saturating_sub(NEAR), |function| function.value);
    let before = module.relocations_of(call.target).filter(|r| (from..call.offset).contains(&r.offset));
    let loads =
        before.filter_map(|relocation| Some((relocation.offset, first_argument(module, &relocation)?)));
    loads.max_by_key(|(offset, _)| *offset).map(|(_, place)| place)
}

/// Address that an instruction loads into the first argument register.
fn first_argument(module: &Module<'_>, relocation: &Relocation) -> Option<Place> {
    let code = module.sections()[relocation.target].data;
    let at = usize::try_from(relocation.offset).ok()?;
    let before = |count: usize| code.get(at.checked_sub(count)?..at);
    match (module.machine(), relocation.kind) {
        // R_X86_64_32S, R_X86_64_64: mov $address, %rdi
        (Machine::X86_64, 11) if before(3)? == [0x48, 0xc7, 0xc7] => {
            place(module, relocation.symbol, relocation.addend)
        }
        (Machine::X86_64, 1) if before(2)? == [0x48, 0xbf] => {
            place(module, relocation.symbol, relocation.addend)
        }
        // R_X86_64_PC32: lea address(%rip), %rdi, relative to the end of the instruction.
        (Machine::X86_64, 2) if before(3)? == [0x48, 0x8d, 0x3d] => {
            place(module, relocation.symbol, relocation.addend.checked_add(4)?)
        }
        // R_AARCH64_ADD_ABS_LO12_NC: add x0, xn, #lower bits
        (Machine::Arm64, 277) if *code.get(at)? & 0x1f == 0 => {
            place(module, relocation.symbol, relocation.addend)
        }
        _ => None,
    }
}

/// The only location with a pointer to THIS_MODULE followed by a pointer to data, as in `struct klp_patch`.
fn only_candidate(module: &Module<'_>) -> Option<Place> {
    let pointers = pointers(module);
    let this_module = |relocation: &Relocation| {
        relocation.addend == 0 && module.symbols()[relocation.symbol].name == THIS_MODULE
    };
    let data = |place: Place| {
        let section = &module.sections()[place.section];
        section.is_alloc() && !section.is_executable()
    };
    let mut candidates = pointers.iter().filter(|(at, first)| {
        let objs = Place { offset: at.offset.saturating_add(PATCH.1), ..**at };
        this_module(first) && data(**at) && pointed(module, &pointers, objs).is_some_and(data)
    });
    let (found, _) = candidates.next()?;
    candidates.next().is_none().then_some(*found)
}

/// Layout of the structures, derived from the tables of a patch.
pub(crate) fn layout(module: &Module<'_>, patch: Place) -> Result<KlpLayout, TableError> {
    let pointers = pointers(module);
    let objs = Place { offset: patch.offset.saturating_add(PATCH.1), ..patch };
    let objects = pointed(module, &pointers, objs).ok_or_else(|| extent(module, "klp_object", objs))?;
    let (object_size, count) = entries(module, &pointers, objects, &OBJECT_POINTERS, &[8])
        .ok_or_else(|| extent(module, "klp_object", objects))?;
    let mut func_size = None;
    for at in 0..count {
        let offset = objects.offset.saturating_add(at * object_size).saturating_add(OBJECT_POINTERS[1]);
        let funcs = pointed(module, &pointers, Place { offset, ..objects })
            .ok_or_else(|| extent(module, "klp_func", objects))?;
        let (size, _) = entries(module, &pointers, funcs, &FUNC_POINTERS, &FUNC_POINTERS)
            .ok_or_else(|| extent(module, "klp_func", funcs))?;
        if *func_size.get_or_insert(size) != size {
            return Err(extent(module, "klp_func", funcs));
        }
    }
    let func_size = func_size.ok_or_else(|| extent(module, "klp_func", objects))?;
    Ok(KlpLayout {
        func_size,
        func_old_name: FUNC_POINTERS[0],
        func_new_func: FUNC_POINTERS[1],
        func_old_sympos: 16,
        object_size,
        object_name: OBJECT_POINTERS[0],
        object_funcs: OBJECT_POINTERS[1],
        object_callbacks: OBJECT_POINTERS[2],
        patch_size: PATCH_SIZE,
        patch_mod: PATCH.0,
        patch_objs: PATCH.1,
        patch_states: PATCH.2,
        patch_replace: PATCH.3,
        state_size: STATE_SIZE,
        state_id: 0,
        state_version: POINTER,
    })
}

/// Entry size and entry count of a table, without the empty last entry. The symbol gives the table size. Each entry has
/// relocations at all offsets of `needed`, and at no offset outside `members`. Exactly one size must fit.
fn entries(
    module: &Module<'_>,
    pointers: &BTreeMap<Place, Relocation>,
    table: Place,
    members: &[u64],
    needed: &[u64],
) -> Option<(u64, u64)> {
    let size = module.symbols().iter().find(|symbol| {
        symbol.kind == SymbolKind::Object
            && symbol.section == SymbolSection::Section(table.section)
            && symbol.value == table.offset
            && symbol.size > 0
    })?;
    let end = Place { offset: table.offset.checked_add(size.size)?, ..table };
    let filled: BTreeSet<u64> = pointers.range(table..end).map(|(at, _)| at.offset - table.offset).collect();
    let smallest = members.iter().max()?.checked_add(POINTER + POINTER)?;
    let fits = |&count: &u64| {
        let entry = size.size / (count + 1);
        let whole = size.size % (count + 1) == 0 && entry % POINTER == 0 && entry >= smallest;
        whole
            && filled.iter().all(|&at| at / entry < count && members.contains(&(at % entry)))
            && (0..count).all(|at| needed.iter().all(|&member| filled.contains(&(at * entry + member))))
    };
    let mut counts = (1..=filled.len() as u64).filter(fits);
    let count = counts.next()?;
    counts.next().is_none().then(|| (size.size / (count + 1), count))
}

/// Relocations by location.
fn pointers(module: &Module<'_>) -> BTreeMap<Place, Relocation> {
    let place = |relocation: &Relocation| Place { section: relocation.target, offset: relocation.offset };
    module.relocations().map(|relocation| (place(&relocation), relocation)).collect()
}

/// Target of the pointer at a location.
fn pointed(module: &Module<'_>, pointers: &BTreeMap<Place, Relocation>, at: Place) -> Option<Place> {
    let found = pointers.get(&at)?;
    let address = found.kind == module.machine().address_relocation();
    address.then(|| place(module, found.symbol, found.addend)).flatten()
}

fn place(module: &Module<'_>, symbol: usize, addend: i64) -> Option<Place> {
    let symbol = &module.symbols()[symbol];
    match symbol.section {
        SymbolSection::Section(section) => {
            Some(Place { section, offset: symbol.value.wrapping_add_signed(addend) })
        }
        _ => None,
    }
}

fn extent(module: &Module<'_>, structure: &'static str, table: Place) -> TableError {
    TableError::Extent {
        structure,
        section: module.sections()[table.section].name.to_owned(),
        offset: table.offset,
    }
}
