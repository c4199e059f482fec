// SPDX-License-Identifier: GPL-2.0-or-later
//! Data of a kernel, read from its bootable image: types, prototypes, symbols, traceable functions, and the version magic
//! of modules.
//!
//! No other source is used: no debug package, no System.map, no headers. The results are stored in the cache in a form
//! that loads in a few milliseconds.

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

/// Properties of a kernel besides its tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Version magic that the kernel requires of modules, copied from the image.
    pub vermagic: String,
    /// GNU build id, in hexadecimal digits. Builds of the same release differ in it.
    pub build_id: Option<String>,
}

/// Content of a decompressed kernel.
pub struct Parsed<'a> {
    /// Raw BTF.
    pub btf: &'a [u8],
    /// All symbols.
    pub symbols: Symbols,
    /// Traceable functions.
    pub trace: Trace,
    /// Other properties.
    pub facts: Facts,
}

impl<'a> Parsed<'a> {
    /// Parses the output of [`decompress`]. The BTF is not parsed; [`Types::parse`] does that.
    ///
    /// # Errors
    /// The bytes are not an ELF file, or a part is missing or inconsistent with another part.
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

/// Kind of memory of a symbol in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Permanent code.
    Code,
    /// Permanent data.
    Data,
    /// Init code or init data, whose memory is freed.
    Init,
    /// Template of per-CPU data: the address of the symbol is an offset.
    PerCpu,
}

/// Input file of a kernel, with its identification.
#[derive(Clone, Copy, Debug)]
pub struct ImageFile<'a> {
    /// Id of the kernel, which is the label of the cache entry.
    pub id: &'a str,
    /// Path of the bootable image, or of the ELF file that it was built from.
    pub path: &'a Path,
    /// Release of the kernel (`uname -r`).
    pub release: &'a str,
    /// Key of the cache entry; changes with the content of the file.
    pub fingerprint: &'a str,
}

/// Kernel image with parsed tables.
pub struct KernelImage {
    /// Types and prototypes.
    pub types: Types,
    /// Symbols.
    pub symbols: Symbols,
    /// Traceable functions.
    pub trace: Trace,
    /// Other properties.
    pub facts: Facts,
}

impl KernelImage {
    /// Loads a kernel image through its index in the cache, which is created if missing.
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

    /// Kind of memory of a symbol. `None` if there is no symbol with this name and position, or if the name is ambiguous.
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

    /// Traceability of a function by ftrace, and so by a live patch. `position` is the symbol position; 0 means that the
    /// name is unique.
    pub fn traceability(&self, name: &str, position: SymbolPosition) -> Traceability {
        self.trace.of_name(&self.symbols, name, position)
    }
}
