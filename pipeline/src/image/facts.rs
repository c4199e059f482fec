// SPDX-License-Identifier: GPL-2.0-or-later
//! Single facts out of a decompressed kernel.

use object::elf;
use object::read::elf::{FileHeader, SectionHeader};

use super::bzimage::ImageError;

/// The bytes of a section.
pub(super) fn section<'a>(vmlinux: &'a [u8], name: &str) -> Result<&'a [u8], ImageError> {
    let damaged = |error: object::read::Error| ImageError::Damaged(error.to_string());
    let header = elf::FileHeader64::<object::LittleEndian>::parse(vmlinux).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let sections = header.sections(endian, vmlinux).map_err(damaged)?;
    let (_, section) = sections.section_by_name(endian, name.as_bytes()).ok_or_else(|| {
        ImageError::Missing(format!("section {name}; is it built with CONFIG_DEBUG_INFO_BTF?"))
    })?;
    section.data(endian, vmlinux).map_err(damaged)
}

/// The version magic that the kernel compares with each module's: a string that begins with the release and names
/// the build's properties (`include/linux/vermagic.h`).
pub(super) fn vermagic(vmlinux: &[u8], release: &str) -> Result<String, ImageError> {
    let rodata = section(vmlinux, ".rodata")?;
    let start = format!("{release} ");
    rodata
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .find(|text| text.starts_with(&start) && text.contains("mod_unload"))
        .map(ToOwned::to_owned)
        .ok_or_else(|| {
            ImageError::Missing(format!("version magic of {release}: is it another kernel's image?"))
        })
}
