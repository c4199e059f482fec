// SPDX-License-Identifier: GPL-2.0-or-later
//! DEB packages: an `ar` archive of a version, control files and data. Source: deb(5), deb-control(5), Debian Policy.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

use flate2::{Compression, GzBuilder};
use md5::{Digest, Md5};
use tar::{EntryType, Header};

use crate::date::rfc5322;
use crate::error::Error;
use crate::package::{Entry, FileKind, Format, Operator, Package, Phase, Relation, RelationKind};

/// Bytes of a DEB package.
pub(crate) fn encode(package: &Package) -> Result<Vec<u8>, Error> {
    check(package)?;
    let entries = with_documents(package).map_err(|error| package.illegal(error))?;
    let control = control_files(package, &entries);
    let archive = || -> io::Result<Vec<u8>> {
        let mut archive = ar::Builder::new(Vec::new());
        let control = gzip(&tar(&control, package.origin.date)?)?;
        let data = gzip(&tar(&entries, package.origin.date)?)?;
        let members =
            [("debian-binary", b"2.0\n".to_vec()), ("control.tar.gz", control), ("data.tar.gz", data)];
        for (name, bytes) in members {
            let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
            header.set_mode(0o100_644);
            header.set_mtime(package.origin.date.into());
            archive.append(&header, bytes.as_slice())?;
        }
        archive.into_inner()
    };
    archive().map_err(|error| package.illegal(error))
}

/// Checks the texts that stand in fields of one line.
fn check(package: &Package) -> Result<(), Error> {
    let name = &package.name;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    if name.len() < 2 || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(allowed)
    {
        return Err(package.illegal("the name is not legal in Debian (lower case, digits, + - .)"));
    }
    let lines = [package.summary.as_str(), &package.origin.maintainer];
    let lines = lines.into_iter().chain(package.description.iter().map(String::as_str));
    for line in lines.chain(package.changes.iter().map(String::as_str)) {
        if line.contains(['\n', '\r', '\0']) {
            return Err(package.illegal(format_args!("the text {line:?} has more than one line")));
        }
    }
    Ok(())
}

/// Entries with the documents that Debian Policy requires (sections 12.5 and 12.7), and with all parent directories, sorted.
fn with_documents(package: &Package) -> io::Result<Vec<Entry>> {
    let documents = format!("/usr/share/doc/{}", package.name);
    let mut entries = package.entries.clone();
    entries.push(Entry::file(format!("{documents}/copyright"), 0o644, copyright(package)));
    entries.push(Entry::file(
        format!("{documents}/changelog.Debian.gz"),
        0o644,
        gzip(changelog(package).as_bytes())?,
    ));
    let mut known: BTreeSet<String> = entries.iter().map(|entry| entry.path().to_owned()).collect();
    let files: Vec<String> = known.iter().cloned().collect();
    for file in files {
        for (at, _) in file.match_indices('/').skip(1) {
            let path = file[..at].to_owned();
            if known.insert(path.clone()) {
                entries.push(Entry::Directory { path });
            }
        }
    }
    entries.sort_by(|one, two| one.path().cmp(two.path()));
    Ok(entries)
}

fn copyright(package: &Package) -> String {
    let text = match package.license {
        "GPL-2.0-only" => "version 2 of the License",
        _ => "version 2 of the License, or (at your option) any later version",
    };
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: Ferrograft\n\n\
         Files: *\n\
         Copyright: 2026 the authors of Ferrograft\n\
         License: {}\n \
         This program is free software; you can redistribute it and/or modify it under\n \
         the terms of the GNU General Public License as published by the Free Software\n \
         Foundation; {text}.\n \
         .\n \
         On Debian systems, the full text of the GNU General Public License version 2\n \
         can be found in the file \"/usr/share/common-licenses/GPL-2\".\n",
        package.license
    )
}

fn changelog(package: &Package) -> String {
    let changes: String = package.changes.iter().map(|line| format!("  * {line}\n")).collect();
    format!(
        "{} ({}) stable; urgency=medium\n\n{changes}\n -- {}  {}\n",
        package.name,
        package.version,
        package.origin.maintainer,
        rfc5322(package.origin.date)
    )
}

