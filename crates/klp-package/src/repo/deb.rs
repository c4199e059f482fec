// SPDX-License-Identifier: GPL-2.0-or-later
//! Repository of DEB packages: suite `stable`, component `main`. apt-ftparchive makes the metadata.
//!
//! Source: <https://wiki.debian.org/DebianRepository/Format>, for `Acquire-By-Hash` and `Phased-Update-Percentage` too.

use std::collections::BTreeMap;
use std::path::Path;

use klp_base::cache::sha256;
use klp_base::files::{make_dir, read, read_text, write};
use klp_base::process::Cmd;

use super::{Identity, Options, PACKAGES, gpg, swap};
use crate::deb::gzip;
use crate::error::Error;

const METADATA: &str = "dists";
const SUITE: &str = "stable";
const PHASE: &str = "Phased-Update-Percentage";

/// Identity of a complete package.
pub(super) fn identity(file: &Path) -> Result<Identity, Error> {
    let failed = |error: klp_base::process::Error| match error {
        klp_base::process::Error::Failed { tail, .. } => {
            let reason = tail.lines().next().unwrap_or_default().to_owned();
            Error::NotAPackage { file: file.to_owned(), reason }
        }
        other => other.into(),
    };
    let dpkg = |words: &[&str]| {
        let cmd = Cmd::new("dpkg-deb").args(words).arg(file).env("LC_ALL", "C");
        cmd.hint("install dpkg-deb (Debian: apt-get install dpkg)")
    };
    // Reading the list of files unpacks the whole package.
    dpkg(&["--contents"]).run().map_err(failed)?;
    let show = "--showformat=${Package}\n${Version}\n${Architecture}\n";
    let fields = dpkg(&["--show", show]).read().map_err(failed)?;
    let mut fields = fields.lines().map(ToOwned::to_owned);
    let (Some(name), Some(evr), Some(arch)) = (fields.next(), fields.next(), fields.next()) else {
        let reason = "it has no name, version or architecture".to_owned();
        return Err(Error::NotAPackage { file: file.to_owned(), reason });
    };
    let version = evr.split_once(':').map_or(evr.as_str(), |(_, version)| version);
    let file_name = format!("{name}_{version}_{arch}.deb");
    Ok(Identity { name, arch, evr, file_name })
}

/// Makes the metadata in a directory of `aside`, whose name is returned.
pub(super) fn index(
    root: &Path,
    files: &[String],
    phased: &[String],
    aside: &Path,
    options: &Options<'_>,
) -> Result<&'static str, Error> {
    let (old, new) = (root.join(METADATA).join(SUITE), aside.join(METADATA).join(SUITE));
    if options.gpg_key.is_none() && old.join("InRelease").exists() {
        let reason = "its metadata is signed, and machines refuse it without: give the key".to_owned();
        return Err(Error::Repository { dir: root.to_owned(), reason });
    }
    let mut phases = phases_of(&old)?;
    if let Some(phase) = options.phase {
        phases.extend(phased.iter().map(|file| (format!("{PACKAGES}/{file}"), phase)));
    }
    let mut by_arch: BTreeMap<String, String> = BTreeMap::new();
    let stanzas = ftparchive().arg("packages").arg(PACKAGES).cwd(root).run()?.stdout_text();
    for stanza in stanzas.split("\n\n").map(str::trim).filter(|stanza| !stanza.is_empty()) {
        let file = field(stanza, "Filename").unwrap_or_default();
        if files.iter().any(|name| file.strip_prefix(PACKAGES) == Some(&format!("/{name}"))) {
            let text =
                by_arch.entry(field(stanza, "Architecture").unwrap_or_default().to_owned()).or_default();
            text.push_str(stanza);
            if let Some(phase) = phases.get(file).filter(|phase| **phase < 100) {
                text.push_str(&format!("\n{PHASE}: {phase}"));
            }
            text.push_str("\n\n");
        }
    }
    let architectures = by_arch.keys().cloned().collect::<Vec<_>>().join(" ");
    let mut indexes = Vec::new();
    for (arch, text) in by_arch {
        let directory = new.join(format!("main/binary-{arch}"));
        make_dir(&directory)?;
        let packed = gzip(text.as_bytes())
            .map_err(klp_base::files::io_error("compress", directory.join("Packages")))?;
        for (name, bytes) in [("Packages", text.into_bytes()), ("Packages.gz", packed)] {
            write(&directory.join(name), &bytes)?;
            indexes.push((directory.join("by-hash/SHA256").join(sha256(&bytes)), bytes));
        }
    }
    make_dir(&new)?;
    let release = release(&new, &architectures)?;
    write(&new.join("Release"), release)?;
    for (path, bytes) in indexes {
        make_dir(path.parent().unwrap_or(&new))?;
        write(&path, bytes)?;
    }
    if let Some(key) = options.gpg_key {
        gpg::clear_sign(key, &new.join("Release"), &new.join("InRelease"))?;
        gpg::detach(key, &new.join("Release"), &new.join("Release.gpg"))?;
    }
    carry_old(&old, &new)?;
    Ok(METADATA)
}

