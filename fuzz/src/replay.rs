// SPDX-License-Identifier: GPL-2.0-or-later
//! Replay of the corpora as ordinary tests.

#![allow(unreachable_pub, dead_code, reason = "shared by several programs, none of which uses all of it")]

use std::fs;
use std::path::Path;

/// Runs a target on every file of its corpus: seeds and former crashes.
///
/// # Panics
/// The corpus is empty or cannot be read, or the target panics.
pub fn replay(fuzz: &Path, target: &str, run: fn(&[u8])) {
    let corpus = fuzz.join("corpus").join(target);
    let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("the corpus can be read").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", corpus.display());
    for path in paths {
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}", path.display());
        run(&bytes);
    }
}
