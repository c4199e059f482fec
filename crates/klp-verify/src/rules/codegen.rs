// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on generated code: padding that the kernel overwrites, and landing pads of indirect branches.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::events::Severity;
use klp_module::{Module, Place, Symbol, SymbolKind};

use super::{Check, Rule, without_tables};
use crate::analysis::{Subject, place_of, range, section_of};
use crate::report::{Findings, Scope};

/// Call padding before functions.
pub static CALL_PADDING: Rule = Rule {
    id: "call-padding",
    severity: Severity::Error,
    source: "`patch_dest()` in `arch/x86/kernel/callthunks.c`; `CONFIG_FUNCTION_PADDING_BYTES` in `arch/x86/Kconfig`.",
    summary: "On a kernel with `CONFIG_CALL_PADDING` every function has its padding before it: one-byte nops that belong to no other \
              function, named by a `__pfx_` symbol.",
    explain: &[
        "With call depth tracking (`retbleed=stuff`) the kernel writes a thunk into the padding and redirects calls there. If it finds \
         no nops it leaves the calls uncounted, with one warning per boot: the protection against return stack underflow has \
         a gap in the patch. Nops of another function would be overwritten. No tool of the kernel's build reports missing padding.",
        "**Symptom:** `callthunks: Invalid padding area` for the first function without padding since boot; none without \
         `retbleed=stuff`.",
        "**Remedy:** `-Zpatchable-function-entry=N,N` (C: `-fpatchable-function-entry=N,N`) for every object, `core` included, with the \
         kernel's `CONFIG_FUNCTION_PADDING_BYTES`.",
        "**Evidence:** a module was compiled without padding and loaded on an emulated Skylake with \
         `retbleed=stuff spectre_v2=retpoline debug-callthunks`. Of its 13 calls the kernel patched the four that lead into the kernel; \
         the nine inside of the module were left uncounted. In a module with padding all 13 were patched. Linux 6.12 checks for nops \
         before it writes: it does not overwrite a function in the place of padding.",
    ],
    check: Check::Module(call_padding),
};

/// Landing pads of indirect branch tracking (x86).
pub static IBT_ENDBR: Rule = Rule {
    id: "ibt-endbr",
    severity: Severity::Error,
    source: "`CONFIG_X86_KERNEL_IBT` in `arch/x86/Kconfig`; `apply_seal_endbr()` in `arch/x86/kernel/alternative.c`.",
    summary: "On a kernel with indirect branch tracking, replacements and the module's init and exit functions begin with `endbr64`, and \
              it is not sealed.",
    explain: &[
        "The processor raises a control protection fault at the first indirect branch to a function without `endbr64`. The kernel \
         overwrites (seals) an `endbr64` at load time if objtool found nothing that takes the function's address. Most test \
         machines lack the feature, so that no test shows the fault.",
        "**Symptom:** `Missing ENDBR`, then `kernel BUG`, on processors with IBT; none on others.",
        "**Remedy:** `-Zcf-protection=branch` (C: `-fcf-protection=branch`) for every object. A data section must refer to init and exit.",
    ],
    check: Check::Module(ibt_endbr),
};

/// Landing pads of branch target identification (arm64).
pub static BTI_LANDING_PAD: Rule = Rule {
    id: "bti-landing-pad",
    severity: Severity::Error,
    source: "`CONFIG_ARM64_BTI_KERNEL` in `arch/arm64/Kconfig`.",
    summary: "On a kernel with branch target identification, replacements, the module's init and exit functions, and every function whose \
              address is in data begin with `bti c` or `paciasp`.",
    explain: &[
        "The processor raises an exception at the first indirect branch to a function without landing pad. Processors without the \
         feature, and the emulators' default models, show nothing.",
        "**Symptom:** `Internal error: Oops - BTI` on processors with BTI; none on others.",
        "**Remedy:** `-Zbranch-protection=bti,pac-ret` (C: `-mbranch-protection=...`) for every object, `core` included.",
    ],
    check: Check::Module(bti_landing_pad),
};

/// Section of the module's `struct module`, whose relocations lead to init and exit.
const THIS_MODULE: &str = ".gnu.linkonce.this_module";
/// Prefix of the symbol that names a function's padding.
const PREFIX: &str = "__pfx_";

