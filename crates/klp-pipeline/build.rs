// SPDX-License-Identifier: GPL-2.0-or-later
//! Hashes of the sources that implement the stages. They are part of the stages' keys: a stage runs again
//! after a change of its implementation, but not after a change of a verb's message.

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

/// Crates that implement the stages before verify.
const WORK: [&str; 6] = ["base", "klp-format", "klp-module", "klp-image", "klp-kernel", "klp-pipeline"];
/// Crates that make a live patch of a C diff.
const CDIFF: [&str; 6] = ["base", "klp-format", "klp-module", "klp-image", "klp-kernel", "klp-cdiff"];
/// Crates that implement stage verify.
const VERIFY: [&str; 4] = ["base", "klp-format", "klp-module", "klp-verify"];

fn main() -> Result<(), Box<dyn Error>> {
    // `.cargo/config.toml` sets this variable to the checkout, because two checkouts may share one target
    // directory.
    println!("cargo::rerun-if-env-changed=FERROGRAFT_CHECKOUT");
    let crates = Path::new("..");
    // Versions of the libraries that the stages use.
    let lock = crates.join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let hashes: [(&str, &[&str]); 3] =
        [("KLP_WORK_SOURCES", &WORK), ("KLP_CDIFF_SOURCES", &CDIFF), ("KLP_VERIFY_SOURCES", &VERIFY)];
    for (variable, names) in hashes {
        let mut hasher = DefaultHasher::new();
        hasher.write(&std::fs::read(&lock)?);
        for name in names {
            let dir = crates.join(name).join("src");
            println!("cargo::rerun-if-changed={}", dir.display());
            for file in files(&dir)? {
                hasher.write(file.to_string_lossy().as_bytes());
                hasher.write(&std::fs::read(&file)?);
            }
        }
        println!("cargo::rustc-env={variable}={:016x}", hasher.finish());
    }
    Ok(())
}

/// All files below a directory, sorted.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
