// SPDX-License-Identifier: GPL-2.0-or-later
//! A module's file, read: as it is, or unpacked where it is compressed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use klp_module::Module;
use rustix::fs::OFlags;

use crate::model::error::Error;
use crate::model::refusal::Refusal;
use crate::model::store::Source;
use crate::model::system::Image;

/// The largest file that is read, and the most that it may unpack to, in bytes: many times that of a module with full debug
/// information.
const SIZE_MAX: usize = 256 << 20;

/// What a module's file is called at its end.
const ENDINGS: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// The name without the ending of a module's file; `None` when it is none.
pub(crate) fn stem(file: &str) -> Option<&str> {
    ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)).filter(|stem| !stem.is_empty())
}

/// A module's file, open and read.
pub(crate) struct ModuleFile {
    file: File,
    /// The module.
    pub(crate) bytes: Vec<u8>,
    /// The file, where that is compressed.
    packed: Option<Vec<u8>>,
}

impl ModuleFile {
    /// Reads a file.
    pub(crate) fn open(source: &Source) -> Result<Self, Error> {
        let path: &Path = &source.shown;
        let error = |action, error| Error::file(action, path, error);
        // A pipe that somebody put there must not be waited for.
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let opened = File::options().read(true).custom_flags(nonblocking).open(&source.file);
        let mut file = opened.map_err(|source| error("open", source))?;
        let metadata = file.metadata().map_err(|source| error("read", source))?;
        if !metadata.is_file() {
            return Err(error("read", io::Error::other("it is no regular file")));
        }
        let length = metadata.len();
        if length > SIZE_MAX as u64 {
            return Err(Error::TooLarge { path: path.to_owned(), length, limit: SIZE_MAX as u64 });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
        (&mut file).take(SIZE_MAX as u64).read_to_end(&mut bytes).map_err(|source| error("read", source))?;
        let unpacked = match klp_module::unpack(&bytes, SIZE_MAX) {
            Ok(unpacked) => unpacked,
            Err(error) => return Err(refused(source, Refusal::Packed(error))),
        };
        match unpacked {
            std::borrow::Cow::Borrowed(_) => Ok(Self { file, bytes, packed: None }),
            std::borrow::Cow::Owned(unpacked) => Ok(Self { file, bytes: unpacked, packed: Some(bytes) }),
        }
    }

    /// The file's own bytes, compressed or not.
    pub(crate) fn raw(&self) -> &[u8] {
        self.packed.as_deref().unwrap_or(&self.bytes)
    }

    /// What goes into the kernel.
    pub(crate) fn image(&self) -> Image<'_> {
        if self.packed.is_some() { Image::Bytes(&self.bytes) } else { Image::File(&self.file) }
    }

    /// The module in it.
    pub(crate) fn module(&self, source: &Source) -> Result<Module<'_>, Error> {
        Module::parse(&self.bytes).map_err(|error| refused(source, Refusal::NotAModule(error)))
    }
}

/// Which build of a module: its build id, or a checksum where it has none.
pub(crate) fn build_of(module: &Module<'_>, bytes: &[u8]) -> String {
    // FNV-1a, 64 bits: it only has to tell builds of one name apart.
    let checksum = || {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    module.build_id().unwrap_or_else(|| format!("fnv-{:016x}", checksum()))
}

/// An error for a file that cannot be loaded for one reason.
pub(crate) fn refused(source: &Source, refusal: Refusal) -> Error {
    Error::Refused { path: source.shown.clone(), refusals: vec![refusal] }
}
