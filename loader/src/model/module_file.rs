// SPDX-License-Identifier: GPL-2.0-or-later
//! Reader of module files; decompresses `.ko.xz`, `.ko.zst` and `.ko.gz`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use klp_module::{Module, file_stem};
use rustix::fs::OFlags;

use crate::model::error::Error;
use crate::model::refusal::Refusal;
use crate::model::system::{Image, System};

/// Limit on the size of a file and of its decompressed content, in bytes: many times the size of a module with full debug
/// information.
const SIZE_MAX: usize = 256 << 20;

/// Path of a module file.
pub(crate) struct Source {
    /// Path as the operator wrote it, or inside the machine's root; for messages.
    pub(crate) shown: PathBuf,
    /// Path to open.
    pub(crate) file: PathBuf,
}

impl Source {
    /// Source for a path from the command line.
    pub(crate) fn argument(path: &Path) -> Self {
        Self { shown: path.to_owned(), file: path.to_owned() }
    }
}

/// File of a module of the running kernel, as `modprobe` finds it. `None` if the machine has none, or no list of its modules.
pub(crate) fn of_kernel(system: &System, name: &str) -> Result<Option<ModuleFile>, Error> {
    let dir = format!("/lib/modules/{}", system.release()?);
    let list = system.read_bytes(&format!("{dir}/modules.dep"))?.unwrap_or_default();
    let list = String::from_utf8_lossy(&list);
    let is_it = |file: &&str| {
        let stem = file_stem(file.rsplit('/').next().unwrap_or_default());
        stem.is_some_and(|stem| stem.replace('-', "_") == name)
    };
    let Some(file) = list.lines().filter_map(|line| line.split(':').next()).find(is_it) else {
        return Ok(None);
    };
    // Paths in the list are relative to its directory, or absolute.
    let shown = Path::new(&dir).join(file);
    ModuleFile::open(&Source { file: system.path(&shown), shown }).map(Some)
}

/// An open module file and its content.
pub(crate) struct ModuleFile {
    shown: PathBuf,
    file: File,
    /// Content of the module, decompressed.
    pub(crate) bytes: Vec<u8>,
    /// Content of the file, if it is compressed.
    packed: Option<Vec<u8>>,
}

impl ModuleFile {
    /// Opens and reads a file.
    pub(crate) fn open(source: &Source) -> Result<Self, Error> {
        let shown = source.shown.clone();
        let error = |action, error| Error::file(action, &source.shown, error);
        // Non-blocking: opening a FIFO must not wait for a writer.
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let opened = File::options().read(true).custom_flags(nonblocking).open(&source.file);
        let mut file = opened.map_err(|source| error("open", source))?;
        let metadata = file.metadata().map_err(|source| error("read", source))?;
        if !metadata.is_file() {
            return Err(error("read", io::Error::other("it is no regular file")));
        }
        let length = metadata.len();
        if length > SIZE_MAX as u64 {
            return Err(Error::TooLarge { path: shown, length, limit: SIZE_MAX as u64 });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
        (&mut file).take(SIZE_MAX as u64).read_to_end(&mut bytes).map_err(|source| error("read", source))?;
        let unpacked = match klp_module::unpack(&bytes, SIZE_MAX) {
            Ok(unpacked) => unpacked,
            Err(error) => return Err(Error::refused(&shown, Refusal::Packed(error))),
        };
        match unpacked {
            std::borrow::Cow::Borrowed(_) => Ok(Self { shown, file, bytes, packed: None }),
            std::borrow::Cow::Owned(unpacked) => {
                Ok(Self { shown, file, bytes: unpacked, packed: Some(bytes) })
            }
        }
    }

    /// Path for messages.
    pub(crate) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Content of the file, compressed or not.
    pub(crate) fn raw(&self) -> &[u8] {
        self.packed.as_deref().unwrap_or(&self.bytes)
    }

    /// Image to insert into the kernel.
    pub(crate) fn image(&self) -> Image<'_> {
        if self.packed.is_some() { Image::Bytes(&self.bytes) } else { Image::File(&self.file) }
    }

    /// Parsed module.
    pub(crate) fn module(&self) -> Result<Module<'_>, Error> {
        Module::parse(&self.bytes).map_err(|error| self.refused(Refusal::NotAModule(error)))
    }

    /// Error that refuses this file for one reason.
    pub(crate) fn refused(&self, refusal: Refusal) -> Error {
        Error::refused(&self.shown, refusal)
    }

    /// Identity of the build of `module`: its build id, or a checksum of the content if it has none.
    pub(crate) fn build_of(&self, module: &Module<'_>) -> String {
        // FNV-1a, 64 bits: it only distinguishes builds with the same module name.
        let checksum = || {
            self.bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            })
        };
        module.build_id().unwrap_or_else(|| format!("fnv-{:016x}", checksum()))
    }
}
