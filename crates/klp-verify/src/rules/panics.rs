// SPDX-License-Identifier: GPL-2.0-or-later
//! Panics that the code of a module can reach.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::events::Severity;
use klp_module::{Module, Place};

use super::{Check, Rule};
use crate::analysis::{Subject, Target, place_of, range};
use crate::report::{Findings, Scope};

/// Panics of the fixes.
pub static PANIC_REACHABLE: Rule = Rule {
    id: "panic-reachable",
    severity: Severity::Error,
    source: "`make_task_dead()` in `kernel/exit.c`.",
    summary: "No line of the fixes can panic, and no line of a library that the compiler put into a function of the fixes.",
    explain: &[
        "A panic ends in an invalid instruction: the kernel kills the task, and the locks that it holds stay locked. The rule is a \
         warning because the compiler may not be able to prove that an index is always in bounds. rustc passes the source line \
         (`core::panic::Location`) to each panic, and the linker drops the lines that nothing refers to: the rule reports those \
         that are left, as file, line and column. A line of `core`, `alloc` or `kernel` is reported if a function of the fixes uses it: \
         `step_by(0)`, a `Duration` below zero. What panics inside of a function of these libraries is not reported.",
        "With `deny_panic = true` in patch.toml it is an error.",
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

/// Crates whose functions are no part of a fix.
const LIBRARIES: [&str; 8] =
    ["core", "alloc", "kernel", "klp", "klp_core", "klp_sys", "compiler_builtins", "pin_init"];

fn reachable(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = subject.module;
    let data = |place: &Place| !module.sections()[place.section].is_executable();
    let pointers = module.relocations().filter(|relocation| relocation.kind == subject.arch.absolute);
    let lines = pointers
        .filter(|relocation| {
            let section = &module.sections()[relocation.target];
            section.is_alloc() && !section.is_executable()
        })
        .filter_map(|pointer| {
            let name = place_of(module, pointer.symbol, pointer.addend).filter(data)?;
            let at = Place { section: pointer.target, offset: pointer.offset };
            Some((at, location(module, at, name)?))
        });
    let (of_libraries, own): (BTreeMap<Place, String>, BTreeMap<Place, String>) =
        lines.partition(|(_, line)| is_in_library(line));
    let denied = subject.expected.patch.as_ref().is_some_and(|patch| patch.deny_panic);
    let mut add = |line: &str, message: String| match denied {
        true => findings.error(line, message),
        false => findings.warning(line, message),
    };
    for line in own.into_values().collect::<BTreeSet<_>>() {
        add(
            &line,
            "the code there can panic: the task is killed, and the locks that it holds stay held; use `get`, `checked_div`, \
             `let else` and the like, or see to it that the compiler knows the bounds"
                .to_owned(),
        );
    }
    for (function, line) in users(subject, &of_libraries) {
        add(
            line,
            format!(
                "the code there can panic, and {function} has it: a function of the library that the fix calls checks its arguments"
            ),
        );
    }
    Scope::All
}

/// Functions of the fixes that use the lines of libraries.
fn users<'l>(subject: &Subject<'_>, lines: &'l BTreeMap<Place, String>) -> BTreeSet<(String, &'l str)> {
    let graph = &subject.graph;
    let mut users = BTreeSet::new();
    for function in graph.reachable() {
        let name = graph.program.functions[function].name;
        if crates(name).is_some_and(|crates| crates.iter().all(|found| LIBRARIES.contains(found))) {
            continue;
        }
        let used = graph.program.steps_of(function).filter_map(|step| match step.address {
            Some(Target::Place(place)) => lines.get(&place),
            _ => None,
        });
        users.extend(used.map(|line| (name.to_owned(), line.as_str())));
    }
    users
}

/// Names of the crates in a mangled name (`<crate-root>` of Rust's v0 mangling). `None` for other names.
fn crates(name: &str) -> Option<Vec<&str>> {
    let path = name.strip_prefix("_R")?;
    let roots = path.match_indices("Cs").filter_map(|(at, _)| {
        let (_, rest) = path[at + 2..].split_once('_')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let length: usize = rest.get(..digits)?.parse().ok()?;
        rest.get(digits..digits + length)
    });
    Some(roots.collect())
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
    let plausible = (1..MOST).contains(&line) && (1..MOST).contains(&column);
    plausible.then(|| format!("{file}:{line}:{column}"))
}

fn is_in_library(line: &str) -> bool {
    NOT_THE_FIX.iter().any(|dir| line.starts_with(dir) || line.contains(&format!("/{dir}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_read_from_mangled_names() {
        assert_eq!(crates("_RNvNtCs1abc_4core9panicking5panic"), Some(vec!["core"]));
        let generic = "_RNvMNtNtNtCs1_4core4iter8adapters7step_byINtB2_6StepBymE3newCs9x_5fix_a";
        assert_eq!(crates(generic), Some(vec!["core", "fix_a"]));
        assert_eq!(crates("version_proc_show"), None);
    }
}
