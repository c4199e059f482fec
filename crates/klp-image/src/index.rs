// SPDX-License-Identifier: GPL-2.0-or-later
//! Index of a kernel image in the cache: created once, loaded in a few milliseconds.

use std::io::Read;
use std::path::{Path, PathBuf};

use btf_rs::{Backend, Btf};
use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, read, write};

use crate::btf::{BtfError, Types};
use crate::bzimage::decompress;
use crate::calls::{Calls, Code};
use crate::elf::{Vmlinux, u32_at};
use crate::error::{Error, ImageError};
use crate::image::KernelImage;
use crate::memory::Memory;
use crate::parsed::Parsed;
use crate::symbols::Symbols;
use crate::trace::Trace;

/// File names of an index.
const BTF: &str = "btf";
const SYMBOLS: &str = "symbols";
const TRACE: &str = "trace";
const FACTS: &str = "facts.json";
const CALLS: &str = "calls";
const VMLINUX: &str = "vmlinux";

/// Input file of a kernel, with its identification.
#[derive(Clone, Copy, Debug)]
pub struct ImageFile<'a> {
    /// Id of the kernel, which is the label of the cache entry.
    pub id: &'a str,
    /// Path of the bootable image, or of the ELF file that it was built from.
    pub path: &'a Path,
    /// Release of the kernel (`uname -r`).
    pub release: &'a str,
    /// Key of the cache entry; changes with the content of the file.
    pub fingerprint: &'a str,
}

impl KernelImage {
    /// Loads a kernel image through its index in the cache, which is created if missing.
    ///
    /// # Errors
    /// The image cannot be read, or the cache failed.
    pub fn load(file: ImageFile<'_>, cache: &Cache, sink: &dyn Sink) -> Result<Self, Error> {
        read_index(&index(file, cache, sink)?)
    }

    /// File with the kernel's raw BTF, in the cache.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn btf_file(file: ImageFile<'_>, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
        Ok(index(file, cache, sink)?.join(BTF))
    }
}

/// Directory of a kernel's index in the cache.
fn index(file: ImageFile<'_>, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
    let key = Key::new("image 4").with(file.fingerprint).with(file.release);
    cache.entry("image", file.id, &key, |dir| {
        stage(sink, "image", file.id, || {
            write_index(file.path, file.release, dir).map(|()| (StageEnd::Done, ()))
        })
    })
}

impl Calls {
    /// Loads the calls of a kernel image through their index in the cache, which is created if missing. `kernel` is the image.
    ///
    /// # Errors
    /// The image cannot be read, or the cache failed.
    pub fn load(
        file: ImageFile<'_>,
        kernel: &KernelImage,
        code: Code,
        cache: &Cache,
        sink: &dyn Sink,
    ) -> Result<Self, Error> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error: ImageError| Error::Image { path, message: error.to_string() }
        };
        let key = Key::new("calls 5").with(file.fingerprint).with(file.release);
        let entry = cache.entry("calls", file.id, &key, |dir| {
            stage(sink, "calls", file.id, || {
                let bytes = vmlinux(file.path)?;
                let calls = Self::parse(&bytes, &kernel.symbols, code).map_err(at(file.path))?;
                write(&dir.join(CALLS), calls.to_bytes())?;
                Ok::<_, Error>((StageEnd::Done, ()))
            })
        })?;
        Self::from_bytes(&read(&entry.join(CALLS))?).map_err(at(&entry))
    }
}

impl Memory {
    /// Loads the memory of a kernel out of its image, which is unpacked once: that takes longer than a C diff's own work.
    ///
    /// # Errors
    /// The image cannot be read or is damaged, or the cache failed.
    pub fn load(file: ImageFile<'_>, cache: &Cache, sink: &dyn Sink) -> Result<Self, Error> {
        let at = |error: ImageError| Error::Image { path: file.path.to_owned(), message: error.to_string() };
        let key = Key::new("vmlinux 1").with(file.fingerprint);
        let entry = cache.entry("vmlinux", file.id, &key, |dir| {
            stage(sink, "unpack", file.id, || {
                let bytes = vmlinux(file.path)?;
                Vmlinux::parse(&bytes).map_err(at)?;
                write(&dir.join(VMLINUX), bytes)?;
                Ok::<_, Error>((StageEnd::Done, ()))
            })
        })?;
        Self::parse(read(&entry.join(VMLINUX))?).map_err(at)
    }
}

