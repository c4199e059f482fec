// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on the tables of the live patch.

use std::collections::BTreeMap;

use klp_base::events::Severity;
use klp_format::VMLINUX;
use klp_module::{PATCH_SYMBOL, PatchTable};

use super::{Check, Rule, without_tables};
use crate::analysis::Subject;
use crate::facts::ExpectedPatch;
use crate::report::{Findings, Scope};

/// Contents of the tables.
pub static PATCH_TABLE: Rule = Rule {
    id: "patch-table",
    severity: Severity::Error,
    source: "`struct klp_patch` in `include/linux/livepatch.h`.",
    summary: "The tables of the live patch hold what patch.toml says: objects, functions, positions, atomic replace, states and callbacks; \
              and no part of them is in `.init` memory.",
    explain: &[
        "A function that is missing stays unfixed; an additional one is replaced although patch.toml does not name it; without atomic \
         replace an older patch stays active. Tables in `.init` memory are freed after the module's init function, while the livepatch \
         core still reads them.",
        "The tables are those of symbol `__klp_patch`, else those whose address the module passes to `klp_enable_patch`. If they cannot be \
         found or read, this rule and every other rule that needs them are *not checked*. For a file alone, patch.toml is not known, and \
         the contents are not compared.",
        "**Symptom:** `symbol '...' not found in symbol table`, `symbol position 2 for symbol ...` (EINVAL) for a function that the kernel \
         does not have; none for one that is missing or additional.",
        "**Remedy:** build the module again from its sources.",
    ],
    check: Check::Module(patch_table),
};

/// Symbols of replacements.
pub static REPLACEMENT_SYMBOL: Rule = Rule {
    id: "replacement-symbol",
    severity: Severity::Error,
    source: "`klp_init_object_loaded()` in `kernel/livepatch/core.c`; `klp_check_stack_func()` in `kernel/livepatch/transition.c`.",
    summary: "Every replacement is the start of a function with a size in the module's symbol table.",
    explain: &[
        "The kernel asks kallsyms for the size of the replacement, to find tasks that sleep in it. kallsyms takes the nearest symbol of \
         any kind: if the right one is missing the size is wrong, and tasks are switched while they run the function.",
        "**Symptom:** `kallsyms size lookup failed for '...' replacement` (ENOENT) if there is no symbol at all; none for a wrong one.",
        "**Remedy:** do not strip symbols of a finished module.",
    ],
    check: Check::Module(replacement_symbol),
};

/// Callbacks that refuse the patch.
pub static CALLBACK_FAILS: Rule = Rule {
    id: "callback-fails",
    severity: Severity::Warning,
    source: "`klp_pre_patch_callback()` in `kernel/livepatch/core.h`; `Documentation/livepatch/callbacks.rst`.",
    summary: "No `pre_patch` callback refuses the patch on every path.",
    explain: &[
        "The kernel does not enable a patch whose `pre_patch` returns an error; for a module, it then refuses to load the module. The rule \
         finds a callback that always returns the same error, without a look at anything.",
        "**Symptom:** `pre-patch callback failed for object '...'`, and `insmod` fails with that error.",
        "**Remedy:** return 0 where nothing is wrong; `Ok(())` in Rust.",
    ],
    check: Check::Module(callback_fails),
};

/// Object, function, position.
type Entry = (String, String, u32);

fn patch_table(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let table = match &subject.table {
        Ok(table) => table,
        Err(error) => {
            let message = format!("the live patch's tables cannot be read: {error}");
            findings.unchecked("the live patch's tables", message);
            return Scope::All;
        }
    };
    freed_early(subject, table, findings);
    match &subject.expected.patch {
        Some(patch) => {
            compare(table, patch, findings);
            Scope::All
        }
        None => {
            Scope::But("whether it replaces what was meant: of a file alone that is not known".to_owned())
        }
    }
}

/// Checks that no part of the tables is in a section that the kernel frees after the module's init function.
fn freed_early(subject: &Subject<'_>, table: &PatchTable, findings: &mut Findings) {
    let names = table.sections.iter().map(|&section| subject.module.sections()[section].name);
    for name in names.filter(|name| name.starts_with(".init")) {
        findings.error(
            name,
            "a part of the live patch's tables lies there, and the kernel frees it when the module's init function has returned: \
             the livepatch core goes on reading it; take `__initdata` and `__initconst` off the tables and names",
        );
    }
}

