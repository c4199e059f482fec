// SPDX-License-Identifier: GPL-2.0-or-later
//! File transfer from and to the host.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use klp_guest::{Reply, wire};

use crate::port::Port;

/// Bytes per frame.
const PIECE: usize = 1 << 16;
/// Maximum size of a file in bytes. The rest is not sent: files of /proc can be endless.
const FILE_MAX: usize = 32 << 20;

/// Writes `body`, checked against `checksum`, to `path`. Missing directories are created.
pub(crate) fn put(path: &str, mode: u32, append: bool, checksum: u64, body: &[u8]) -> io::Result<()> {
    if wire::checksum(body) != checksum {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the bytes have another checksum than was announced",
        ));
    }
    if let Some(parent) = Path::new(path).parent() {
        fs::create_dir_all(parent)?;
    }
    let mut options = File::options();
    options.create(true).mode(mode);
    if append {
        options.append(true)
    } else {
        options.write(true).truncate(true)
    };
    options.open(path)?.write_all(body)
}

/// Sends every file that matches a pattern. A pattern without a wildcard gets a reply even without a match.
pub(crate) fn get(port: &mut Port, patterns: &[String]) -> io::Result<()> {
    for pattern in patterns {
        for path in expand(pattern) {
            let shown = path.to_string_lossy().into_owned();
            if let Err(error) = send(port, &path, &shown)? {
                port.send(&Reply::NoFile { path: shown, error: error.to_string() }, b"")?;
            }
        }
    }
    Ok(())
}

/// The outer error is the port's, the inner one the file's.
fn send(port: &mut Port, path: &Path, shown: &str) -> io::Result<io::Result<()>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let mut piece = vec![0; PIECE];
    let mut sent = 0;
    loop {
        let length = match file.read(&mut piece) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(error)),
        };
        sent += length;
        let last = length == 0 || sent >= FILE_MAX;
        let body = piece.get(..length).unwrap_or_default();
        port.send(&Reply::File { path: shown.to_owned(), last }, body)?;
        if last {
            return Ok(Ok(()));
        }
    }
}

/// Paths that match a pattern, sorted.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        paths = if part == "**" {
            paths.iter().flat_map(|dir| below(dir)).collect()
        } else if part.contains('*') {
            paths.iter().flat_map(|dir| children(dir)).filter(|path| named(path, part)).collect()
        } else {
            paths.iter().map(|dir| dir.join(part)).collect()
        };
    }
    if pattern.contains('*') {
        paths.retain(|path| path.is_file());
    }
    paths.sort();
    paths
}

fn children(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for path in children(&dir) {
            if path.is_dir() && !path.is_symlink() { pending.push(path) } else { found.push(path) }
        }
    }
    found
}

fn named(path: &Path, pattern: &str) -> bool {
    path.file_name().is_some_and(|name| wildcard(pattern, &name.to_string_lossy()))
}

/// True if `text` matches `pattern`; `*` matches any characters.
fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| wildcard(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("a*c", "abc", true),
            ("*", "", true),
            ("a*", "ba", false),
            ("*.log", "x.log", true),
            ("a", "ab", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn put_then_expand() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        let put = |path: &str, append, body: &[u8]| {
            put(&format!("{root}/{path}"), 0o644, append, wire::checksum(body), body).unwrap();
        };
        put("x/a.log", false, b"1");
        put("x/a.log", true, b"2");
        put("x/y/b", false, b"");
        assert_eq!(fs::read(format!("{root}/x/a.log")).unwrap(), b"12");
        assert_eq!(expand(&format!("{root}/**")).len(), 2);
        assert_eq!(expand(&format!("{root}/*/*.log")), [PathBuf::from(format!("{root}/x/a.log"))]);
        assert_eq!(expand(&format!("{root}/none")), [PathBuf::from(format!("{root}/none"))]);
        assert!(expand(&format!("{root}/none*")).is_empty());
    }

    #[test]
    fn bytes_with_another_checksum_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let error = put(path.to_str().unwrap(), 0o644, false, wire::checksum(b"1"), b"2").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(!path.exists());
    }
}
