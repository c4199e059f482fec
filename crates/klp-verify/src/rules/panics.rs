// SPDX-License-Identifier: GPL-2.0-or-later
//! Panics that the code of a module can reach.

use std::collections::BTreeSet;

use klp_base::events::Severity;
use klp_module::{Module, Place};

use super::{Check, Rule};
use crate::analysis::{Subject, place_of, range};
use crate::report::{Findings, Scope};

/// Panics of the fixes.
pub static PANIC_REACHABLE: Rule = Rule {
    id: "panic-reachable",
    severity: Severity::Warning,
    source: "`make_task_dead()` in `kernel/exit.c`.",
    summary: "No line of the fixes can panic; the libraries `core`, `alloc` and `kernel` are left out.",
    explain: &[
        "A panic ends in an invalid instruction: the kernel kills the task, and the locks that it holds stay locked. The rule is a \
         warning because the compiler may not be able to prove that an index is always in bounds. rustc passes the source line \
         (`core::panic::Location`) to each panic, and the linker drops the lines that nothing refers to: the rule reports those \
         that are left, as file, line and column.",
        "**Symptom:** when it happens, `klp: panicked at FILE:LINE:COLUMN`, then `Oops: invalid opcode` (arm64: `Internal error: \
         ...`).",
        "**Remedy:** `get`, `checked_div`, `let else`, or an assertion that the compiler can use: \
         [docs/author-guide.md](author-guide.md#panics).",
    ],
    check: Check::Module(reachable),
};

/// Size of a `core::panic::Location` on a 64-bit machine: address and length of the file's name, line, column.
const LOCATION: u64 = 24;
/// Directories of library sources. Code of theirs that nothing calls may be in a module: one on the `kernel` crate is linked
/// without dropping unused code.
const NOT_THE_FIX: [&str; 3] = ["core/src/", "alloc/src/", "rust/kernel/"];
/// Limit of plausible line and column numbers.
const MOST: u32 = 1 << 20;

fn reachable(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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

/// Text `file:line:column` if the bytes at `at` are a `core::panic::Location` with the file's name at `name`.
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
