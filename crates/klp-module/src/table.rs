// SPDX-License-Identifier: GPL-2.0-or-later
//! Livepatch tables (`struct klp_patch`, `klp_object`, `klp_func` of `include/linux/livepatch.h`), read from section data
//! and relocations in the order of the kernel's `klp_for_each_object_static` and `klp_for_each_func_static`.

use std::collections::{BTreeMap, BTreeSet};

use klp_format::{KlpSymbol, NameError, ObjectName, SymbolPosition, VMLINUX};
use serde::{Deserialize, Serialize};

use crate::elf::{Relocation, Section, Symbol, SymbolKind, SymbolSection};
use crate::error::TableError;
use crate::module::Module;

/// Maximum number of entries of one patch, for all objects together.
const ENTRIES_MAX: usize = 10_000;
/// Maximum length of a string in a table: the kernel's `KSYM_NAME_LEN`, with the terminating NUL.
const TEXT_MAX: usize = 512;
const POINTER_SIZE: u64 = 8;
/// Number of callbacks: pre and post patch, pre and post unpatch.
const CALLBACKS: u64 = 4;
/// Number of the first callback that runs when the patch is taken out.
const UNPATCH: u64 = 2;
const VERSION_SIZE: u64 = 4;

/// Sizes and member offsets of the structures of one kernel, in bytes. They differ between kernels and come from the BTF
/// of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KlpLayout {
    /// Size of `struct klp_func`.
    pub func_size: u64,
    /// `klp_func.old_name`
    pub func_old_name: u64,
    /// `klp_func.new_func`
    pub func_new_func: u64,
    /// `klp_func.old_sympos`
    pub func_old_sympos: u64,
    /// Size of `struct klp_object`.
    pub object_size: u64,
    /// `klp_object.name`
    pub object_name: u64,
    /// `klp_object.funcs`
    pub object_funcs: u64,
    /// `klp_object.callbacks`, which starts with four function pointers.
    pub object_callbacks: u64,
    /// Size of `struct klp_patch`.
    pub patch_size: u64,
    /// `klp_patch.mod`
    pub patch_mod: u64,
    /// `klp_patch.objs`
    pub patch_objs: u64,
    /// `klp_patch.replace`
    pub patch_replace: u64,
    /// `klp_patch.states`
    pub patch_states: u64,
    /// Size of `struct klp_state`.
    pub state_size: u64,
    /// `klp_state.id`
    pub state_id: u64,
    /// `klp_state.version`
    pub state_version: u64,
}

/// Content of the livepatch tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchTable {
    /// True if the patch replaces all patches loaded before (atomic replace).
    pub replace: bool,
    /// Patched objects, in table order.
    pub objects: Vec<PatchedObject>,
    /// Supported system states, in table order: id and version.
    pub states: Vec<(u64, u32)>,
    /// Indexes of the sections that contain the structures and names. The livepatch core reads them while the patch is
    /// loaded.
    pub sections: BTreeSet<usize>,
}

/// Object that a live patch changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchedObject {
    /// Module name in the table; `None` for vmlinux.
    pub name: Option<String>,
    /// Replaced functions of the object, in table order.
    pub functions: Vec<PatchedFunction>,
    /// True if the object has a callback.
    pub callbacks: bool,
    /// Location of the callback that can refuse the patch.
    pub pre_patch: Option<Place>,
    /// Locations of the callbacks that run when the patch is taken out.
    pub unpatch_places: Vec<Place>,
    /// Locations of the callbacks in this module.
    pub callback_places: Vec<Place>,
}

/// A replaced function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchedFunction {
    /// Name of the replaced function in the symbol table of its object.
    pub old_name: String,
    /// Symbol position of the replaced function.
    pub position: SymbolPosition,
    /// Location of the replacement in this module.
    pub new_function: Place,
    /// Function symbol that covers the replacement; without one the kernel returns ENOENT.
    pub symbol: Option<String>,
}

impl PatchTable {
    /// Replaced functions of all objects, each with its object, in table order.
    pub fn functions(&self) -> impl Iterator<Item = (&PatchedObject, &PatchedFunction)> {
        self.objects.iter().flat_map(|object| object.functions.iter().map(move |function| (object, function)))
    }

    /// Symbols of the replaced functions. Those whose names the livepatch core refuses are left out.
    pub fn symbols(&self) -> impl Iterator<Item = (KlpSymbol, &PatchedFunction)> {
        self.functions().filter_map(|(object, function)| Some((object.symbol(function).ok()?, function)))
    }
}

