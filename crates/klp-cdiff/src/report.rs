// SPDX-License-Identifier: GPL-2.0-or-later
//! Inputs and result of a C diff.

use std::collections::BTreeSet;

use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_format::ObjectName;
use klp_image::{KernelImage, ModuleImage};
use klp_kernel::KernelTree;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::extract::{Needed, Replacement};

/// Finds a module of the kernel: its facts and its file, decompressed.
pub type FindModule<'a> = dyn Fn(&ObjectName) -> Result<(ModuleImage, Vec<u8>), Error> + 'a;

/// C diffs of a fix.
#[derive(Clone, Copy, Debug)]
pub struct Diffs<'a> {
    /// Name of the fix, for messages.
    pub subject: &'a str,
    /// The diffs, in the order of their application.
    pub texts: &'a [&'a [u8]],
    /// True if the fix has Rust code, too, which may call new global functions: all of them are kept.
    pub with_rust: bool,
}

impl<'a> Diffs<'a> {
    /// No diff, for work on the unchanged source.
    pub fn none(subject: &'a str) -> Self {
        Self { subject, texts: &[], with_rust: false }
    }
}

/// Inputs of a C diff.
pub struct Inputs<'a> {
    /// The diffs.
    pub diffs: &'a Diffs<'a>,
    /// The kernel.
    pub tree: &'a KernelTree,
    /// Its image.
    pub image: &'a KernelImage,
    /// Finds a module of the kernel.
    pub module: &'a FindModule<'a>,
    /// Hash of the implementation, for the key of the result.
    pub sources: &'a str,
    /// Cache of slow operations.
    pub cache: &'a Cache,
    /// Receiver of events.
    pub sink: &'a dyn Sink,
}

/// Result of a C diff.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// File names of the object files; empty if the object code does not change.
    pub objects: Vec<String>,
    /// Symbols of the kernel that they use.
    pub needed: Vec<Needed>,
    /// Functions that they replace.
    pub replaced: Vec<Replacement>,
    /// Functions of the files that differ, with their first difference.
    pub changed: Vec<Changed>,
    /// Functions and variables that the diff adds.
    pub added: Vec<String>,
    /// Notes for the author.
    pub notes: Vec<String>,
    /// Number of functions that were compared with the shipped code and are equal.
    pub identical: usize,
}

/// A function that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// File of the source.
    pub file: String,
    /// Object with the function.
    pub object: String,
    /// Name of the function.
    pub function: String,
    /// First difference, in words.
    pub difference: String,
    /// First instruction that differs: in the kernel, and with the diff. `None` if only an entry of a special section or the
    /// unlikely part of the function differs.
    pub instruction: Option<(String, String)>,
}

impl Report {
    /// Leaves one entry per symbol.
    pub(crate) fn unite(&mut self) {
        let mut seen = BTreeSet::new();
        self.needed.retain(|symbol| seen.insert(symbol.link_name.clone()));
        self.needed.sort_by(|a, b| a.link_name.cmp(&b.link_name));
    }
}
