// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads a finished kernel module (`.ko`): sections, symbols, relocations, module information and the tables of a live
//! patch.
//!
//! It is the second opinion on what the pipeline writes, and the loader's eyes: it shares no code with the ELF writer
//! beyond `klp-format`. Bytes in, facts out: no I/O, no panic on any input, and no more memory than a small multiple of
//! the input.
//!
//! Sources of the rules: the ELF gABI; `kernel/module/main.c`, `include/linux/module.h` and
//! `Documentation/livepatch/module-elf-format.rst` of the kernel.

mod elf;
mod error;
mod find;
mod manifest;
mod table;
mod unpack;

use std::borrow::Cow;

use klp_format::{ALIAS_PREFIX, KlpSymbol, ModuleName, NameError, SYMBOL_PREFIX};

pub use elf::{Binding, Machine, Relocation, Section, Symbol, SymbolKind, SymbolSection};
pub use error::{Error, TableError};
pub use manifest::{Kernel, MANIFEST_KEY, MANIFEST_SCHEMA, Manifest, ManifestError, ManifestFix, State};
pub use table::{KlpLayout, PatchTable, PatchedFunction, PatchedObject, Place};
pub use unpack::{Format, UnpackError, unpack};

/// The symbol that names the `struct klp_patch` of Ferrograft's modules (`klp::patch!` in `kmod/src/core/tables.rs`).
pub const PATCH_SYMBOL: &str = "__klp_patch";

/// The last bytes of a signed module (`MODULE_SIG_STRING` in `include/linux/module_signature.h`).
const SIGNATURE_TRAILER: &[u8] = b"~Module signature appended~\n";
/// Section that holds the module's `struct module`.
const THIS_MODULE: &str = ".gnu.linkonce.this_module";
/// Where `name` stands in `struct module` of 64-bit kernels: after `enum module_state state` and `struct list_head list`.
const NAME_OFFSET: usize = 24;
/// `MODULE_NAME_LEN` of 64-bit kernels.
const NAME_LENGTH: usize = 56;

/// A kernel module for x86_64 or arm64, read and checked for consistency.
///
/// # Invariants
/// Every section's data, every name, every symbol's section and every relocation's symbol and target lie inside the file.
pub struct Module<'a> {
    bytes: &'a [u8],
    elf: elf::Tables<'a>,
}