/// Files of the control archive.
fn control_files(package: &Package, entries: &[Entry]) -> Vec<Entry> {
    let mut files = vec![
        Entry::file("/control", 0o644, control(package, entries)),
        Entry::file("/md5sums", 0o644, md5sums(entries)),
    ];
    let config = |entry: &&Entry| matches!(entry, Entry::File { kind: FileKind::Config, .. });
    let conffiles: String =
        entries.iter().filter(config).map(|entry| format!("{}\n", entry.path())).collect();
    if !conffiles.is_empty() {
        files.push(Entry::file("/conffiles", 0o644, conffiles));
    }
    for (phase, text) in &package.scripts {
        let name = match phase {
            Phase::AfterInstall => "/postinst",
            Phase::BeforeRemove => "/prerm",
            Phase::AfterRemove => "/postrm",
            Phase::AfterTransaction => continue,
        };
        files.push(Entry::file(name, 0o755, format!("#!/bin/sh\nset -e\n{text}")));
    }
    files
}

fn control(package: &Package, entries: &[Entry]) -> String {
    let mut text = format!(
        "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: {}\nInstalled-Size: {}\n",
        package.name,
        package.version,
        Format::Deb.arch(package.arch),
        package.origin.maintainer,
        installed_size(entries)
    );
    for (field, kind) in [
        ("Depends", RelationKind::Requires),
        ("Recommends", RelationKind::Recommends),
        ("Conflicts", RelationKind::Conflicts),
        ("Replaces", RelationKind::Replaces),
        ("Provides", RelationKind::Provides),
    ] {
        let relations = package.relations.iter().filter(|relation| relation.kind == kind);
        let relations: Vec<String> = relations.map(relation).collect();
        if !relations.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{field}: {}", relations.join(", "));
        }
    }
    let _ =
        writeln!(text, "Section: {}\nPriority: optional\nDescription: {}", package.section, package.summary);
    for line in &package.description {
        let _ = writeln!(text, " {}", if line.is_empty() { "." } else { line });
    }
    text
}

fn relation(relation: &Relation) -> String {
    match &relation.version {
        None => relation.name.clone(),
        Some((operator, version)) => {
            let operator = match operator {
                Operator::Less => "<<",
                Operator::Equal => "=",
                Operator::AtLeast => ">=",
            };
            format!("{} ({operator} {version})", relation.name)
        }
    }
}

/// Size of the installed package in KiB, estimated as dpkg-gencontrol does: files rounded up, 1 for each directory.
fn installed_size(entries: &[Entry]) -> usize {
    let size = |entry: &Entry| match entry {
        Entry::Directory { .. } => 1,
        Entry::File { bytes, .. } => bytes.len().div_ceil(1024),
    };
    entries.iter().map(size).sum()
}

fn md5sums(entries: &[Entry]) -> String {
    let line = |entry: &Entry| match entry {
        Entry::Directory { .. } => String::new(),
        Entry::File { path, bytes, .. } => {
            format!("{}  {}\n", klp_base::cache::hex(&Md5::digest(bytes)), path.trim_start_matches('/'))
        }
    };
    entries.iter().map(line).collect()
}

/// Tar archive of entries, owned by root, with one date.
fn tar(entries: &[Entry], date: u32) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let root = Entry::Directory { path: "/".to_owned() };
    for entry in std::iter::once(&root).chain(entries) {
        let (kind, suffix, mode, bytes) = match entry {
            Entry::Directory { path } => {
                (EntryType::Directory, if path == "/" { "" } else { "/" }, 0o755, &[][..])
            }
            Entry::File { mode, bytes, .. } => (EntryType::Regular, "", *mode, bytes.as_slice()),
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode.into());
        header.set_mtime(date.into());
        header.set_size(bytes.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        let path = format!(".{}{suffix}", entry.path());
        append(&mut archive, &mut header, &path, bytes)?;
    }
    archive.into_inner()
}

/// Appends an entry. Crate `tar` drops the `./` at the start of paths, so the path is written into the header here; longer
/// paths are written by the crate, and dpkg accepts both.
fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    header: &mut Header,
    path: &str,
    bytes: &[u8],
) -> io::Result<()> {
    match header.as_gnu_mut().map(|header| &mut header.name) {
        Some(name) if path.len() < name.len() => {
            name.fill(0);
            if let Some(field) = name.get_mut(..path.len()) {
                field.copy_from_slice(path.as_bytes());
            }
            header.set_cksum();
            archive.append(header, bytes)
        }
        _ => archive.append_data(header, path, bytes),
    }
}

/// Bytes compressed with gzip, without a date and a file name.
pub(crate) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}
