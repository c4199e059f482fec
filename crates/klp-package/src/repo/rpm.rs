// SPDX-License-Identifier: GPL-2.0-or-later
//! Repository of RPM packages. createrepo_c makes the metadata, rpmsign signs packages.

use std::path::Path;

use klp_base::files::{read_text, write};
use klp_base::process::{Cmd, find_program};
use rpm::Package;

use super::{GpgKey, Identity, Options, PACKAGES, gpg, swap};
use crate::error::Error;

const METADATA: &str = "repodata";

fn open(file: &Path) -> Result<Package, Error> {
    let failed = |error: rpm::Error| Error::NotAPackage { file: file.to_owned(), reason: error.to_string() };
    let package = Package::open(file).map_err(failed)?;
    package.verify_digests().map_err(failed)?;
    Ok(package)
}

/// Identity of a complete package.
pub(super) fn identity(file: &Path) -> Result<Identity, Error> {
    let package = open(file)?;
    let read = || -> Result<Identity, rpm::Error> {
        let metadata = &package.metadata;
        Ok(Identity {
            name: metadata.get_name()?.to_owned(),
            arch: metadata.get_arch()?.to_owned(),
            evr: metadata.get_evr()?.to_string(),
            file_name: format!(
                "{}-{}-{}.{}.rpm",
                metadata.get_name()?,
                metadata.get_version()?,
                metadata.get_release()?,
                metadata.get_arch()?
            ),
        })
    };
    read().map_err(|error| Error::NotAPackage { file: file.to_owned(), reason: error.to_string() })
}

/// True if two packages have the same header, which has the digest of the payload.
pub(super) fn same(one: &Path, other: &Path) -> Result<bool, Error> {
    let header = |file: &Path| {
        open(file)?
            .header_bytes()
            .map_err(|error| Error::NotAPackage { file: file.to_owned(), reason: error.to_string() })
    };
    Ok(header(one)? == header(other)?)
}

/// Signs a package.
pub(super) fn sign(file: &Path, key: GpgKey<'_>) -> Result<(), Error> {
    let name = format!("_gpg_name {}", key.id);
    let cmd = gpg::at_home(Cmd::new("rpmsign"), key).args(["--define", &name, "--addsign"]).arg(file);
    // Debian's rpmsign does not look for gpg itself.
    let program = find_program("gpg").map(|gpg| format!("__gpg {}", gpg.display()));
    let cmd = program.iter().fold(cmd, |cmd, define| cmd.args(["--define", define]));
    cmd.hint("install rpmsign (Debian: apt-get install rpm)").run()?;
    if is_signed(file)? {
        return Ok(());
    }
    Err(Error::NotAPackage { file: file.to_owned(), reason: "rpmsign did not sign it".to_owned() })
}

fn is_signed(file: &Path) -> Result<bool, Error> {
    let signatures = open(file)?
        .raw_signatures()
        .map_err(|error| Error::NotAPackage { file: file.to_owned(), reason: error.to_string() })?
        .len();
    Ok(signatures > 0)
}

/// Refuses a repository with packages that have no signature, because machines that check signatures could not use them.
pub(super) fn refuse_unsigned(root: &Path, pool: &Path, files: &[String]) -> Result<(), Error> {
    for file in files {
        if !is_signed(&pool.join(file))? {
            let reason =
                format!("{file} was published without a signature; make a new repository with the key");
            return Err(Error::Repository { dir: root.to_owned(), reason });
        }
    }
    Ok(())
}

/// Makes the metadata in a directory of `aside`, whose name is returned.
pub(super) fn index(
    root: &Path,
    files: &[String],
    aside: &Path,
    options: &Options<'_>,
) -> Result<&'static str, Error> {
    let (old, new) = (root.join(METADATA), aside.join(METADATA));
    if options.gpg_key.is_none() && old.join("repomd.xml.asc").exists() {
        let reason = "its metadata is signed, and machines refuse it without: give the key".to_owned();
        return Err(Error::Repository { dir: root.to_owned(), reason });
    }
    let list = aside.join("list");
    let lines: String = files.iter().map(|file| format!("{PACKAGES}/{file}\n")).collect();
    write(&list, lines)?;
    Cmd::new("createrepo_c")
        .args(["--quiet", "--no-database", "--general-compress-type", "gz", "--pkglist"])
        .arg(&list)
        .arg("--outputdir")
        .args([aside, root])
        .hint("install createrepo_c (Debian: apt-get install createrepo-c)")
        .run()?;
    let root_file = new.join("repomd.xml");
    if let Some(key) = options.gpg_key {
        gpg::detach(key, &root_file, &new.join("repomd.xml.asc"))?;
    }
    if old.join("repomd.xml").is_file() {
        for file in named(&read_text(&old.join("repomd.xml"))?) {
            swap::carry(&old.join(&file), &new.join(&file))?;
        }
    }
    Ok(METADATA)
}

/// Names of the files that a repomd.xml names, in its directory.
fn named(text: &str) -> Vec<String> {
    let start = format!("href=\"{METADATA}/");
    let names = text.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next());
    names.filter(|name| !name.contains('/')).map(ToOwned::to_owned).collect()
}
