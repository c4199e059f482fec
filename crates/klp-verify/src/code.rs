// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules on the instructions themselves: what the kernel writes over, and where it branches to.

use std::collections::{BTreeMap, BTreeSet};

use klp_module::{Module, Place, Symbol, SymbolKind, SymbolSection};

use crate::{Findings, Scope, Subject};

/// Section with the module's `struct module`, whose relocations lead to init and exit.
const THIS_MODULE: &str = ".gnu.linkonce.this_module";
/// Prefix of the name of a function's padding.
const PREFIX: &str = "__pfx_";

/// [`crate::rules::CALL_PADDING`]
pub(crate) fn call_padding(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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
        let code = module.sections()[section].data;
        // Where the functions that begin earlier end, at most.
        let mut end_of_earlier = 0;
        let mut begin_together: Vec<&Symbol<'_>> = Vec::new();
        for function in functions {
            if begin_together.first().is_some_and(|first| first.value < function.value) {
                let ends = begin_together.drain(..).map(|f| f.value.saturating_add(f.size));
                end_of_earlier = ends.fold(end_of_earlier, u64::max);
            }
            begin_together.push(function);
            let Some(start) = function.value.checked_sub(bytes) else {
                let where_ = format!("at {:#x} of its section", function.value);
                findings.error(
                    function.name,
                    format!(
                        "it begins {where_}, so that there is no room for {bytes} bytes of {CONSEQUENCE}"
                    ),
                );
                continue;
            };
            let pad = range(code, start, bytes);
            if end_of_earlier > start {
                findings.error(
                    function.name,
                    format!("the {bytes} bytes before it belong to another function, not to {CONSEQUENCE}"),
                );
            } else if !pad.is_some_and(|pad| pad.iter().all(|&byte| byte == subject.arch.padding)) {
                findings.error(
                    function.name,
                    format!(
                        "the {bytes} bytes before it are not all one-byte nops, as they should be in {CONSEQUENCE}"
                    ),
                );
            } else if subject.expected.prefix_symbols && !prefixes.contains(&(function.name, section, start))
            {
                findings.error(
                    function.name,
                    format!("no symbol {PREFIX}{} names the {bytes} bytes before it: objtool saw no {CONSEQUENCE}", function.name),
                );
            }
        }
    }
    Scope::All
}

/// End of a sentence: what is missing, what comes of it, what to do.
const CONSEQUENCE: &str = "call padding; a kernel that tracks the depth of calls (retbleed=stuff) would write over what \
                           stands there, or leave the function's calls uncounted and the processor unprotected; compile \
                           every object with -Zpatchable-function-entry=N,N (C: -fpatchable-function-entry=N,N) of the \
                           kernel's CONFIG_FUNCTION_PADDING_BYTES";

/// The functions of each executable section, in the order in which they begin. The parts of functions that GCC puts aside
/// (`.cold`) are left out: they are jumped to, never called, and have no padding.
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

/// [`crate::rules::IBT_ENDBR`]
pub(crate) fn ibt_endbr(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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

/// [`crate::rules::BTI_LANDING_PAD`]
pub(crate) fn bti_landing_pad(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
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

/// Branch targets of the kernel itself: the module's init and exit, and the replacements. Those that are no code are for
/// rule replacement-symbol to refuse.
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

fn entries_scope(subject: &Subject<'_>) -> Scope {
    match &subject.table {
        Ok(_) => Scope::All,
        Err(_) => Subject::without_table("the replacements"),
    }
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

/// Targets of the relocations of a section that lie in the module.
fn relocated_places(module: &Module<'_>, section: usize) -> Vec<Place> {
    module
        .relocations_of(section)
        .filter_map(|relocation| place_of(module, relocation.symbol, relocation.addend))
        .collect()
}

pub(crate) fn place_of(module: &Module<'_>, symbol: usize, addend: i64) -> Option<Place> {
    let symbol = &module.symbols()[symbol];
    Some(Place { section: section_of(symbol)?, offset: symbol.value.wrapping_add_signed(addend) })
}

fn section_of(symbol: &Symbol<'_>) -> Option<usize> {
    match symbol.section {
        SymbolSection::Section(section) => Some(section),
        _ => None,
    }
}

pub(crate) fn range(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}
