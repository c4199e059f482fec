// SPDX-License-Identifier: GPL-2.0-or-later
//! Decompression of the kernel in a bootable x86 image.
//!
//! Source of the layout: `Documentation/arch/x86/boot.rst`, fields `setup_sects` (0x1f1), `header` (0x202),
//! `payload_offset` (0x248) and `payload_length` (0x24c).

use klp_module::Format;

use crate::elf::u32_at;
use crate::error::ImageError;

/// Maximum decompressed size, in bytes: eight times the size of distribution kernels.
const LIMIT: usize = 1 << 29;

/// Kernel of a bootable image, as an ELF file.
///
/// # Errors
/// The bytes are not an image, the image is truncated, or its payload cannot be decompressed.
pub fn decompress(image: &[u8]) -> Result<Vec<u8>, ImageError> {
    decompress_within(image, LIMIT)
}

/// Like [`decompress`], with `limit` instead of half a gigabyte.
///
/// # Errors
/// As [`decompress`], or the kernel is larger than `limit`.
pub fn decompress_within(image: &[u8], limit: usize) -> Result<Vec<u8>, ImageError> {
    let payload = payload(image)?;
    let format = Format::of(payload).ok_or_else(|| match payload.first_chunk() {
        Some(first) => ImageError::Compression(*first),
        None => ImageError::Form("its payload is empty"),
    })?;
    // The kernel's build appends the decompressed size to every payload (`size_append` in scripts/Makefile.lib); with
    // gzip the size is part of the stream.
    let announced =
        payload.split_last_chunk().map(|(stream, size)| (stream, u32::from_le_bytes(*size) as usize));
    let (stream, size) = announced.ok_or(ImageError::Form("its payload is empty"))?;
    let stream = if format == Format::Gzip { payload } else { stream };
    let kernel = format.unpack(stream, Some(size), limit)?;
    if kernel.starts_with(b"\x7fELF") {
        Ok(kernel)
    } else {
        Err(ImageError::Form("its payload is no ELF file"))
    }
}

/// Compressed kernel of an image.
fn payload(image: &[u8]) -> Result<&[u8], ImageError> {
    if slice(image, "its header", 0x202, 4)? != b"HdrS" {
        return Err(ImageError::Form("its header has no magic `HdrS` at 0x202"));
    }
    let setup_sectors = match slice(image, "its header", 0x1f1, 1)? {
        [0] => 4,
        [sectors] => usize::from(*sectors),
        _ => return Err(ImageError::Form("its header is damaged")),
    };
    let offset = ((setup_sectors + 1) * 512).saturating_add(le32(image, 0x248)?);
    slice(image, "its payload", offset, le32(image, 0x24c)?)
}

fn slice<'a>(
    image: &'a [u8],
    what: &'static str,
    offset: usize,
    length: usize,
) -> Result<&'a [u8], ImageError> {
    let end = offset.checked_add(length);
    end.and_then(|end| image.get(offset..end)).ok_or(ImageError::Truncated {
        what,
        offset,
        length,
        file: image.len(),
    })
}

fn le32(image: &[u8], offset: usize) -> Result<usize, ImageError> {
    slice(image, "its header", offset, 4)?;
    Ok(u32_at(image, offset).unwrap_or(0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image
    }

    /// Data that starts like an ELF file; not a kernel.
    fn elf() -> Vec<u8> {
        let mut elf = b"\x7fELF".to_vec();
        elf.resize(4096, 7);
        elf
    }

    fn gzip() -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &elf()).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4() -> Vec<u8> {
        let block = lz4_flex::block::compress(&elf());
        let length = (block.len() as u32).to_le_bytes();
        [&[2, 0x21, 0x4c, 0x18][..], &length, &block, &4096_u32.to_le_bytes()].concat()
    }

    #[test]
    fn decompress_returns_the_kernel() {
        assert_eq!(decompress(&image(&gzip())), Ok(elf()));
        assert_eq!(decompress(&image(&lz4())), Ok(elf()));
    }

    #[test]
    fn a_wrong_size_at_the_end_is_damage() {
        let mut image = image(&lz4());
        *image.last_mut().unwrap() = 1;
        assert!(matches!(decompress(&image), Err(ImageError::Packed(_))));
    }

    #[test]
    fn foreign_truncated_and_damaged_images_say_so() {
        assert!(matches!(decompress(b""), Err(ImageError::Truncated { .. })));
        assert!(matches!(decompress(&[0; 4096]), Err(ImageError::Form(_))));
        assert_eq!(decompress(&image(b"LZIP....")), Err(ImageError::Compression(*b"LZIP")));
        assert!(matches!(
            decompress(&image(&[0x28, 0xb5, 0x2f, 0xfd, 9, 9, 9, 0, 0, 0])),
            Err(ImageError::Packed(_))
        ));
        let mut cut = image(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0]);
        cut.truncate(1025);
        assert!(matches!(decompress(&cut), Err(ImageError::Truncated { .. })));
    }
}
