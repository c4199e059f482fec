// SPDX-License-Identifier: GPL-2.0-or-later
//! A module and its parts: sections, symbols, relocations, module information, name, signature, build id.

use std::borrow::Cow;

use klp_format::{ALIAS_PREFIX, KlpSymbol, ModuleName, NameError, SYMBOL_PREFIX};

use crate::elf::{self, Machine, Relocation, Section, Symbol, SymbolKind, SymbolSection};
use crate::error::Error;
use crate::manifest::{MANIFEST_KEY, Manifest, ManifestError};
use crate::signature;

/// Section of the module's `struct module`.
const THIS_MODULE: &str = ".gnu.linkonce.this_module";
/// Offset of `name` in `struct module` of 64-bit kernels, in bytes: after `enum module_state state` and `struct list_head
/// list`.
const NAME_OFFSET: usize = 24;
/// `MODULE_NAME_LEN` of 64-bit kernels.
const NAME_LENGTH: usize = 56;

/// Kernel module for x86_64 or arm64, parsed and checked for consistency.
///
/// # Invariants
/// Every section's data, every name, every symbol's section and every relocation's symbol and target lie inside the file.
pub struct Module<'a> {
    bytes: &'a [u8],
    elf: elf::Tables<'a>,
}

impl<'a> Module<'a> {
    /// Parses a module.
    ///
    /// # Errors
    /// The bytes are not a relocatable little-endian 64-bit ELF file for a supported machine, or a reference points
    /// outside the file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Ok(Self { bytes, elf: elf::Tables::parse(bytes)? })
    }

    /// The file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Processor architecture of the module.
    pub fn machine(&self) -> Machine {
        self.elf.machine
    }

    /// All sections in file order, with the null section first: the position in the slice is the section index.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.elf.sections
    }

    /// First section with this name, which is the one that the kernel uses.
    pub fn section(&self, name: &str) -> Option<&Section<'a>> {
        self.elf.sections.iter().find(|section| section.name == name)
    }

    /// All symbols in file order, with the null symbol first: the position in the slice is the symbol index.
    pub fn symbols(&self) -> &[Symbol<'a>] {
        &self.elf.symbols
    }

    /// First symbol with this name.
    pub fn symbol(&self, name: &str) -> Option<&Symbol<'a>> {
        self.elf.symbols.iter().find(|symbol| symbol.name == name)
    }

    /// All relocations in file order, including those that the livepatch core applies.
    pub fn relocations(&self) -> impl Iterator<Item = Relocation> + '_ {
        self.elf.relocation_sections().flat_map(|section| self.elf.relocations_in(section))
    }

    /// Relocations that change the section `target`, ordinary and livepatch.
    pub fn relocations_of(&self, target: usize) -> impl Iterator<Item = Relocation> + '_ {
        let of_target = move |section: &&Section<'a>| section.info as usize == target;
        self.elf.relocation_sections().filter(of_target).flat_map(|section| self.elf.relocations_in(section))
    }

    /// Module information: keys and values of the first `.modinfo` section, in order. Bytes that are not UTF-8 are
    /// replaced. Entries without `=` are skipped, as in the kernel.
    pub fn modinfo(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let data = self.section(".modinfo").map_or(&[][..], |section| section.data);
        data.split(|&byte| byte == 0).filter_map(|entry| {
            let at = entry.iter().position(|&byte| byte == b'=')?;
            Some((String::from_utf8_lossy(&entry[..at]), String::from_utf8_lossy(&entry[at + 1..])))
        })
    }

    /// First value of a key of the module information, which is the one that the kernel uses.
    pub fn modinfo_value(&self, key: &str) -> Option<Cow<'a, str>> {
        self.modinfo().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Version magic: release of the kernel, then words for its configuration.
    pub fn vermagic(&self) -> Option<Cow<'a, str>> {
        self.modinfo_value("vermagic")
    }

    /// True if the module declares itself a live patch: the kernel checks for the key `livepatch` and ignores its value
    /// (`check_modinfo_livepatch`).
    pub fn is_livepatch(&self) -> bool {
        self.modinfo_value("livepatch").is_some()
    }

    /// Module name in the kernel: the name inside `struct module`, not the file name.
    ///
    /// # Errors
    /// The file has no `struct module` (an object file, not a module), or the name in it is invalid.
    pub fn name(&self) -> Result<ModuleName, Error> {
        let section = self.section(THIS_MODULE).ok_or(Error::NoSection { name: THIS_MODULE })?;
        let field = section.data.get(NAME_OFFSET..NAME_OFFSET + NAME_LENGTH).ok_or(Error::OutOfBounds {
            what: format!("the module's name in section {THIS_MODULE}"),
            offset: NAME_OFFSET as u64,
            size: NAME_LENGTH as u64,
            available: section.data.len() as u64,
        })?;
        let text = field.split(|&byte| byte == 0).next().unwrap_or_default();
        ModuleName::new(&String::from_utf8_lossy(text)).map_err(Error::Name)
    }

    /// Symbols that the livepatch core resolves (section index `SHN_LIVEPATCH`), with their parsed names.
    pub fn klp_symbols(&self) -> impl Iterator<Item = (&Symbol<'a>, Result<KlpSymbol, NameError>)> {
        let livepatch = |symbol: &&Symbol<'a>| symbol.section == SymbolSection::Livepatch;
        self.elf
            .symbols
            .iter()
            .filter(livepatch)
            .map(|symbol| (symbol, KlpSymbol::from_elf_name(symbol.name)))
    }

    /// Undefined symbols that were not converted to livepatch symbols; the kernel cannot resolve them.
    pub fn unconverted_symbols(&self) -> impl Iterator<Item = &Symbol<'a>> {
        self.elf.symbols.iter().filter(|symbol| {
            symbol.section == SymbolSection::Undefined
                && (symbol.name.starts_with(SYMBOL_PREFIX) || symbol.name.starts_with(ALIAS_PREFIX))
        })
    }

    /// Manifest: fixes and functions of the module; `None` if the module was not built by Ferrograft.
    ///
    /// # Errors
    /// The manifest is invalid, or its schema is newer than this program.
    pub fn manifest(&self) -> Result<Option<Manifest>, ManifestError> {
        self.modinfo_value(MANIFEST_KEY).map(|text| Manifest::from_modinfo(&text)).transpose()
    }

    /// Build id: description of the GNU build-id note, in hexadecimal digits.
    pub fn build_id(&self) -> Option<String> {
        build_id_of_notes(self.section(".note.gnu.build-id")?.data)
    }

    /// True if a signature is appended. The result does not depend on the signer or on the keys of the kernel.
    pub fn has_appended_signature(&self) -> bool {
        signature::is_signed(self.bytes)
    }

    /// Function that covers an offset of a section; if several do, the one with the highest start.
    pub fn function_at(&self, section: usize, offset: u64) -> Option<&Symbol<'a>> {
        let covers = |symbol: &&Symbol<'a>| {
            symbol.kind == SymbolKind::Function
                && symbol.section == SymbolSection::Section(section)
                && offset
                    .checked_sub(symbol.value)
                    .is_some_and(|inside| inside < symbol.size || (inside == 0 && symbol.size == 0))
        };
        self.elf.symbols.iter().filter(covers).max_by_key(|symbol| symbol.value)
    }
}