fn compare(table: &PatchTable, patch: &ExpectedPatch, findings: &mut Findings) {
    match (table.replace, patch.replace) {
        (false, true) => findings.error(
            PATCH_SYMBOL,
            "`replace` is off: patches that were loaded before would stay active beneath it",
        ),
        (true, false) => findings.error(
            PATCH_SYMBOL,
            "`replace` is on, but the patch is to be stacked: it would take the place of the patches that are loaded",
        ),
        _ => {}
    }
    if table.states != patch.states {
        findings.error(
            PATCH_SYMBOL,
            format!(
                "it supports the states {:?} (id, version), patch.toml names {:?}: the kernel judges by them which patch may \
                 replace which",
                table.states, patch.states
            ),
        );
    }
    compare_objects(table, patch, findings);
    compare_functions(table, patch, findings);
}

fn compare_objects(table: &PatchTable, patch: &ExpectedPatch, findings: &mut Findings) {
    let mut objects: BTreeMap<&str, usize> = BTreeMap::new();
    for object in &table.objects {
        let name = object.name.as_deref().unwrap_or(VMLINUX);
        match (object.callbacks, patch.callbacks.iter().any(|wanted| wanted == name)) {
            (true, false) => findings.error(name, "it has callbacks, but patch.toml names none for it"),
            (false, true) => {
                findings.error(name, "patch.toml names callbacks for it, but the tables have none");
            }
            _ => {}
        }
        *objects.entry(name).or_default() += 1;
    }
    for (object, _) in objects.iter().filter(|(_, times)| **times > 1) {
        findings.error(
            *object,
            "the object stands in the tables more than once: the kernel would patch it in two parts",
        );
    }
}

fn callback_fails(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    for object in &table.objects {
        let function = object.pre_patch.and_then(|place| subject.graph.program.function_from(place));
        let result = function.and_then(|function| subject.graph.followed[function].result);
        // The result is an `int`, in the lower half of its register.
        if let Some(error @ 1..) = result.map(|result| result & 0xffff_ffff) {
            findings.warning(
                object.name.as_deref().unwrap_or(VMLINUX),
                format!(
                    "its `pre_patch` returns {} on each path: the kernel never enables the patch; return 0 where nothing is wrong",
                    error.cast_unsigned() as u32 as i32
                ),
            );
        }
    }
    Scope::All
}

fn compare_functions(table: &PatchTable, patch: &ExpectedPatch, findings: &mut Findings) {
    // Number of planned entries minus number of entries in the tables.
    let mut balance: BTreeMap<Entry, i64> = BTreeMap::new();
    for symbol in &patch.functions {
        let entry = (symbol.object.to_string(), symbol.symbol.clone(), symbol.position.0);
        *balance.entry(entry).or_default() += 1;
    }
    for object in &table.objects {
        let name = object.name.as_deref().unwrap_or(VMLINUX);
        for function in &object.functions {
            let entry = (name.to_owned(), function.old_name.clone(), function.position.0);
            *balance.entry(entry).or_default() -= 1;
        }
    }
    for ((object, function, position), balance) in balance {
        let subject = format!("{object}:{function},{position}");
        match balance {
            0 => {}
            1.. => findings
                .error(subject, "patch.toml replaces it, but the tables do not: it would stay as it is"),
            _ => findings
                .error(subject, "the tables replace it, but patch.toml does not name it (or not twice)"),
        }
    }
}

fn replacement_symbol(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    const SIZE: &str = "the kernel takes the replacement's size from the nearest symbol, to see whether a task sleeps in it: a \
                        wrong one lets tasks change over in the middle of the function, and without any symbol the answer is \
                        ENOENT; do not strip symbols of a finished module";
    let Ok(table) = &subject.table else { return without_tables() };
    let module = subject.module;
    for function in table.objects.iter().flat_map(|object| &object.functions) {
        let place = function.new_function;
        let section = &module.sections()[place.section];
        let at = format!("the replacement, {}+{:#x},", section.name, place.offset);
        if !section.is_executable() {
            findings.error(&function.old_name, format!("{at} is not in a section of code"));
            continue;
        }
        match module.function_at(place.section, place.offset) {
            None => findings.error(&function.old_name, format!("{at} has no function symbol: {SIZE}")),
            Some(symbol) if symbol.value != place.offset => findings.error(
                &function.old_name,
                format!(
                    "{at} is {:#x} bytes inside of {}, not at a start",
                    place.offset - symbol.value,
                    symbol.name
                ),
            ),
            Some(symbol) if symbol.size == 0 => {
                findings
                    .error(&function.old_name, format!("{at} has symbol {} of size 0: {SIZE}", symbol.name));
            }
            Some(_) => {}
        }
    }
    Scope::All
}
