// SPDX-License-Identifier: GPL-2.0-or-later
//! Data of a module, read from its file: symbols, types, traceable functions.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use klp_format::{ModuleName, SymbolPosition};
use klp_module::{Binding, Module, Section, SymbolSection};

use crate::body;
use crate::btf::Types;
use crate::error::ImageError;
use crate::image::{Area, KernelImage};
use crate::reached::{Place, reached};
use crate::symbols::{Builder, Symbol, Symbols};
use crate::trace::{BEFORE, NotTraceable, Traceability, choose, reason_of_name};

/// Maximum unpacked size of a module, in bytes.
const LIMIT: usize = 1 << 28;
/// `SHT_NOBITS`: section without content in the file.
const NOBITS: u32 = 8;
/// `SHF_WRITE`.
const WRITE: u64 = 1;
/// Maximum distance of an ftrace entry behind its symbol, in bytes: the length of `endbr64`.
const SLACK: u64 = 4;

/// Sections with the ftrace call sites: on x86, and for lists made by the compiler (arm64).
const TABLES: [&str; 2] = ["__mcount_loc", "__patchable_function_entries"];

/// Module of a distribution with parsed tables; the equivalent of [`KernelImage`].
pub struct ModuleImage {
    /// Module name in the kernel.
    pub name: ModuleName,
    /// Types of the module and its kernel; `None` if the module was built without BTF.
    pub types: Option<Types>,
    /// Symbols in the order of the kernel: file order, without symbols of sections that are not loaded. Addresses are
    /// offsets in sections.
    pub symbols: Symbols,
    /// Required modules (`depends` in `.modinfo`).
    pub needs: Vec<ModuleName>,
    /// GNU build id, in hexadecimal digits.
    pub build_id: Option<String>,
    /// True if the file has DWARF.
    pub has_debug_info: bool,
    /// Section of each symbol.
    sections: Vec<usize>,
    /// ftrace call sites: section and offset.
    entries: BTreeSet<(usize, u64)>,
    /// Offset of each function's own code behind its site, by section and address of the function.
    bodies: BTreeMap<(usize, u64), u8>,
    /// Places that the module refers to.
    reached: BTreeSet<Place>,
    /// Sections whose memory is freed after init (`init`), and sections without instrumentation (`noinstr`).
    init: BTreeSet<usize>,
    noinstr: BTreeSet<usize>,
    /// Sections with per-CPU data.
    per_cpu: BTreeSet<usize>,
    /// Sections with data that the kernel makes read-only.
    read_only: BTreeSet<usize>,
}