impl PatchedObject {
    /// Name of the object: of a module, or `vmlinux`.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(VMLINUX)
    }

    /// Symbol of a replaced function.
    ///
    /// # Errors
    /// A name is not valid for the livepatch core.
    pub fn symbol(&self, function: &PatchedFunction) -> Result<KlpSymbol, NameError> {
        KlpSymbol::new(ObjectName::new(self.name())?, &function.old_name, function.position)
    }
}

/// Location in the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the section.
    pub section: usize,
    /// Offset in the section, in bytes.
    pub offset: u64,
}

impl Place {
    pub(crate) fn plus(self, bytes: u64) -> Self {
        Self { offset: self.offset.saturating_add(bytes), ..self }
    }
}

impl Module<'_> {
    /// Reads the livepatch tables, starting at the `struct klp_patch` of the symbol `patch`.
    ///
    /// The layout of the structures differs between kernels and comes from the BTF of the kernel.
    ///
    /// # Errors
    /// The symbol does not exist, a required pointer has no relocation or points outside the module, or a table has no
    /// end within 10,000 entries.
    pub fn patch_table(&self, layout: &KlpLayout, patch: &str) -> Result<PatchTable, TableError> {
        read(self, layout, patch)
    }
}

pub(crate) fn read(module: &Module<'_>, layout: &KlpLayout, patch: &str) -> Result<PatchTable, TableError> {
    let name = || patch.to_owned();
    let defined = |symbol: &&Symbol<'_>| {
        symbol.name == patch && !matches!(symbol.kind, SymbolKind::Section | SymbolKind::File)
    };
    let symbol =
        module.symbols().iter().find(defined).ok_or_else(|| TableError::NoSymbol { name: name() })?;
    let SymbolSection::Section(section) = symbol.section else {
        return Err(TableError::NotDefined { name: name() });
    };
    read_at(module, layout, Place { section, offset: symbol.value })
}

/// Reads the tables that start with the `struct klp_patch` at a location.
pub(crate) fn read_at(
    module: &Module<'_>,
    layout: &KlpLayout,
    patch: Place,
) -> Result<PatchTable, TableError> {
    layout.check()?;
    Walk::new(module).patch(layout, patch)
}

impl KlpLayout {
    fn check(&self) -> Result<(), TableError> {
        let members = [
            ("klp_func", self.func_size, self.func_old_name, POINTER_SIZE),
            ("klp_func", self.func_size, self.func_new_func, POINTER_SIZE),
            ("klp_func", self.func_size, self.func_old_sympos, POINTER_SIZE),
            ("klp_object", self.object_size, self.object_name, POINTER_SIZE),
            ("klp_object", self.object_size, self.object_funcs, POINTER_SIZE),
            ("klp_object", self.object_size, self.object_callbacks, CALLBACKS * POINTER_SIZE),
            ("klp_patch", self.patch_size, self.patch_mod, POINTER_SIZE),
            ("klp_patch", self.patch_size, self.patch_objs, POINTER_SIZE),
            ("klp_patch", self.patch_size, self.patch_replace, 1),
            ("klp_patch", self.patch_size, self.patch_states, POINTER_SIZE),
            ("klp_state", self.state_size, self.state_id, POINTER_SIZE),
            ("klp_state", self.state_size, self.state_version, VERSION_SIZE),
        ];
        let too_far = |&&(_, size, member, width): &&(&'static str, u64, u64, u64)| {
            member.checked_add(width).is_none_or(|end| end > size)
        };
        match members.iter().find(too_far) {
            Some(&(structure, size, member, _)) => Err(TableError::Layout { structure, member, size }),
            None => Ok(()),
        }
    }
}

/// Reader of structures in a module's sections.
pub(crate) struct Walk<'m, 'a> {
    module: &'m Module<'a>,
    /// Relocations by offset, for each section that was read.
    relocations: BTreeMap<usize, BTreeMap<u64, Relocation>>,
    entries: usize,
    sections: BTreeSet<usize>,
}

impl<'m, 'a> Walk<'m, 'a> {
    pub(crate) fn new(module: &'m Module<'a>) -> Self {
        Self { module, relocations: BTreeMap::new(), entries: 0, sections: BTreeSet::new() }
    }