/// The ELF file of a bootable image, or of itself.
fn vmlinux(image: &Path) -> Result<Vec<u8>, Error> {
    let at = |error: ImageError| Error::Image { path: image.to_owned(), message: error.to_string() };
    let bytes = read(image)?;
    if bytes.starts_with(b"\x7fELF") { Ok(bytes) } else { decompress(&bytes).map_err(at) }
}

/// Reads the image of the kernel `release`, or the ELF file that it was built from, and writes the index to `dir`.
///
/// # Errors
/// The image is not supported, or a file cannot be written.
pub fn write_index(image: &Path, release: &str, dir: &Path) -> Result<(), Error> {
    let at = |message: &dyn std::fmt::Display| Error::Image {
        path: image.to_owned(),
        message: message.to_string(),
    };
    let vmlinux = vmlinux(image)?;
    let parsed = Parsed::parse(&vmlinux, release).map_err(|error| at(&error))?;
    write(&dir.join(BTF), parsed.btf)?;
    write(&dir.join(SYMBOLS), parsed.symbols.to_bytes())?;
    write(&dir.join(TRACE), parsed.trace.to_bytes())?;
    write(&dir.join(FACTS), serde_json::to_vec(&parsed.facts).map_err(|error| at(&error))?)?;
    drop(parsed);
    drop(vmlinux);
    // Full check of the BTF now, so an error is reported here and not at the first query.
    Types::parse(&read(&dir.join(BTF))?).map_err(|error| at(&error))?;
    Ok(())
}

/// Reads the index that [`write_index`] wrote.
///
/// # Errors
/// A file is missing or was not written by [`write_index`].
pub fn read_index(dir: &Path) -> Result<KernelImage, Error> {
    let at =
        |message: &dyn std::fmt::Display| Error::Image { path: dir.to_owned(), message: message.to_string() };
    Ok(KernelImage {
        types: map_types(&dir.join(BTF))?,
        symbols: Symbols::from_bytes(&read(&dir.join(SYMBOLS))?).map_err(|error| at(&error))?,
        trace: Trace::from_bytes(&read(&dir.join(TRACE))?).map_err(|error| at(&error))?,
        facts: serde_json::from_slice(&read(&dir.join(FACTS))?).map_err(|error| at(&error))?,
    })
}

/// Types in a memory-mapped file, parsed on demand: a full parse takes longer than most queries. The file must not change
/// later; files of the cache never do.
fn map_types(path: &Path) -> Result<Types, Error> {
    let at = |error: BtfError| Error::Image { path: path.to_owned(), message: error.to_string() };
    let mut file = std::fs::File::open(path).map_err(io_error("open", path))?;
    let mut header = [0; 24];
    file.read_exact(&mut header).map_err(io_error("read", path))?;
    let length = file.metadata().map_err(io_error("read", path))?.len();
    if !is_whole(&header, length) {
        return Err(at(BtfError::Damaged("it is cut".to_owned())));
    }
    let btf = Btf::from_file_with_backend(path, Backend::Mmap).map_err(|error| at(error.into()))?;
    Ok(Types::of(btf))
}

/// True if types and strings lie inside a file of this length (`struct btf_header` of `include/uapi/linux/btf.h`). The
/// memory-mapped reader requires it.
fn is_whole(header: &[u8], length: u64) -> bool {
    let ends = [8, 16].map(|field| {
        let [offset, size] = [field, field + 4].map(|field| u32_at(header, field).map(u64::from));
        Some(u64::from(u32_at(header, 4)?) + offset? + size?)
    });
    ends.iter().all(|end| end.is_some_and(|end| end <= length))
}
