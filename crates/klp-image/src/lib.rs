// SPDX-License-Identifier: GPL-2.0-or-later
//! Data of a kernel, read from its bootable image: types, prototypes, symbols, traceable functions, and the version magic
//! of modules.
//!
//! No other source is needed: no debug package, no System.map, no headers. The results are stored in the cache in a form
//! that loads in a few milliseconds. [`DebugCopies`] alone reads debug information, where a user has fetched it.

mod body;
mod btf;
mod bzimage;
mod calls;
mod debug_copies;
mod elf;
mod error;
mod image;
mod index;
mod kallsyms;
mod live;
mod memory;
mod module;
mod parsed;
mod reached;
mod symbols;
mod trace;

pub use self::btf::{BtfError, Member, Prototype, TypeId, TypeKind, Types};
pub use self::bzimage::{decompress, decompress_within};
pub use self::calls::{Calls, Code, Reference};
pub use self::debug_copies::{DebugCopies, DebugCopy, DefinedCopies, source_path};
pub use self::error::{Error, ImageError};
pub use self::image::{Area, KernelImage};
pub use self::index::{ImageFile, read_index, write_index};
pub use self::live::{RunningSymbols, running_module_types, running_types};
pub use self::memory::Memory;
pub use self::module::{ModuleImage, unpack_module};
pub use self::parsed::{Facts, Parsed};
pub use self::symbols::{Symbol, Symbols};
pub use self::trace::{NotTraceable, Trace, Traceability, listed};