fn ftparchive() -> Cmd {
    let cmd = Cmd::new("apt-ftparchive").arg("--quiet").env("LC_ALL", "C");
    cmd.hint("install apt-ftparchive (Debian: apt-get install apt-utils)")
}

/// Text of the file `Release` for the indexes below `suite`.
fn release(suite: &Path, architectures: &str) -> Result<String, Error> {
    let mut cmd = ftparchive();
    for (key, value) in [
        ("Origin", "Ferrograft"),
        ("Label", "Ferrograft"),
        ("Suite", SUITE),
        ("Codename", SUITE),
        ("Components", "main"),
        ("Architectures", architectures),
        ("Description", "Kernel live patches"),
        ("Acquire-By-Hash", "yes"),
    ] {
        cmd = cmd.arg("-o").arg(format!("APT::FTPArchive::Release::{key}={value}"));
    }
    Ok(cmd.arg("release").arg(".").cwd(suite).run()?.stdout_text())
}

/// Value of a field in a stanza of one-line fields and others.
fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Percentages in the published metadata, by the field `Filename`.
fn phases_of(suite: &Path) -> Result<BTreeMap<String, u8>, Error> {
    let mut phases = BTreeMap::new();
    for (_, path) in indexes_of(suite)? {
        if !path.ends_with("/Packages") {
            continue;
        }
        let text = read_text(&suite.join(&path))?;
        let phased = text.split("\n\n").filter_map(|stanza| {
            let phase = field(stanza, PHASE)?.parse().ok()?;
            Some((field(stanza, "Filename")?.to_owned(), phase))
        });
        phases.extend(phased);
    }
    Ok(phases)
}

/// SHA-256 and path of each file that the `Release` of a suite names; nothing if there is none.
fn indexes_of(suite: &Path) -> Result<Vec<(String, String)>, Error> {
    let file = suite.join("Release");
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let text = read_text(&file)?;
    let section = text.lines().skip_while(|line| *line != "SHA256:").skip(1);
    let lines = section.take_while(|line| line.starts_with(' '));
    Ok(lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (hash, path) = (words.next()?, words.nth(1)?);
            Some((hash.to_owned(), path.to_owned()))
        })
        .collect())
}

/// Copies the files that the old metadata names, under the names of their hashes.
fn carry_old(old: &Path, new: &Path) -> Result<(), Error> {
    for (hash, path) in indexes_of(old)? {
        let Some((directory, _)) = path.rsplit_once('/') else { continue };
        let name = format!("{directory}/by-hash/SHA256/{hash}");
        let from = old.join(&name);
        if from.is_file() && sha256(&read(&from)?) == hash {
            swap::carry(&from, &new.join(&name))?;
        }
    }
    Ok(())
}