impl<'a> Module<'a> {
    /// Reads a module.
    ///
    /// # Errors
    /// The bytes are no relocatable little-endian 64-bit ELF file for a machine that we know, or something in them points
    /// out of the file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Ok(Self { bytes, elf: elf::Tables::parse(bytes)? })
    }

    /// The processor it is for.
    pub fn machine(&self) -> Machine {
        self.elf.machine
    }

    /// All sections, in the order of the file, the null section first: a section's place is its index.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.elf.sections
    }

    /// The first section of that name: the one that the kernel takes.
    pub fn section(&self, name: &str) -> Option<&Section<'a>> {
        self.elf.sections.iter().find(|section| section.name == name)
    }

    /// All symbols, in the order of the file, the null symbol first: a symbol's place is its index.
    pub fn symbols(&self) -> &[Symbol<'a>] {
        &self.elf.symbols
    }

    /// The first symbol of that name.
    pub fn symbol(&self, name: &str) -> Option<&Symbol<'a>> {
        self.elf.symbols.iter().find(|symbol| symbol.name == name)
    }

    /// All relocations in the order of the file, ordinary ones and those that the livepatch core applies.
    pub fn relocations(&self) -> impl Iterator<Item = Relocation> + '_ {
        self.elf.relocation_sections().flat_map(|section| self.elf.relocations_in(section))
    }

    /// The relocations that change the section `target`, ordinary and livepatch.
    pub fn relocations_of(&self, target: usize) -> impl Iterator<Item = Relocation> + '_ {
        let of_target = move |section: &&Section<'a>| section.info as usize == target;
        self.elf.relocation_sections().filter(of_target).flat_map(|section| self.elf.relocations_in(section))
    }

    /// The module information: keys and values of the first `.modinfo` section, in its order. Bytes that are no UTF-8 are
    /// replaced; entries without `=` are left out, as the kernel passes over them.
    pub fn modinfo(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let data = self.section(".modinfo").map_or(&[][..], |section| section.data);
        data.split(|&byte| byte == 0).filter_map(|entry| {
            let at = entry.iter().position(|&byte| byte == b'=')?;
            Some((String::from_utf8_lossy(&entry[..at]), String::from_utf8_lossy(&entry[at + 1..])))
        })
    }

    /// The first value of a key of the module information: the one that the kernel takes.
    pub fn modinfo_value(&self, key: &str) -> Option<Cow<'a, str>> {
        self.modinfo().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The version magic: the kernel's release, then words for its configuration.
    pub fn vermagic(&self) -> Option<Cow<'a, str>> {
        self.modinfo_value("vermagic")
    }

    /// Whether the module tells the kernel that it is a live patch: the kernel looks for the key `livepatch` whatever its
    /// value (`check_modinfo_livepatch`).
    pub fn is_livepatch(&self) -> bool {
        self.modinfo_value("livepatch").is_some()
    }

    /// The name that the kernel will give the module: the one inside its `struct module`, not the file's.
    ///
    /// # Errors
    /// There is no `struct module` in the file (it is an object, no module), or the name in it is none.
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

    /// The symbols that the livepatch core resolves (section index `SHN_LIVEPATCH`), and what their names say.
    pub fn klp_symbols(&self) -> impl Iterator<Item = (&Symbol<'a>, Result<KlpSymbol, NameError>)> {
        let livepatch = |symbol: &&Symbol<'a>| symbol.section == SymbolSection::Livepatch;
        self.elf
            .symbols
            .iter()
            .filter(livepatch)
            .map(|symbol| (symbol, KlpSymbol::from_elf_name(symbol.name)))
    }

    /// Undefined symbols that should have been made livepatch symbols and were not: the kernel cannot resolve them.
    pub fn unconverted_symbols(&self) -> impl Iterator<Item = &Symbol<'a>> {
        self.elf.symbols.iter().filter(|symbol| {
            symbol.section == SymbolSection::Undefined
                && (symbol.name.starts_with(SYMBOL_PREFIX) || symbol.name.starts_with(ALIAS_PREFIX))
        })
    }

    /// What the module says of what it repairs; `None` where it was not built by Ferrograft.
    ///
    /// # Errors
    /// It has a manifest that is none, or of a schema that is newer than this program.
    pub fn manifest(&self) -> Result<Option<Manifest>, ManifestError> {
        self.modinfo_value(MANIFEST_KEY).map(|text| Manifest::from_modinfo(&text)).transpose()
    }

    /// The build id: the description of the GNU build-id note, in hexadecimal digits.
    pub fn build_id(&self) -> Option<String> {
        build_id_of_notes(self.section(".note.gnu.build-id")?.data)
    }

    /// Whether a signature is appended. It says nothing about who signed or whether the kernel knows the key.
    pub fn has_appended_signature(&self) -> bool {
        self.bytes.ends_with(SIGNATURE_TRAILER)
    }

    /// The function that covers an offset of a section: of several the one that begins last.
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

    /// Reads the live patch's tables, beginning with the `struct klp_patch` that the symbol `patch` names.
    ///
    /// The kernel's layouts of the three structures come from its BTF: they differ between kernels.
    ///
    /// # Errors
    /// There is no such symbol, a pointer that must be there has no relocation or leads out of the module, or a table has
    /// no end within 10,000 entries.
    pub fn patch_table(&self, layout: &KlpLayout, patch: &str) -> Result<PatchTable, TableError> {
        table::read(self, layout, patch)
    }

    /// Reads the live patch's tables of any module: those that [`PATCH_SYMBOL`] names, else those whose address the module
    /// gives to `klp_enable_patch`.
    ///
    /// # Errors
    /// As [`Self::patch_table`]; or the argument cannot be seen.
    pub fn tables(&self, layout: &KlpLayout) -> Result<PatchTable, TableError> {
        match self.symbol(PATCH_SYMBOL) {
            Some(_) => table::read(self, layout, PATCH_SYMBOL),
            None => table::read_at(self, layout, find::patch(self)?),
        }
    }

    /// As [`Self::tables`], where the kernel's layouts are not at hand: the members that patches fill in stand where they do
    /// since Linux 5.5, and the sizes follow from the entries that have relocations.
    ///
    /// # Errors
    /// As [`Self::tables`]; or a table has no symbol with a size, as in a module whose local symbols were stripped.
    pub fn tables_by_relocation(&self) -> Result<PatchTable, TableError> {
        let patch = find::patch(self)?;
        table::read_at(self, &find::layout(self, patch)?, patch)
    }
}

/// The GNU build id in the bytes of an ELF note section, as they also stand in `/sys/module/<name>/notes/` and
/// `/sys/kernel/notes`: in hexadecimal digits. Source: the ELF gABI, section Note Sections.
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