/// Bytes of a module file, unpacked if they are compressed (`.ko.xz`, `.ko.zst`, `.ko.gz`).
///
/// # Errors
/// The compressed bytes are damaged, or unpack to more than 256 MiB.
pub fn unpack_module(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ImageError> {
    Ok(klp_module::unpack(bytes, LIMIT)?)
}

impl ModuleImage {
    /// Parses a module file of this kernel, compressed or not.
    ///
    /// # Errors
    /// The file is not a module, is damaged, or belongs to another kernel.
    pub fn parse(bytes: &[u8], kernel: &KernelImage) -> Result<Self, ImageError> {
        let bytes = unpack_module(bytes)?;
        let damaged = |error: &dyn std::fmt::Display| ImageError::Damaged(error.to_string());
        let module = Module::parse(&bytes).map_err(|error| damaged(&error))?;
        let vermagic = module.vermagic().unwrap_or_default();
        if vermagic != kernel.facts.vermagic {
            let magics = (vermagic.into_owned(), kernel.facts.vermagic.clone());
            return Err(ImageError::Foreign { module: magics.0, kernel: magics.1 });
        }
        let types = module.section(".BTF").map(|section| Types::parse_split(section.data, &kernel.types));
        let mut builder = Builder::default();
        let mut sections = Vec::new();
        for symbol in module.symbols().iter().filter(|symbol| !symbol.name.is_empty()) {
            let SymbolSection::Section(index) = symbol.section else { continue };
            let Some(section) = module.sections().get(index).filter(|section| section.is_alloc()) else {
                continue;
            };
            builder.push(symbol.name, kind(section, symbol), symbol.value);
            sections.push(index);
        }
        let entries = entries(&module);
        let bodies = bodies(&module, &entries);
        let of = |matches: fn(&str) -> bool| {
            module
                .sections()
                .iter()
                .filter(|section| matches(section.name))
                .map(|section| section.index)
                .collect()
        };
        let needs = module.modinfo_value("depends").unwrap_or_default();
        let needs = needs.split(',').filter(|name| !name.is_empty()).map(ModuleName::sanitized);
        let needs = needs.collect::<Result<_, _>>().map_err(|error| damaged(&error))?;
        Ok(Self {
            needs,
            build_id: module.build_id(),
            has_debug_info: module.section(".debug_info").is_some(),
            name: module.name().map_err(|error| damaged(&error))?,
            types: types.transpose().map_err(|error| damaged(&error))?,
            symbols: builder.finish()?,
            sections,
            reached: reached(&module),
            entries,
            bodies,
            init: of(|name| name.starts_with(".init")),
            noinstr: of(|name| name.starts_with(".noinstr") || name.starts_with(".entry")),
            per_cpu: of(|name| name.starts_with(".data..percpu")),
            read_only: module.sections().iter().filter(|s| is_read_only(s)).map(|s| s.index).collect(),
        })
    }

    /// Symbols in the order of the kernel, each with the number of its section.
    pub fn places(&self) -> impl Iterator<Item = (Symbol<'_>, usize)> {
        self.symbols.iter().zip(self.sections.iter().copied())
    }

    /// Number of traceable functions, without those in init sections.
    pub fn traceable(&self) -> usize {
        self.entries.iter().filter(|(section, _)| !self.init.contains(section)).count()
    }

    /// Traceability of a function of the module by ftrace, and so by a live patch. `position` is the symbol position; 0
    /// means that the name is unique.
    pub fn traceability(&self, name: &str, position: SymbolPosition) -> Traceability {
        let answer = choose(&self.symbols, name, position).map(|(number, symbol)| {
            self.reason_against(&symbol, self.sections.get(number).copied().unwrap_or(0))
        });
        match answer {
            Ok(None) => Traceability::Traceable,
            Ok(Some(reason)) | Err(reason) => Traceability::Not(reason),
        }
    }

    /// Offset of a function's own code behind its ftrace site, in bytes; `position` as in [`Self::traceability`]. `None` if the
    /// function has no site, or starts in an unknown way.
    pub fn body(&self, name: &str, position: SymbolPosition) -> Option<u64> {
        let (number, symbol) = choose(&self.symbols, name, position).ok()?;
        let place = (*self.sections.get(number)?, symbol.address);
        self.bodies.get(&place).map(|offset| u64::from(*offset))
    }

    /// True if the function is static, and nothing in the module calls it or holds its address; `position` as in
    /// [`Self::traceability`]. `None` if there is no such function.
    pub fn is_unreached(&self, name: &str, position: SymbolPosition) -> Option<bool> {
        let (number, symbol) = choose(&self.symbols, name, position).ok()?;
        let place = (*self.sections.get(number)?, symbol.address);
        symbol.is_code().then(|| symbol.kind == 't' && !self.reached.contains(&place))
    }

    /// Kind of memory of a symbol of the module; `position` as in [`Self::traceability`].
    ///
    /// # Errors
    /// There is no symbol with this name and position, or the name is ambiguous.
    pub fn area(&self, name: &str, position: SymbolPosition) -> Result<Area, NotTraceable> {
        let (number, symbol) = choose(&self.symbols, name, position)?;
        let section = self.sections.get(number).copied().unwrap_or(0);
        Ok(if self.per_cpu.contains(&section) {
            Area::PerCpu
        } else if self.init.contains(&section) {
            Area::Init
        } else if symbol.is_code() {
            Area::Code
        } else if self.read_only.contains(&section) {
            Area::ReadOnly
        } else {
            Area::Data
        })
    }

    fn reason_against(&self, symbol: &Symbol<'_>, section: usize) -> Option<NotTraceable> {
        if !symbol.is_code() {
            return Some(NotTraceable::Data { kind: symbol.kind });
        }
        if self.init.contains(&section) {
            return Some(NotTraceable::Init);
        }
        let reach = (section, symbol.address)..=(section, symbol.address.saturating_add(SLACK));
        if self.entries.range(reach).next().is_some() {
            return None;
        }
        let noinstr = self.noinstr.contains(&section);
        let otherwise = if noinstr { NotTraceable::Noinstr } else { NotTraceable::NoEntry };
        Some(reason_of_name(symbol.name).unwrap_or(otherwise))
    }
}

/// True for data that cannot be written after the module's init function (`mod->mem[MOD_RODATA]` and `MOD_RO_AFTER_INIT` in
/// `kernel/module/main.c`).
fn is_read_only(section: &Section<'_>) -> bool {
    section.is_alloc() && (!section.is_writable() || section.name == ".data..ro_after_init")
}

/// Targets of the relocations of the call site sections (`FTRACE_CALLSITE_SECTION`).
fn entries(module: &Module<'_>) -> BTreeSet<(usize, u64)> {
    let tables = module.sections().iter().filter(|section| TABLES.contains(&section.name));
    let place = |relocation: klp_module::Relocation| {
        let symbol = module.symbols().get(relocation.symbol)?;
        let SymbolSection::Section(section) = symbol.section else { return None };
        Some((section, symbol.value.checked_add_signed(relocation.addend)?))
    };
    let entries = tables.flat_map(|table| module.relocations_of(table.index)).filter_map(place);
    let entries: BTreeSet<(usize, u64)> = entries.collect();
    let starts: BTreeSet<(usize, u64)> = module
        .symbols()
        .iter()
        .filter_map(|symbol| match symbol.section {
            SymbolSection::Section(section) if !symbol.name.is_empty() => Some((section, symbol.value)),
            _ => None,
        })
        .collect();
    let behind = |(section, offset): (usize, u64)| (section, offset.saturating_add(BEFORE));
    let before = entries.iter().filter(|entry| starts.contains(&behind(**entry))).count();
    if before * 2 > entries.len() { entries.into_iter().map(behind).collect() } else { entries }
}

/// Offset of the own code of each function with a site.
fn bodies(module: &Module<'_>, entries: &BTreeSet<(usize, u64)>) -> BTreeMap<(usize, u64), u8> {
    let body = |symbol: &klp_module::Symbol<'_>| {
        let SymbolSection::Section(section) = symbol.section else { return None };
        let reach = (section, symbol.value)..=(section, symbol.value.checked_add(SLACK)?);
        entries.range(reach).next()?;
        let code = module.sections().get(section)?.data.get(usize::try_from(symbol.value).ok()?..)?;
        Some(((section, symbol.value), body::of_code(code)?))
    };
    module.symbols().iter().filter(|symbol| !symbol.name.is_empty()).filter_map(body).collect()
}

/// Kind of a symbol as a letter of nm.
fn kind(section: &Section<'_>, symbol: &klp_module::Symbol<'_>) -> char {
    let letter = match symbol.binding {
        Binding::Weak if section.is_executable() => 'w',
        Binding::Weak => 'v',
        _ if section.is_executable() => 't',
        _ if section.kind == NOBITS => 'b',
        _ if section.flags & WRITE != 0 => 'd',
        _ => 'r',
    };
    if symbol.binding == Binding::Local { letter } else { letter.to_ascii_uppercase() }
}
