// SPDX-License-Identifier: GPL-2.0-or-later
//! Minimal reader of the ELF file in an image: sections, and bytes by virtual address.

use object::elf;
use object::read::elf::{FileHeader, SectionHeader};

use crate::error::ImageError;

/// Section of a kernel's ELF file.
#[derive(Clone, Debug)]
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    /// Virtual address at link time.
    pub(crate) address: u64,
    /// Bytes in the file; empty for a section without file content (`.bss`).
    pub(crate) data: &'a [u8],
    /// Size in memory, in bytes.
    pub(crate) size: u64,
    /// True if the section contains code.
    pub(crate) executable: bool,
}

impl Section<'_> {
    /// True if the address lies in this section.
    pub(crate) fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|offset| offset < self.size)
    }
}

/// Linked kernel.
///
/// # Invariants
/// Every section's data lies inside the file.
pub(crate) struct Vmlinux<'a> {
    sections: Vec<Section<'a>>,
}

impl<'a> Vmlinux<'a> {
    /// Reads the section headers and keeps only loaded sections (`SHF_ALLOC`).
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let damaged = |error: object::read::Error| ImageError::Damaged(error.to_string());
        let header = elf::FileHeader64::<object::LittleEndian>::parse(bytes).map_err(damaged)?;
        let endian = header.endian().map_err(damaged)?;
        let table = header.sections(endian, bytes).map_err(damaged)?;
        let mut sections = Vec::new();
        for section in table.iter() {
            let flags = section.sh_flags(endian);
            if !flags.contains(elf::SHF_ALLOC) {
                continue;
            }
            let name = table.section_name(endian, section).map_err(damaged)?;
            sections.push(Section {
                name: std::str::from_utf8(name)
                    .map_err(|_| ImageError::Damaged("a section's name is no text".to_owned()))?,
                address: section.sh_addr(endian),
                data: section.data(endian, bytes).map_err(damaged)?,
                size: section.sh_size(endian),
                executable: flags.contains(elf::SHF_EXECINSTR),
            });
        }
        Ok(Self { sections })
    }

    /// Section with this name.
    pub(crate) fn section(&self, name: &str) -> Result<&Section<'a>, ImageError> {
        let found = self.sections.iter().find(|section| section.name == name);
        found.ok_or_else(|| ImageError::Missing(format!("section {name}")))
    }

    /// All loaded sections.
    pub(crate) fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// Section that contains an address.
    pub(crate) fn section_at(&self, address: u64) -> Option<&Section<'a>> {
        self.sections.iter().find(|section| section.holds(address))
    }

    /// Bytes from `start` to `end`, which must lie in one section.
    pub(crate) fn bytes(&self, start: u64, end: u64) -> Option<&'a [u8]> {
        let section = self.section_at(start)?;
        let from = usize::try_from(start.checked_sub(section.address)?).ok()?;
        let to = usize::try_from(end.checked_sub(section.address)?).ok()?;
        section.data.get(from..to)
    }

    /// Addresses that the kernel writes into its data at boot: place and address (`R_AARCH64_RELATIVE` in `.rela.dyn`).
    pub(crate) fn relative(&self) -> impl Iterator<Item = (u64, u64)> {
        const RELATIVE: u32 = 1027;
        let relocations = self.section(".rela.dyn").map_or(&[][..], |section| section.data);
        relocations.as_chunks::<24>().0.iter().filter_map(|entry| {
            (u32_at(entry, 8)? == RELATIVE).then_some((u64_at(entry, 0)?, u64_at(entry, 16)?))
        })
    }

    /// Addresses of a table from `start` to `end`. Relocatable arm64 kernels store the addresses in relocations that add
    /// the load offset (`R_AARCH64_RELATIVE` in `.rela.dyn`), and zeroes in the table.
    pub(crate) fn addresses(&self, start: u64, end: u64) -> Option<Vec<u64>> {
        let table = self.bytes(start, end)?;
        let mut addresses: Vec<u64> =
            table.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        for (place, address) in self.relative().filter(|(place, _)| (start..end).contains(place)) {
            let index = usize::try_from((place - start) / 8).ok()?;
            *addresses.get_mut(index)? = address;
        }
        Some(addresses)
    }

    /// Version magic that the kernel compares with that of each module: a string that starts with the release and
    /// describes the build (`include/linux/vermagic.h`).
    pub(crate) fn vermagic(&self, release: &str) -> Result<String, ImageError> {
        let start = format!("{release} ");
        self.section(".rodata")?
            .data
            .split(|byte| *byte == 0)
            .filter(|text| text.starts_with(start.as_bytes()))
            .filter_map(|text| std::str::from_utf8(text).ok())
            .find(|text| text.contains("mod_unload"))
            .map(ToOwned::to_owned)
            .ok_or_else(|| {
                ImageError::Missing(format!("version magic of {release}: is it another kernel's image?"))
            })
    }
}

/// Little-endian number at `offset`.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Little-endian number at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Little-endian number at `offset`.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}
