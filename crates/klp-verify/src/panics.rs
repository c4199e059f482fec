// SPDX-License-Identifier: GPL-2.0-or-later
//! Panics that the code of a module can reach.

use std::collections::BTreeSet;

use klp_module::{Module, Place};

use crate::code::{place_of, range};
use crate::{Findings, Scope, Subject};

/// Bytes of a `core::panic::Location` on a 64-bit machine: address and length of the file's name, line, column.
const LOCATION: u64 = 24;
/// Sources that are not the author's. They may be in a module with code that nothing calls: modules on the `kernel` crate are
/// linked without dropping it.
const NOT_THE_FIX: [&str; 3] = ["core/src/", "alloc/src/", "rust/kernel/"];
/// Lines and columns beyond this are no lines and columns.
const MOST: u32 = 1 << 20;

/// [`crate::rules::PANIC_REACHABLE`]
///
/// rustc passes each panic the line that it comes from, and the link drops the lines that nothing refers to.
pub(crate) fn reachable(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = subject.module;
    let data = |place: &Place| !module.sections()[place.section].is_executable();
    let pointers = module.relocations().filter(|relocation| relocation.kind == subject.arch.absolute);
    let pointers = pointers
        .filter(|relocation| {
            let section = &module.sections()[relocation.target];
            section.is_alloc() && !section.is_executable()
        })
        .filter_map(|pointer| {
            let name = place_of(module, pointer.symbol, pointer.addend).filter(data)?;
            location(module, Place { section: pointer.target, offset: pointer.offset }, name)
        });
    for place in pointers.collect::<BTreeSet<_>>() {
        findings.warning(
            place,
            "the code there can panic: the task is killed, and the locks that it holds stay held; use `get`, `checked_div`, \
             `let else` and the like, or see to it that the compiler knows the bounds",
        );
    }
    Scope::All
}

/// `file:line:column`, where the bytes at `at` are a `core::panic::Location`, whose file's name stands at `name`.
fn location(module: &Module<'_>, at: Place, name: Place) -> Option<String> {
    let bytes = range(module.sections()[at.section].data, at.offset, LOCATION)?;
    let (length, rest) = bytes[8..].split_first_chunk::<8>()?;
    let (line, rest) = rest.split_first_chunk::<4>()?;
    let (column, _) = rest.split_first_chunk::<4>()?;
    let (line, column) = (u32::from_le_bytes(*line), u32::from_le_bytes(*column));
    let file = range(module.sections()[name.section].data, name.offset, u64::from_le_bytes(*length))?;
    let file = std::str::from_utf8(file).ok().filter(|file| file.ends_with(".rs"))?;
    if NOT_THE_FIX.iter().any(|dir| file.starts_with(dir) || file.contains(&format!("/{dir}"))) {
        return None;
    }
    let plausible = (1..MOST).contains(&line) && (1..MOST).contains(&column);
    plausible.then(|| format!("{file}:{line}:{column}"))
}
