// SPDX-License-Identifier: GPL-2.0-or-later
//! Content of a decompressed kernel.

use serde::{Deserialize, Serialize};

use crate::elf::Vmlinux;
use crate::error::ImageError;
use crate::kallsyms;
use crate::symbols::Symbols;
use crate::trace::Trace;

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
    /// Parses the output of [`decompress`](crate::decompress). The BTF is not parsed; [`Types::parse`](crate::Types::parse) does that.
    ///
    /// # Errors
    /// The bytes are not an ELF file, or a part is missing or inconsistent with another part.
    pub fn parse(vmlinux: &'a [u8], release: &str) -> Result<Self, ImageError> {
        let vmlinux = Vmlinux::parse(vmlinux)?;
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
