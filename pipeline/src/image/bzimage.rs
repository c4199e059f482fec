// SPDX-License-Identifier: GPL-2.0-or-later
//! The compressed kernel inside a bootable x86 image.
//!
//! Source of the layout: `Documentation/arch/x86/boot.rst`, fields `setup_sects` (0x1f1), `header` (0x202),
//! `payload_offset` (0x248) and `payload_length` (0x24c).

use std::io::Read;

use super::error::ImageError;

/// The most that an image may decompress to: ten times what distributions' kernels have.
const LIMIT: u64 = 1 << 30;

/// The kernel as an ELF file, out of a bootable image.
///
/// # Errors
/// The bytes are no image, a truncated one, or one whose payload cannot be decompressed.
pub fn decompress(image: &[u8]) -> Result<Vec<u8>, ImageError> {
    if slice(image, "its header", 0x202, 4)? != b"HdrS" {
        return Err(ImageError::Form("its header has no magic `HdrS` at 0x202"));
    }
    let setup_sectors = match slice(image, "its header", 0x1f1, 1)? {
        [0] => 4,
        [sectors] => usize::from(*sectors),
        _ => return Err(ImageError::Form("its header is damaged")),
    };
    let offset = (setup_sectors + 1) * 512 + le32(image, 0x248)?;
    let length = le32(image, 0x24c)?;
    let payload = slice(image, "its payload", offset, length)?;
    let kernel = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd(payload)?,
        [a, b, c, d, ..] => return Err(ImageError::Compression([*a, *b, *c, *d])),
        _ => return Err(ImageError::Form("its payload is empty")),
    };
    if kernel.starts_with(b"\x7fELF") {
        Ok(kernel)
    } else {
        Err(ImageError::Form("its payload is no ELF file"))
    }
}

/// One frame; the size that the kernel's build appends after it is not part of it.
fn zstd(payload: &[u8]) -> Result<Vec<u8>, ImageError> {
    let damaged = |error: &dyn std::fmt::Display| ImageError::Damaged(format!("zstd: {error}"));
    let decoder = ruzstd::decoding::StreamingDecoder::new(payload).map_err(|error| damaged(&error))?;
    let mut kernel = Vec::new();
    decoder.take(LIMIT + 1).read_to_end(&mut kernel).map_err(|error| damaged(&error))?;
    if kernel.len() as u64 > LIMIT {
        return Err(ImageError::Damaged("it decompresses to more than 1 GiB".to_owned()));
    }
    Ok(kernel)
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
    let bytes = slice(image, "its header", offset, 4)?;
    let value = bytes.iter().rev().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    usize::try_from(value).map_err(|_| ImageError::Form("its header is damaged"))
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

    #[test]
    fn foreign_truncated_and_damaged_images_say_so() {
        assert!(matches!(decompress(b""), Err(ImageError::Truncated { .. })));
        assert!(matches!(decompress(&[0; 4096]), Err(ImageError::Form(_))));
        assert_eq!(decompress(&image(b"BZh9....")), Err(ImageError::Compression(*b"BZh9")));
        assert!(matches!(
            decompress(&image(&[0x28, 0xb5, 0x2f, 0xfd, 9, 9, 9])),
            Err(ImageError::Damaged(_))
        ));
        let mut cut = image(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0]);
        cut.truncate(1025);
        assert!(matches!(decompress(&cut), Err(ImageError::Truncated { .. })));
    }
}
