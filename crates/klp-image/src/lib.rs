// SPDX-License-Identifier: GPL-2.0-or-later
//! What a kernel's bootable image tells about the kernel: types, prototypes, symbols, what ftrace can reach, the version
//! magic of its modules.
//!
//! Nothing else is asked: no debug package, no System.map, no headers. What was found is kept in the cache in a form that is
//! read back in a few milliseconds.

mod btf;
mod bzimage;
mod c_text;
mod elf;
mod error;
mod index;
mod kallsyms;
mod live;
mod module;
mod symbols;
mod trace;

use std::path::Path;

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_format::SymbolPosition;
use serde::{Deserialize, Serialize};

pub use self::btf::{BtfError, Member, Prototype, TypeId, TypeKind, Types};
pub use self::bzimage::{decompress, decompress_within};
pub use self::error::{Error, ImageError};
pub use self::index::{read_index, write_index};
pub use self::live::{RunningSymbols, running_module_types, running_types};
pub use self::module::{ModuleImage, unpack_module};
pub use self::symbols::{Symbol, Symbols};
pub use self::trace::{NotTraceable, Trace, Traceability, listed};

/// What the image tells beside its tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The version magic that the kernel asks of its modules, as it stands in the image.
    pub vermagic: String,
    /// Its GNU build id, in hexadecimal digits: two builds of one release differ in it.
    pub build_id: Option<String>,
}

/// What is read out of a decompressed kernel.
pub struct Parsed<'a> {
    /// The raw BTF.
    pub btf: &'a [u8],
    /// All symbols.
    pub symbols: Symbols,
    /// What ftrace can reach.
    pub trace: Trace,
    /// The rest.
    pub facts: Facts,
}

impl<'a> Parsed<'a> {
    /// Reads a kernel that [`decompress`] gave. The BTF is not looked into: [`Types::parse`] does that.
    ///
    /// # Errors
    /// It is no ELF file, or a part is missing or contradicts another.
    pub fn parse(vmlinux: &'a [u8], release: &str) -> Result<Self, ImageError> {
        let vmlinux = elf::Vmlinux::parse(vmlinux)?;
        let btf = vmlinux.section(".BTF").map_err(|_| {
            ImageError::Missing("section .BTF; is it built with CONFIG_DEBUG_INFO_BTF?".to_owned())
        })?;
        let notes = vmlinux.section(".notes").ok();
        let build_id = notes.and_then(|notes| klp_module::build_id_of_notes(notes.data));
        let facts = Facts { vermagic: vmlinux.vermagic(release)?, build_id };
        let symbols = kallsyms::symbols(&vmlinux)?;
        let trace = Trace::read(&vmlinux, &symbols)?;
        Ok(Self { btf: btf.data, symbols, trace, facts })
    }
}

/// Where a symbol lies in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// In code that stays.
    Code,
    /// In data that stays.
    Data,
    /// In code or data of the object's start, whose memory is freed.
    Init,
    /// In the template that each CPU has a copy of: its address is an offset.
    PerCpu,
}

/// The file of a kernel that is read, and its names.
#[derive(Clone, Copy, Debug)]
pub struct ImageFile<'a> {
    /// Id of the kernel: label of the cache entry.
    pub id: &'a str,
    /// The bootable image, or the ELF file that it was made of.
    pub path: &'a Path,
    /// Release of the kernel, as `uname -r` prints it.
    pub release: &'a str,
    /// Key of the cache entry: changes when the file changes.
    pub fingerprint: &'a str,
}

/// A kernel's image, read.
pub struct KernelImage {
    /// Its types and prototypes.
    pub types: Types,
    /// Its symbols.
    pub symbols: Symbols,
    /// What ftrace can reach.
    pub trace: Trace,
    /// The rest.
    pub facts: Facts,
}

impl KernelImage {
    /// Reads the image of a kernel through its index in the cache, which is made where it is missing.
    ///
    /// # Errors
    /// The image cannot be read, or the cache failed.
    pub fn load(file: ImageFile<'_>, cache: &Cache, sink: &dyn Sink) -> Result<Self, Error> {
        let key = Key::new("image 3").with(file.fingerprint).with(file.release);
        let entry = cache.entry("image", file.id, &key, |dir| {
            stage(sink, "image", file.id, || {
                write_index(file.path, file.release, dir).map(|()| (StageEnd::Done, ()))
            })
        })?;
        read_index(&entry)
    }

    /// Where a symbol lies. None where there is none of that name, or several and `position` chooses none of them.
    pub fn area(&self, name: &str, position: SymbolPosition) -> Option<Area> {
        let (_, symbol) = trace::choose(&self.symbols, name, position).ok()?;
        let between = |start: &str, end: &str| {
            let marks = self.symbols.mark(start).ok().zip(self.symbols.mark(end).ok());
            marks.is_some_and(|(start, end)| (start..end).contains(&symbol.address))
        };
        Some(if !symbol.is_code() && between("__per_cpu_start", "__per_cpu_end") {
            Area::PerCpu
        } else if between("__init_begin", "__init_end") {
            Area::Init
        } else if symbol.is_code() {
            Area::Code
        } else {
            Area::Data
        })
    }

    /// Whether ftrace, and with it a live patch, can reach a function. `position` chooses among several symbols of that
    /// name; 0 says that there is one.
    pub fn traceability(&self, name: &str, position: SymbolPosition) -> Traceability {
        self.trace.of_name(&self.symbols, name, position)
    }
}