/// GNU build id in an ELF note section, in hexadecimal digits. `/sys/module/<name>/notes/` and `/sys/kernel/notes` have
/// the same format. Source: the ELF gABI, section Note Sections.
pub fn build_id_of_notes(mut notes: &[u8]) -> Option<String> {
    const GNU_BUILD_ID: u32 = 3;
    let word = |bytes: &[u8], at: usize| {
        Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    loop {
        let name_size = word(notes, 0)? as usize;
        let size = word(notes, 4)? as usize;
        let kind = word(notes, 8)?;
        let name = notes.get(12..12_usize.checked_add(name_size)?)?;
        let start = 12_usize.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let description = notes.get(start..start.checked_add(size)?)?;
        if kind == GNU_BUILD_ID && name == b"GNU\0" {
            return Some(description.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = notes.get(start.checked_add(size.checked_next_multiple_of(4)?)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::build_id_of_notes;

    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let mut notes = Vec::new();
        for (kind, name, description) in
            [(1_u32, &b"Linux\0"[..], &b"abc"[..]), (3, b"GNU\0", &[0xab, 0x01, 0xff])]
        {
            notes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
            notes.extend(u32::try_from(description.len()).unwrap().to_le_bytes());
            notes.extend(kind.to_le_bytes());
            for part in [name, description] {
                notes.extend(part);
                notes.resize(notes.len().next_multiple_of(4), 0);
            }
        }
        assert_eq!(build_id_of_notes(&notes).as_deref(), Some("ab01ff"));
        for length in 0..notes.len() - 1 {
            assert_eq!(build_id_of_notes(&notes[..length]), None, "{length}");
        }
        assert_eq!(build_id_of_notes(&[0xff; 64]), None);
    }
}
