// SPDX-License-Identifier: GPL-2.0-or-later
//! Compression formats of kernel images (`KERNEL_*` in `init/Kconfig`) and of module files (`MODULE_COMPRESS_*` in
//! `kernel/module/Kconfig`): one decoder for each.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

/// Upper limit for the dictionary of xz and lzma, in KiB. The kernel's build uses 128 MiB at most (`scripts/xz_wrap.sh`).
const DICTIONARY_KIB: u32 = 200 << 10;
/// Largest block of the legacy format of `lz4 -l`, in bytes.
const LZ4_BLOCK: usize = 8 << 20;

/// File name extensions of modules.
pub const FILE_EXTENSIONS: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// File name without the extension of a module; `None` for other files.
pub fn file_stem(file: &str) -> Option<&str> {
    FILE_EXTENSIONS.iter().find_map(|extension| file.strip_suffix(extension)).filter(|stem| !stem.is_empty())
}

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// LZ4, the legacy frame of `lz4 -l`.
    Lz4,
    /// LZMA alone, without the container of xz.
    Lzma,
    /// bzip2.
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

/// Error of compressed data that cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// The stream is damaged or truncated.
    #[error("its {format} stream is damaged or cut off: {message}")]
    Damaged {
        /// Format of the stream.
        format: Format,
        /// The decoder's message.
        message: String,
    },
    /// The unpacked data exceeds the limit of the caller.
    #[error("its {format} stream unpacks to more than {limit} bytes, the limit here")]
    TooLarge {
        /// Format of the stream.
        format: Format,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The unpacked size differs from the announced size.
    #[error("its {format} stream unpacks to {unpacked} bytes, {announced} are announced")]
    Size {
        /// Format of the stream.
        format: Format,
        /// Unpacked size, in bytes.
        unpacked: usize,
        /// Announced size, in bytes.
        announced: usize,
    },
}

impl Format {
    /// Compression format, detected by the first bytes. `None` if the bytes are not compressed or the format is unknown.
    pub fn of(bytes: &[u8]) -> Option<Self> {
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

    /// True if the kernel's build compresses modules in this format.
    fn is_for_modules(self) -> bool {
        matches!(self, Self::Gzip | Self::Xz | Self::Zstd)
    }

    /// Unpacks a stream of this format into at most `limit` bytes. `size` is the announced size, if known.
    ///
    /// # Errors
    /// The stream is damaged, or its unpacked size exceeds `limit` or differs from `size`.
    pub fn unpack(self, bytes: &[u8], size: Option<usize>, limit: usize) -> Result<Vec<u8>, UnpackError> {
        let damaged =
            |error: &dyn fmt::Display| UnpackError::Damaged { format: self, message: error.to_string() };
        let too_large = UnpackError::TooLarge { format: self, limit };
        if size.is_some_and(|size| size > limit) {
            return Err(too_large);
        }
        let mut unpacked = Vec::with_capacity(size.unwrap_or(bytes.len().saturating_mul(4)).min(limit));
        if self == Self::Lz4 {
            lz4(bytes, &mut unpacked, limit).map_err(|error| damaged(&error))?;
        } else {
            // One byte more than the limit reveals a longer stream.
            let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
            let reader = self.reader(bytes).map_err(|error| damaged(&error))?;
            reader.take(most).read_to_end(&mut unpacked).map_err(|error| damaged(&error))?;
        }
        match size {
            _ if unpacked.len() > limit => Err(too_large),
            Some(announced) if unpacked.len() != announced => {
                Err(UnpackError::Size { format: self, unpacked: unpacked.len(), announced })
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
            Self::Lz4 => return Err("blocks, not a stream".to_owned()),
        })
    }
}

/// Unpacks the legacy LZ4 format: blocks of at most 8 MiB, each preceded by its length.
fn lz4(bytes: &[u8], unpacked: &mut Vec<u8>, limit: usize) -> Result<(), String> {
    let mut block = vec![0; LZ4_BLOCK];
    let mut rest = bytes.get(4..).unwrap_or_default();
    while !rest.is_empty() && unpacked.len() <= limit {
        let (length, blocks) = rest.split_first_chunk().ok_or("a block's length is cut off")?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|error| error.to_string())?;
        let (packed, behind) = blocks.split_at_checked(length).ok_or("a block is cut off")?;
        rest = behind;
        let size = lz4_flex::block::decompress_into(packed, &mut block).map_err(|error| error.to_string())?;
        unpacked.extend(block.get(..size).unwrap_or_default());
    }
    Ok(())
}

/// Bytes of a module file, unpacked if they are compressed in a module format.
///
/// # Errors
/// The compressed bytes are damaged, or unpack to more than `limit` bytes.
pub fn unpack(bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, UnpackError> {
    match Format::of(bytes).filter(|format| format.is_for_modules()) {
        Some(format) => format.unpack(bytes, None, limit).map(Cow::Owned),
        None => Ok(Cow::Borrowed(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = include_bytes!("../tests/data/packed/text");
    const PACKED: [(Format, &[u8]); 6] = [
        (Format::Gzip, include_bytes!("../tests/data/packed/text.gz")),
        (Format::Xz, include_bytes!("../tests/data/packed/text.xz")),
        (Format::Zstd, include_bytes!("../tests/data/packed/text.zst")),
        (Format::Lz4, include_bytes!("../tests/data/packed/text.lz4")),
        (Format::Lzma, include_bytes!("../tests/data/packed/text.lzma")),
        (Format::Bzip2, include_bytes!("../tests/data/packed/text.bz2")),
    ];
    const MODULE: &[u8] = include_bytes!("../tests/data/cmdline_c.ko");
    const PACKED_MODULES: [&[u8]; 3] = [
        include_bytes!("../tests/data/cmdline_c.ko.gz"),
        include_bytes!("../tests/data/cmdline_c.ko.xz"),
        include_bytes!("../tests/data/cmdline_c.ko.zst"),
    ];

    #[test]
    fn every_format_of_the_kernels_build_is_unpacked() {
        for (format, packed) in PACKED {
            assert_eq!(Format::of(packed), Some(format));
            let unpacked = format.unpack(packed, Some(TEXT.len()), 1 << 20);
            assert!(unpacked.as_deref() == Ok(TEXT), "{format}: {:?}", unpacked.map(|bytes| bytes.len()));
        }
    }

    #[test]
    fn limits_announced_sizes_and_cut_streams_are_errors() {
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

    #[test]
    fn modules_are_unpacked_or_left_as_they_are() {
        assert!(matches!(unpack(MODULE, 10).unwrap(), Cow::Borrowed(bytes) if bytes == MODULE));
        for packed in PACKED_MODULES {
            assert!(unpack(packed, MODULE.len()).unwrap() == MODULE);
            let error = unpack(packed, MODULE.len() - 1).unwrap_err().to_string();
            assert!(error.contains("unpacks to more than"), "{error}");
            for length in (6..packed.len()).step_by(61) {
                assert!(unpack(&packed[..length], 1 << 20).is_err(), "cut to {length}");
            }
        }
    }
}