    fn patch(&mut self, layout: &KlpLayout, at: Place) -> Result<PatchTable, TableError> {
        self.structure(at, layout.patch_size, "struct klp_patch")?;
        self.required(at.plus(layout.patch_mod), "klp_patch.mod")?;
        let mut object = self.required_place(at.plus(layout.patch_objs), "klp_patch.objs")?;
        let replace = self.bytes(at.plus(layout.patch_replace), 1, "klp_patch.replace")? != [0];
        let mut objects = Vec::new();
        while let Some(found) = self.object(layout, object)? {
            objects.push(found);
            self.count()?;
            object = object.plus(layout.object_size);
        }
        let states = self.states(layout, at.plus(layout.patch_states))?;
        let sections = std::mem::take(&mut self.sections);
        Ok(PatchTable { replace, objects, states, sections })
    }

    /// States behind the pointer at `at`; id 0 ends the list.
    fn states(&mut self, layout: &KlpLayout, at: Place) -> Result<Vec<(u64, u32)>, TableError> {
        const WHAT: &str = "klp_patch.states";
        let mut states = Vec::new();
        if self.pointer(at, WHAT)?.is_none() {
            return Ok(states);
        }
        let mut state = self.required_place(at, WHAT)?;
        loop {
            self.structure(state, layout.state_size, "struct klp_state")?;
            let id = self.number(state.plus(layout.state_id), "klp_state.id")?;
            if id == 0 {
                return Ok(states);
            }
            let version = self.bytes(state.plus(layout.state_version), VERSION_SIZE, "klp_state.version")?;
            let version = version.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte));
            states.push((id, version));
            self.count()?;
            state = state.plus(layout.state_size);
        }
    }

    /// Reads one object; `None` at the end of the table.
    fn object(&mut self, layout: &KlpLayout, at: Place) -> Result<Option<PatchedObject>, TableError> {
        self.structure(at, layout.object_size, "struct klp_object")?;
        let name = self.text(at.plus(layout.object_name), "klp_object.name")?;
        let funcs = self.pointer(at.plus(layout.object_funcs), "klp_object.funcs")?;
        if name.is_none() && funcs.is_none() {
            return Ok(None);
        }
        let mut function = self.required_place(at.plus(layout.object_funcs), "klp_object.funcs")?;
        let mut functions = Vec::new();
        while let Some(found) = self.function(layout, function)? {
            functions.push(found);
            self.count()?;
            function = function.plus(layout.func_size);
        }
        let (mut callback_places, mut unpatch_places, mut pre_patch) = (Vec::new(), Vec::new(), None);
        for number in 0..CALLBACKS {
            let callback = at.plus(layout.object_callbacks).plus(number * POINTER_SIZE);
            if self.pointer(callback, "klp_object.callbacks")?.is_some() {
                let place = self.required_place(callback, "klp_object.callbacks")?;
                callback_places.push(place);
                if number == 0 {
                    pre_patch = Some(place);
                }
                if number >= UNPATCH {
                    unpatch_places.push(place);
                }
            }
        }
        let callbacks = !callback_places.is_empty();
        Ok(Some(PatchedObject { name, functions, callbacks, callback_places, pre_patch, unpatch_places }))
    }

    /// Reads one function; `None` at the end of the table.
    fn function(&mut self, layout: &KlpLayout, at: Place) -> Result<Option<PatchedFunction>, TableError> {
        self.structure(at, layout.func_size, "struct klp_func")?;
        let old_name = self.text(at.plus(layout.func_old_name), "klp_func.old_name")?;
        let new_func = self.pointer(at.plus(layout.func_new_func), "klp_func.new_func")?;
        let position = self.number(at.plus(layout.func_old_sympos), "klp_func.old_sympos")?;
        if old_name.is_none() && new_func.is_none() && position == 0 {
            return Ok(None);
        }
        let old_name =
            old_name.ok_or_else(|| self.null(at.plus(layout.func_old_name), "klp_func.old_name"))?;
        let new_function = self.required_place(at.plus(layout.func_new_func), "klp_func.new_func")?;
        let position = u32::try_from(position)
            .map(SymbolPosition)
            .map_err(|_| TableError::Position { function: old_name.clone(), position })?;
        let covering = self.module.function_at(new_function.section, new_function.offset);
        let symbol = covering.map(|symbol| symbol.name.to_owned());
        Ok(Some(PatchedFunction { old_name, position, new_function, symbol }))
    }

    fn count(&mut self) -> Result<(), TableError> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX { Err(TableError::Endless { limit: ENTRIES_MAX }) } else { Ok(()) }
    }

    /// String that a pointer refers to; `None` for a null pointer.
    fn text(&mut self, at: Place, what: &'static str) -> Result<Option<String>, TableError> {
        if self.pointer(at, what)?.is_none() {
            return Ok(None);
        }
        let place = self.required_place(at, what)?;
        self.sections.insert(place.section);
        let section = self.section(place.section);
        let error = || TableError::NoText { what, section: section.name.to_owned(), offset: place.offset };
        let start = usize::try_from(place.offset).map_err(|_| error())?;
        let rest = section.data.get(start..).ok_or_else(error)?;
        let window = &rest[..rest.len().min(TEXT_MAX)];
        let end = window.iter().position(|&byte| byte == 0).ok_or_else(error)?;
        String::from_utf8(window[..end].to_vec()).map(Some).map_err(|_| error())
    }

    /// String that a required pointer refers to.
    pub(crate) fn required_text(&mut self, at: Place, what: &'static str) -> Result<String, TableError> {
        self.text(at, what)?.ok_or_else(|| self.null(at, what))
    }

    /// Name of the symbol that a required pointer refers to.
    pub(crate) fn required_symbol(&mut self, at: Place, what: &'static str) -> Result<String, TableError> {
        let relocation = self.required(at, what)?;
        Ok(self.module.symbols()[relocation.symbol].name.to_owned())
    }

    /// Relocation of a pointer; `None` for a null pointer.
    fn pointer(&mut self, at: Place, what: &'static str) -> Result<Option<Relocation>, TableError> {
        let module = self.module;
        let in_section = self.relocations.entry(at.section).or_insert_with(|| {
            module.relocations_of(at.section).map(|relocation| (relocation.offset, relocation)).collect()
        });
        let found = in_section.get(&at.offset).copied();
        let value = self.number(at, what)?;
        let place = || (self.section_name(at.section), at.offset);
        match found {
            Some(relocation) if relocation.kind == module.machine().address_relocation() => {
                Ok(Some(relocation))
            }
            Some(Relocation { kind, .. }) => {
                let (section, offset) = place();
                Err(TableError::RelocationKind { what, section, offset, kind })
            }
            None if value == 0 => Ok(None),
            None => {
                let (section, offset) = place();
                Err(TableError::NoRelocation { what, section, offset })
            }
        }
    }

    fn required(&mut self, at: Place, what: &'static str) -> Result<Relocation, TableError> {
        self.pointer(at, what)?.ok_or_else(|| self.null(at, what))
    }

    fn null(&self, at: Place, what: &'static str) -> TableError {
        TableError::Null { what, section: self.section_name(at.section), offset: at.offset }
    }

    /// Target of a required pointer.
    pub(crate) fn required_place(&mut self, at: Place, what: &'static str) -> Result<Place, TableError> {
        let relocation = self.required(at, what)?;
        let symbol = &self.module.symbols()[relocation.symbol];
        match symbol.section {
            SymbolSection::Section(section) => {
                Ok(Place { section, offset: symbol.value.wrapping_add_signed(relocation.addend) })
            }
            _ => Err(TableError::Elsewhere {
                what,
                section: self.section_name(at.section),
                offset: at.offset,
                symbol: symbol.name.to_owned(),
            }),
        }
    }

    fn number(&self, at: Place, what: &'static str) -> Result<u64, TableError> {
        let bytes = self.bytes(at, POINTER_SIZE, what)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Checks that a structure lies inside its section, and records the section.
    pub(crate) fn structure(&mut self, at: Place, length: u64, what: &'static str) -> Result<(), TableError> {
        self.sections.insert(at.section);
        self.bytes(at, length, what).map(|_| ())
    }

    /// Bytes of a section. A section that only takes memory (`.bss`) has none, so a table in it is an error.
    pub(crate) fn bytes(&self, at: Place, length: u64, what: &'static str) -> Result<&'a [u8], TableError> {
        let section = self.section(at.section);
        let range = || {
            let start = usize::try_from(at.offset).ok()?;
            section.data.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        };
        range().ok_or_else(|| TableError::OutOfSection {
            what,
            section: section.name.to_owned(),
            offset: at.offset,
        })
    }

    fn section(&self, index: usize) -> &Section<'a> {
        // `Module` guarantees that the section of every symbol and relocation is in the table.
        &self.module.sections()[index]
    }

    fn section_name(&self, index: usize) -> String {
        self.section(index).name.to_owned()
    }
}
