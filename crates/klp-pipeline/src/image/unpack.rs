// SPDX-License-Identifier: GPL-2.0-or-later
//! Decompressors of the six formats that kernels and modules are packed with, all in Rust, all with an output limit.

use std::fmt;
use std::io::Read;

use super::elf::u32_at;
use super::error::ImageError;

/// The most that decoders of xz and lzma may take for their dictionary: `xz -9` of the kernel's build takes 128 MiB.
const DICTIONARY_KIB: u32 = 200 << 10;
/// Uncompressed bytes of a block of the old lz4 format, all blocks but the last.
const LZ4_BLOCK: usize = 8 << 20;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Xz,
    Zstd,
    /// The old frame, which the kernel's build writes with `lz4 -l`.
    Lz4,
    /// The format without a magic, `.lzma`.
    Lzma,
    Bzip2,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Bzip2 => "bzip2",
        })
    }
}

impl Format {
    /// The format by its first bytes, as the kernel itself tells them apart (`lib/decompress.c`).
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x02, 0x21, 0x4c, 0x18, ..] => Self::Lz4,
            [0x5d, 0, 0, ..] => Self::Lzma,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            _ => return None,
        })
    }

    /// The bytes, decompressed. `size` is what they must be, where it is known.
    pub(super) fn unpack(
        self,
        bytes: &[u8],
        size: Option<usize>,
        limit: usize,
    ) -> Result<Vec<u8>, ImageError> {
        let damaged = |what: &dyn fmt::Display| ImageError::Damaged(format!("its {self} stream: {what}"));
        let over = || damaged(&format_args!("it unpacks to more than {} MiB", limit >> 20));
        if size.is_some_and(|size| size > limit) {
            return Err(over());
        }
        let mut unpacked = Vec::with_capacity(size.unwrap_or(bytes.len().saturating_mul(4)).min(limit));
        match self {
            Self::Lz4 => lz4(bytes, &mut unpacked, limit).map_err(|error| damaged(&error))?,
            _ => {
                let reader = self.reader(bytes).map_err(|error| damaged(&error))?;
                let most = limit as u64 + 1;
                reader.take(most).read_to_end(&mut unpacked).map_err(|error| damaged(&error))?;
            }
        }
        match size {
            _ if unpacked.len() > limit => Err(over()),
            Some(size) if unpacked.len() != size => {
                Err(damaged(&format_args!("it unpacks to {} bytes, {size} are announced", unpacked.len())))
            }
            _ => Ok(unpacked),
        }
    }

    fn reader(self, bytes: &[u8]) -> Result<Box<dyn Read + '_>, String> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(bytes, false, DICTIONARY_KIB)),
            Self::Zstd => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(bytes);
                Box::new(decoder.map_err(|error| error.to_string())?)
            }
            Self::Lzma => {
                let decoder = lzma_rust2::LzmaReader::new_mem_limit(bytes, DICTIONARY_KIB, None);
                Box::new(decoder.map_err(|error| error.to_string())?)
            }
            Self::Bzip2 => Box::new(bzip2::read::BzDecoder::new(bytes)),
            Self::Lz4 => Box::new(std::io::empty()),
        })
    }
}

/// Blocks, each after its length, behind one magic.
fn lz4(bytes: &[u8], unpacked: &mut Vec<u8>, limit: usize) -> Result<(), String> {
    let mut block = vec![0; LZ4_BLOCK];
    let mut at = 4;
    while at < bytes.len() && unpacked.len() <= limit {
        let length = u32_at(bytes, at).ok_or("a block's length is cut")? as usize;
        at += 4;
        let packed = at.checked_add(length).and_then(|end| bytes.get(at..end)).ok_or("a block is cut")?;
        at += length;
        let size = lz4_flex::block::decompress_into(packed, &mut block).map_err(|error| error.to_string())?;
        unpacked.extend(block.get(..size).unwrap_or_default());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text and its packed forms, made by the tools that the kernel's build uses (see tests/data/image/README.md).
    const TEXT: &[u8] = include_bytes!("../../tests/data/image/text");
    const PACKED: [(Format, &[u8]); 6] = [
        (Format::Gzip, include_bytes!("../../tests/data/image/text.gz")),
        (Format::Xz, include_bytes!("../../tests/data/image/text.xz")),
        (Format::Zstd, include_bytes!("../../tests/data/image/text.zst")),
        (Format::Lz4, include_bytes!("../../tests/data/image/text.lz4")),
        (Format::Lzma, include_bytes!("../../tests/data/image/text.lzma")),
        (Format::Bzip2, include_bytes!("../../tests/data/image/text.bz2")),
    ];

    #[test]
    fn what_the_tools_packed_comes_back() {
        for (format, packed) in PACKED {
            assert_eq!(Format::of(packed), Some(format));
            let unpacked = format.unpack(packed, Some(TEXT.len()), 1 << 20);
            assert!(unpacked.as_deref() == Ok(TEXT), "{format}: {:?}", unpacked.map(|bytes| bytes.len()));
        }
    }

    #[test]
    fn limits_announced_sizes_and_cuts_are_kept() {
        for (format, packed) in PACKED {
            let limited = format.unpack(packed, None, TEXT.len() - 1).unwrap_err().to_string();
            assert!(limited.contains("more than"), "{limited}");
            let wrong = format.unpack(packed, Some(TEXT.len() + 1), 1 << 20).unwrap_err().to_string();
            assert!(wrong.contains("are announced"), "{wrong}");
            for length in 0..packed.len() {
                let cut = packed.get(..length).unwrap();
                assert!(format.unpack(cut, Some(TEXT.len()), 1 << 20).is_err(), "{format} cut to {length}");
            }
        }
    }
}