fn call_padding(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let bytes = match &subject.expected.call_padding {
        Ok(Some(bytes)) => *bytes,
        Ok(None) => return Scope::Nothing("the kernel is built without CONFIG_CALL_PADDING".to_owned()),
        Err(reason) => {
            findings.unchecked("the kernel's configuration", reason);
            return Scope::All;
        }
    };
    let module = subject.module;
    let prefixes: BTreeSet<(&str, usize, u64)> = module
        .symbols()
        .iter()
        .filter_map(|symbol| Some((symbol.name.strip_prefix(PREFIX)?, section_of(symbol)?, symbol.value)))
        .collect();
    for (section, functions) in functions_by_section(module) {
        // Highest end of the functions that begin earlier.
        let mut end_of_earlier = 0;
        let mut begin_together: Vec<&Symbol<'_>> = Vec::new();
        for function in functions {
            if begin_together.first().is_some_and(|first| first.value < function.value) {
                let ends = begin_together.drain(..).map(|f| f.value.saturating_add(f.size));
                end_of_earlier = ends.fold(end_of_earlier, u64::max);
            }
            begin_together.push(function);
            let named = |start| {
                !subject.expected.prefix_symbols || prefixes.contains(&(function.name, section, start))
            };
            if let Some(wrong) = padding_fault(subject, function, section, bytes, end_of_earlier, named) {
                findings.error(function.name, wrong);
            }
        }
    }
    Scope::All
}

/// Message for a function without the right padding.
fn padding_fault(
    subject: &Subject<'_>,
    function: &Symbol<'_>,
    section: usize,
    bytes: u64,
    end_of_earlier: u64,
    named: impl Fn(u64) -> bool,
) -> Option<String> {
    let Some(start) = function.value.checked_sub(bytes) else {
        let at = format!("at {:#x} of its section", function.value);
        return Some(format!("it begins {at}, so that there is no room for {bytes} bytes of {CONSEQUENCE}"));
    };
    let padding = range(subject.module.sections()[section].data, start, bytes);
    if end_of_earlier > start {
        Some(format!("the {bytes} bytes before it belong to another function, not to {CONSEQUENCE}"))
    } else if !padding.is_some_and(|padding| padding.iter().all(|&byte| byte == subject.arch.padding)) {
        Some(format!(
            "the {bytes} bytes before it are not all one-byte nops, as they should be in {CONSEQUENCE}"
        ))
    } else if !named(start) {
        Some(format!(
            "no symbol {PREFIX}{} names the {bytes} bytes before it: objtool saw no {CONSEQUENCE}",
            function.name
        ))
    } else {
        None
    }
}

/// End of each message on padding: subject, consequence, remedy.
const CONSEQUENCE: &str = "call padding; a kernel that tracks the depth of calls (retbleed=stuff) would write over what \
                           stands there, or leave the function's calls uncounted and the processor unprotected; compile \
                           every object with -Zpatchable-function-entry=N,N (C: -fpatchable-function-entry=N,N) of the \
                           kernel's CONFIG_FUNCTION_PADDING_BYTES";

/// Functions of each executable section in ascending order, without the cold parts that GCC splits off (`.cold`): they are jumped
/// to, never called, and have no padding.
fn functions_by_section<'m, 'a>(module: &'m Module<'a>) -> BTreeMap<usize, Vec<&'m Symbol<'a>>> {
    let mut sections: BTreeMap<usize, Vec<&Symbol<'_>>> = BTreeMap::new();
    for symbol in module.symbols() {
        let aside = symbol.name.starts_with(PREFIX) || symbol.name.ends_with(".cold");
        let executable = section_of(symbol).filter(|&section| module.sections()[section].is_executable());
        if let (SymbolKind::Function, false, Some(section)) = (symbol.kind, aside, executable) {
            sections.entry(section).or_default().push(symbol);
        }
    }
    for functions in sections.values_mut() {
        functions.sort_by_key(|function| function.value);
    }
    sections
}

