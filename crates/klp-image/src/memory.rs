// SPDX-License-Identifier: GPL-2.0-or-later
//! Content of a kernel's memory before it boots: bytes by their addresses at link time.

use std::ops::Range;

use crate::elf::Vmlinux;
use crate::error::ImageError;

/// Content of a kernel's memory.
pub struct Memory {
    /// The ELF file.
    bytes: Vec<u8>,
    /// Address and range in the file of each loaded section with content.
    sections: Vec<(u64, Range<usize>)>,
}

impl Memory {
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, ImageError> {
        let base = bytes.as_ptr().addr();
        let sections = Vmlinux::parse(&bytes)?
            .sections()
            .iter()
            .filter(|section| !section.data.is_empty())
            .map(|section| {
                let start = section.data.as_ptr().addr() - base;
                (section.address, start..start + section.data.len())
            })
            .collect();
        Ok(Self { bytes, sections })
    }

    /// `length` bytes at an address. `None` if they are not in one section with content.
    pub fn bytes(&self, address: u64, length: u64) -> Option<&[u8]> {
        self.sections.iter().find_map(|(start, range)| {
            let from = usize::try_from(address.checked_sub(*start)?).ok()?;
            let to = from.checked_add(usize::try_from(length).ok()?)?;
            self.bytes.get(range.clone())?.get(from..to)
        })
    }
}
