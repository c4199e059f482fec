// SPDX-License-Identifier: GPL-2.0-or-later
//! Initramfs of the harness: a reproducible cpio archive.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use cpio::newc::{Builder, trailer};

use crate::error::Error;
use crate::guest::GuestFiles;

const FILE: u32 = 0o100_000;
const DIR: u32 = 0o040_000;

/// Files of the guest's root. Parent directories are added automatically.
#[derive(Clone, Default)]
pub(crate) struct Initramfs(BTreeMap<String, (u32, Vec<u8>)>);

impl Initramfs {
    /// Root with busybox and a script as `init`.
    pub(crate) fn bare(busybox: &Path, init: &str) -> Result<Self, Error> {
        let mut root = Self::default();
        root.add_program("/bin/busybox", busybox)?;
        root.add("/init", 0o755, init.as_bytes().to_vec());
        Ok(root)
    }

    /// Root with the guest program as `init` and the files in `files`.
    pub(crate) fn guest(files: &GuestFiles) -> Result<Self, Error> {
        let mut root = Self::default();
        root.add_program("/bin/busybox", &files.busybox)?;
        root.add_program("/init", &files.program)?;
        root.add_dir("/lib", &files.lib)?;
        for (path, file) in &files.extra {
            root.add_file(path, 0o755, file)?;
        }
        Ok(root)
    }

    /// Adds a file with this content.
    pub(crate) fn add(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert((DIR | 0o755, Vec::new()));
        }
        self.0.insert(path.to_owned(), (FILE | mode, content));
    }

    /// Adds a file of the host.
    pub(crate) fn add_file(&mut self, path: &str, mode: u32, file: &Path) -> Result<(), Error> {
        let content = fs::read(file).map_err(Error::io("read", file))?;
        self.add(path, mode, content);
        Ok(())
    }

    /// Adds a static program of the host.
    pub(crate) fn add_program(&mut self, path: &str, file: &Path) -> Result<(), Error> {
        let content = fs::read(file).map_err(Error::io("read", file))?;
        if needs_loader(&content) {
            return Err(Error::NotStatic { path: file.to_owned() });
        }
        self.add(path, 0o755, content);
        Ok(())
    }

    /// Adds the files of a host directory and its subdirectories.
    pub(crate) fn add_dir(&mut self, path: &str, dir: &Path) -> Result<(), Error> {
        for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
            let entry = entry.map_err(Error::io("read", dir))?;
            let (file, path) = (entry.path(), format!("{path}/{}", entry.file_name().to_string_lossy()));
            if file.is_dir() {
                self.add_dir(&path, &file)?;
            } else {
                self.add_file(&path, 0o755, &file)?;
            }
        }
        Ok(())
    }

    /// Files without directories: path, permission bits, content.
    pub(crate) fn files(&self) -> impl Iterator<Item = (String, u32, &[u8])> {
        let files = self.0.iter().filter(|(_, (mode, _))| mode & DIR != DIR);
        files.map(|(path, (mode, content))| (format!("/{path}"), mode & 0o7777, content.as_slice()))
    }

    /// cpio archive of the files.
    pub(crate) fn archive(&self) -> io::Result<Vec<u8>> {
        let mut archive = Vec::new();
        for (inode, (path, (mode, content))) in (1_u32..).zip(&self.0) {
            let length = u32::try_from(content.len())
                .map_err(|_| io::Error::other(format!("{path} is too large for a cpio archive")))?;
            let nlink = if mode & DIR == DIR { 2 } else { 1 };
            let mut writer = Builder::new(path).ino(inode).mode(*mode).nlink(nlink).write(archive, length);
            io::Write::write_all(&mut writer, content)?;
            archive = writer.finish()?;
        }
        trailer(archive)
    }
}

/// True if a program needs a dynamic loader: its 64-bit little-endian ELF header has a segment PT_INTERP. The initramfs
/// has no loader, and the kernel's message is the same as for a missing file.
fn needs_loader(elf: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    let field = |at: usize, width: usize| {
        let bytes = elf.get(at..at.checked_add(width)?)?;
        Some(bytes.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte)))
    };
    let header = || Some((usize::try_from(field(32, 8)?).ok()?, field(54, 2)?, field(56, 2)?));
    let (true, Some((table, size, count))) = (elf.starts_with(b"\x7fELF\x02\x01"), header()) else {
        return false;
    };
    (0..count).any(|index| {
        let at = usize::try_from(index * size).ok().and_then(|offset| table.checked_add(offset));
        at.and_then(|at| field(at, 4)) == Some(PT_INTERP)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_holds_parents_first_and_is_the_same_twice() {
        let mut root = Initramfs::default();
        root.add("/cases/a/run.sh", 0o755, b"true\n".to_vec());
        root.add("/init", 0o755, b"x".to_vec());
        let archive = root.archive().unwrap();
        assert_eq!(archive, root.archive().unwrap());
        let mut names = Vec::new();
        let mut rest = archive.as_slice();
        loop {
            let reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            names.push((reader.entry().name().to_owned(), reader.entry().mode()));
            rest = reader.finish().unwrap();
        }
        let expected = [
            ("cases", DIR | 0o755),
            ("cases/a", DIR | 0o755),
            ("cases/a/run.sh", FILE | 0o755),
            ("init", FILE | 0o755),
        ];
        assert_eq!(names, expected.map(|(name, mode)| (name.to_owned(), mode)));
    }

    #[test]
    fn dynamic_programs_are_told_from_static_ones() {
        // The test program is dynamically linked, except with musl.
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(needs_loader(&own), cfg!(not(target_env = "musl")));
        for bytes in [&b""[..], b"#!/bin/sh\n", &own[..40], &[0x7f, b'E', b'L', b'F', 2, 1, 255, 255]] {
            assert!(!needs_loader(bytes));
        }
        let mut wild = own[..64].to_vec();
        wild[32..64].fill(0xff);
        assert!(!needs_loader(&wild));
    }
}