fn ibt_endbr(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    if !subject.expected.ibt {
        return Scope::Nothing("the kernel is built without CONFIG_X86_KERNEL_IBT".to_owned());
    }
    let sealed_section = subject.arch.sealed_targets;
    let sealed: BTreeSet<Place> = sealed_section
        .and_then(|name| subject.module.section(name))
        .into_iter()
        .flat_map(|section| relocated_places(subject.module, section.index))
        .collect();
    for (what, place) in entries(subject) {
        if !begins_with_landing_pad(subject, place) {
            findings.error(
                name_at(subject, place),
                format!(
                    "{what} does not begin with endbr64: a processor with IBT raises a control protection fault when the \
                     kernel branches there; compile every object with -Zcf-protection=branch (C: -fcf-protection=branch)"
                ),
            );
        } else if sealed.contains(&place) {
            findings.error(
                name_at(subject, place),
                format!(
                    "{what} is listed in {}, because objtool saw nothing that takes its address: the kernel overwrites its \
                     endbr64 at load time, and then branches there; refer to it from a data section",
                    sealed_section.unwrap_or_default()
                ),
            );
        }
    }
    entries_scope(subject)
}

fn bti_landing_pad(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    if !subject.expected.bti {
        return Scope::Nothing("the kernel is built without CONFIG_ARM64_BTI_KERNEL".to_owned());
    }
    let module = subject.module;
    let in_data = module
        .relocations()
        .filter(|relocation| relocation.kind == subject.arch.absolute)
        .filter(|relocation| module.sections()[relocation.target].is_alloc())
        .filter_map(|relocation| place_of(module, relocation.symbol, relocation.addend))
        .filter(|place| module.sections()[place.section].is_executable())
        // Addresses inside functions (bug tables, exception tables) are looked up there and not branched to.
        .filter(|place| {
            module.symbols().iter().any(|s| s.kind == SymbolKind::Function && place_is(s, *place))
        })
        .map(|place| ("a function whose address stands in data", place));
    let mut seen = BTreeSet::new();
    for (what, place) in entries(subject).chain(in_data) {
        if seen.insert(place) && !begins_with_landing_pad(subject, place) {
            findings.error(
                name_at(subject, place),
                format!(
                    "{what} does not begin with `bti c` or `paciasp`: a processor with BTI raises an exception when the kernel \
                     branches there; compile every object with -Zbranch-protection=bti,pac-ret (C: -mbranch-protection=...)"
                ),
            );
        }
    }
    entries_scope(subject)
}

/// Functions that the kernel branches to: the module's init and exit, and the replacements.
fn entries<'s>(subject: &'s Subject<'_>) -> impl Iterator<Item = (&'static str, Place)> + 's {
    let module = subject.module;
    let own = module
        .section(THIS_MODULE)
        .into_iter()
        .flat_map(|section| relocated_places(module, section.index))
        .map(|place| ("the module's entry", place));
    let replacements = subject.table.iter().flat_map(|table| &table.objects).flat_map(|object| {
        object.functions.iter().map(|function| ("the replacement", function.new_function))
    });
    own.chain(replacements).filter(|(_, place)| module.sections()[place.section].is_executable())
}

/// Entries that [`entries`] does not give. Rules module-name, patch-table and replacement-symbol have the findings.
fn entries_scope(subject: &Subject<'_>) -> Scope {
    let module = subject.module;
    let Ok(table) = &subject.table else { return without_tables() };
    let init = module
        .section(THIS_MODULE)
        .is_none()
        .then(|| format!("the module's init and exit: there is no section {THIS_MODULE}"));
    let functions = table.objects.iter().flat_map(|object| &object.functions);
    let data = functions.filter(|function| !module.sections()[function.new_function.section].is_executable());
    let data = data.map(|function| format!("the replacement of {}, which is not code", function.old_name));
    Scope::all_but_unchecked(init.into_iter().chain(data))
}

fn begins_with_landing_pad(subject: &Subject<'_>, place: Place) -> bool {
    let code = subject.module.sections()[place.section].data;
    range(code, place.offset, 4)
        .is_some_and(|first| subject.arch.branch_targets.iter().any(|target| target == first))
}

fn name_at(subject: &Subject<'_>, place: Place) -> String {
    let function = subject.module.function_at(place.section, place.offset);
    function.map_or("(no symbol)", |function| function.name).to_owned()
}

fn place_is(symbol: &Symbol<'_>, place: Place) -> bool {
    section_of(symbol) == Some(place.section) && symbol.value == place.offset
}

/// Targets inside of the module of a section's relocations.
fn relocated_places(module: &Module<'_>, section: usize) -> Vec<Place> {
    module
        .relocations_of(section)
        .filter_map(|relocation| place_of(module, relocation.symbol, relocation.addend))
        .collect()
}
