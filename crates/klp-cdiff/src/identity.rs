// SPDX-License-Identifier: GPL-2.0-or-later
//! Proof of the extractor by itself: functions are replaced by extracted copies of themselves. The kernel must behave as before.
//! The same draw shows how many functions of a kernel the compiler makes again, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use klp_base::cache::{Cache, walk};
use klp_base::lots::Lots;
use klp_kernel::c_source::CSource;

use crate::compile::{self, Form};
use crate::error::Error;
use crate::file::{Work, parse};
use crate::includers::directory_of;
use crate::makefiles::{Built, Makefiles};
use crate::placement::Mismatch;
use crate::refusal::Refusal;
use crate::report::Report;

/// Directories of the draw.
const ROOTS: [&str; 12] = [
    "block",
    "crypto",
    "drivers/base",
    "drivers/char",
    "drivers/tty",
    "fs",
    "io_uring",
    "ipc",
    "kernel",
    "lib",
    "mm",
    "net",
];
/// Directories whose code replaces functions itself.
const NOT_REPLACED: [&str; 4] =
    ["kernel/livepatch/", "kernel/trace/", "kernel/kprobes.c", "kernel/jump_label.c"];

/// Draw of files and functions.
#[derive(Clone, Debug)]
pub struct Draw {
    /// Number of files.
    pub files: usize,
    /// Percentage of the functions of a file that are replaced.
    pub share: usize,
    /// Seed.
    pub seed: u64,
    /// Functions that are not replaced, for example because a kernel thread never leaves them.
    pub without: BTreeSet<String>,
}

/// Comparison of one file with the kernel.
#[derive(Clone, Debug)]
pub struct Compared {
    /// File of the source.
    pub file: String,
    /// Number of functions that are equal.
    pub identical: usize,
    /// Functions that differ.
    pub mismatches: Vec<Mismatch>,
    /// Weak functions that another file overrides.
    pub overridden: Vec<String>,
}

/// C files of the source, in the order of a draw. Many are not in a kernel.
pub(crate) fn drawn(source: &CSource<'_>, draw: &Draw, cache: &Cache) -> Result<Vec<String>, Error> {
    let mut files = Vec::new();
    for root in ROOTS {
        for path in walk(&source.root.join(root))? {
            let name = path.strip_prefix(&source.root).unwrap_or(&path).to_string_lossy().into_owned();
            let is_generated = name.ends_with(".mod.c");
            if name.ends_with(".c")
                && !is_generated
                && !NOT_REPLACED.iter().any(|start| name.starts_with(start))
            {
                files.push(name);
            }
        }
    }
    let arch = directory_of(source.tree.arch);
    let mut makefiles = Makefiles::new(&source.root, arch, &source.tree.config);
    files.retain(|file| makefiles.file(file) == Some(Built::Yes));
    let count = files.len();
    let files = Lots::new(draw.seed).take(&mut files, count);
    // One run of make gives the commands of many files: most of them are of the kernel itself, the others of modules.
    let first: Vec<&str> = files.iter().take(2 * draw.files).map(String::as_str).collect();
    source.commands(&first, cache)?;
    Ok(files)
}

impl Work<'_> {
    /// Compares files in the order of a draw with the kernel, until enough of them are in it.
    pub(crate) fn compare(
        &self,
        draw: &Draw,
        progress: &dyn Fn(&str, usize),
    ) -> Result<Vec<Compared>, Error> {
        let mut compared = Vec::new();
        for file in drawn(self.source, draw, self.inputs.cache)? {
            if compared.len() == draw.files {
                break;
            }
            progress(&file, compared.len());
            let Some(unit) = self.unchanged(&file)? else { continue };
            let placement = self.placement(&unit)?;
            if placement.identical > 0 {
                compared.push(Compared {
                    file,
                    identical: placement.identical,
                    mismatches: placement.mismatches,
                    overridden: placement.overridden,
                });
            }
        }
        Ok(compared)
    }

    /// Replaces functions of files in the order of a draw by copies of themselves. Returns the report and the files.
    pub(crate) fn copy(
        &self,
        draw: &Draw,
        dir: &Path,
        progress: &dyn Fn(&str, usize),
    ) -> Result<(Report, Vec<Refusal>), Error> {
        let (mut report, mut refusals, mut lots) = (Report::default(), Vec::new(), Lots::new(draw.seed));
        let mut count = 0;
        for file in drawn(self.source, draw, self.inputs.cache)? {
            if count == draw.files {
                break;
            }
            progress(&file, count);
            let Some(unit) = self.unchanged(&file)? else { continue };
            let mut chosen = |name: &str| !draw.without.contains(name) && lots.below(100) < draw.share;
            match self.extract_copies(&unit, &mut chosen)? {
                Ok(part) if part.replaces() => {
                    part.add_to(&mut report, count, dir)?;
                    count += 1;
                }
                Ok(_) => {}
                Err(found) => refusals.extend(found),
            }
        }
        report.unite();
        Ok((report, refusals))
    }

    /// Compile of an unchanged file of vmlinux; `None` if it does not compile in this configuration, or is of a module.
    fn unchanged(&self, file: &str) -> Result<Option<crate::file::Compiles>, Error> {
        let Ok(command) = self.source.command(file, self.inputs.cache) else { return Ok(None) };
        if command.object != klp_format::VMLINUX {
            return Ok(None);
        }
        let compiled = match compile::original(self.source, file, &command, Form::Sections, self.inputs.cache)
        {
            Ok(bytes) => bytes,
            Err(Error::Compile { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let parsed = || parse(self.source, file, &compiled);
        Ok(Some(crate::file::Compiles::of(file, command, parsed()?, parsed()?)))
    }
}

/// Number of functions per kind of result.
pub fn totals(compared: &[Compared]) -> BTreeMap<&'static str, usize> {
    let sum = |count: fn(&Compared) -> usize| compared.iter().map(count).sum();
    BTreeMap::from([
        ("identical", sum(|file| file.identical)),
        ("different", sum(|file| file.mismatches.len())),
        ("overridden", sum(|file| file.overridden.len())),
    ])
}
