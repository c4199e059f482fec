// SPDX-License-Identifier: GPL-2.0-or-later
//! Compressed modules, `.ko.gz`, `.ko.xz`, `.ko.zst`: decoders in Rust with an output limit.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

/// The most that the decoder of xz may take for its dictionary, in KiB: `xz -9` takes 64 MiB.
const DICTIONARY_KIB: u32 = 100 << 10;

/// How a module's file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
}

impl Compression {
    /// By the first bytes of the file, whatever it is called.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => return None,
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

/// Why a compressed file cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream is cut or damaged.
    #[error("its {format} stream is damaged or cut off: {message}")]
    Damaged {
        /// Which.
        format: Compression,
        /// What the decoder says.
        message: String,
    },
    /// More than a module can have.
    #[error("it unpacks to more than {limit} bytes, which no kernel module has")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// The bytes as they are, or unpacked where they are compressed; never more than `limit` bytes of output.
///
/// # Errors
/// The stream is damaged, or there is more in it.
pub fn unpack(bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, UnpackError> {
    let Some(format) = Compression::of(bytes) else {
        return Ok(Cow::Borrowed(bytes));
    };
    let damaged = |error: &dyn fmt::Display| UnpackError::Damaged { format, message: error.to_string() };
    let reader: Box<dyn Read + '_> = match format {
        Compression::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(bytes, false, DICTIONARY_KIB)),
        Compression::Zstd => {
            Box::new(ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|error| damaged(&error))?)
        }
    };
    let mut unpacked = Vec::with_capacity(bytes.len().saturating_mul(4).min(limit));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(most).read_to_end(&mut unpacked).map_err(|error| damaged(&error))?;
    if unpacked.len() > limit {
        return Err(UnpackError::TooLarge { limit });
    }
    Ok(Cow::Owned(unpacked))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = include_bytes!("../tests/data/cmdline_c.ko");
    const PACKED: [(Compression, &[u8]); 3] = [
        (Compression::Gzip, include_bytes!("../tests/data/cmdline_c.ko.gz")),
        (Compression::Xz, include_bytes!("../tests/data/cmdline_c.ko.xz")),
        (Compression::Zstd, include_bytes!("../tests/data/cmdline_c.ko.zst")),
    ];

    #[test]
    fn what_the_tools_packed_comes_back() {
        assert!(matches!(unpack(MODULE, 10).unwrap(), Cow::Borrowed(bytes) if bytes == MODULE));
        for (format, packed) in PACKED {
            assert_eq!(Compression::of(packed), Some(format));
            assert!(unpack(packed, MODULE.len()).unwrap() == MODULE, "{format}");
            let error = unpack(packed, MODULE.len() - 1).unwrap_err().to_string();
            assert!(error.contains("unpacks to more than"), "{format}: {error}");
        }
    }

    #[test]
    fn cut_streams_are_errors() {
        for (format, packed) in PACKED {
            for length in (6..packed.len()).step_by(61) {
                assert!(unpack(&packed[..length], 1 << 20).is_err(), "{format} cut to {length}");
            }
        }
    }
}
