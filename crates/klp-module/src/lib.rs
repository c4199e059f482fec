// SPDX-License-Identifier: GPL-2.0-or-later
//! Parser of finished kernel modules (`.ko`): sections, symbols, relocations, module information and livepatch tables.
//!
//! The pipeline uses this crate to check its own output, and the loader uses it to read modules. The crate shares no code
//! with the ELF writer except `klp-format`. Input is bytes: no I/O, no panic on any input, and memory use of at most a
//! small multiple of the input size.
//!
//! Sources of the rules: the ELF gABI; `kernel/module/main.c`, `include/linux/module.h` and
//! `Documentation/livepatch/module-elf-format.rst` of the kernel.

mod digest;
mod elf;
mod error;
mod find;
mod manifest;
mod module;
mod params;
pub mod signature;
mod table;
mod unpack;

pub use digest::{DIGEST_KEY, DIGEST_LENGTH, Digest, digest, seal};
pub use elf::{Binding, Machine, Relocation, Section, Symbol, SymbolKind, SymbolSection};
pub use error::{Error, TableError};
pub use find::PATCH_SYMBOL;
pub use manifest::{
    Affected, Kernel, MANIFEST_KEY, MANIFEST_SCHEMA, Manifest, ManifestError, ManifestFix, Param, State,
    Tripwire,
};
pub use module::{Module, build_id_of_notes};
pub use params::{PARAM_SECTION, ParamEntry};
pub use table::{KlpLayout, PatchTable, PatchedFunction, PatchedObject, Place};
pub use unpack::{FILE_EXTENSIONS, Format, UnpackError, file_stem, unpack};
