// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on ftrace sites.

use std::collections::BTreeSet;

use klp_base::events::Severity;
use klp_format::ftrace::{FENTRY, NOP5, Site};
use klp_module::{Module, Place, Relocation, SymbolKind};

use super::{Check, Rule, no_function, without_tables};
use crate::analysis::{Subject, place_of, range};
use crate::report::{Findings, Scope};

/// ftrace sites of replacements.
pub static TRACEABLE_REPLACEMENT: Rule = Rule {
    id: "traceable-replacement",
    severity: Severity::Error,
    source: "`ftrace_process_locs()` and `ftrace_bug()` in `kernel/trace/ftrace.c`.",
    summary: "The module lists an ftrace site for each replacement, and each listed site has the instruction that ftrace expects \
              (`call __fentry__`, a nop; on arm64 nops).",
    explain: &[
        "The kernel loads a module without the list of sites: the replacement then runs, and no function tracer, fprobe or kprobe on a \
         function's entry shows it. If a site has another instruction, ftrace warns and disables itself, and no live patch can be \
         loaded or unloaded until the next boot.",
        "In a module that the pipeline did not build, a missing site is a warning: its author may have wanted none (`notrace`).",
        "**Symptom:** none for a replacement without site, except that `set_ftrace_filter` refuses its name (EINVAL); for a wrong \
         instruction `WARNING: ... ftrace_bug`, `ftrace failed to modify`.",
        "**Remedy:** build the module again.",
    ],
    check: Check::Module(traceable),
};

/// arm64: `nop`.
const ARM64_NOP: [u8; 4] = [0x1f, 0x20, 0x03, 0xd5];
/// Bytes of a landing pad, of either architecture.
const LANDING_PAD: u64 = 4;
/// arm64: bytes of the pointer that the nops before a function become, and its alignment (`ftrace_call_adjust()` in
/// `arch/arm64/kernel/ftrace.c`).
const LITERAL: u64 = 8;
/// R_X86_64_PLT32.
const PLT32: u32 = 4;

fn traceable(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let module = &subject.module;
    let known = Known::of(module);
    let name = subject.expected.sites.section();
    let listed = module.section(name).into_iter().flat_map(|section| module.relocations_of(section.index));
    let listed = listed.filter_map(|relocation| place_of(module, relocation.symbol, relocation.addend));
    let mut traceable = BTreeSet::new();
    for place in listed {
        match known.function_of(subject, place) {
            Ok(start) => {
                traceable.insert(start);
            }
            Err(wrong) => findings.error(
                format!("{name}: {}+{:#x}", module.sections()[place.section].name, place.offset),
                format!(
                    "{wrong}: ftrace warns (\"ftrace_bug\") when the module is loaded, and switches itself off; build the module \
                     again"
                ),
            ),
        }
    }
    let Ok(table) = &subject.table else { return without_tables() };
    let mut unchecked = Vec::new();
    for function in table.objects.iter().flat_map(|object| &object.functions) {
        let place = function.new_function;
        if !known.functions.contains(&place) {
            unchecked.push(no_function(subject, &function.old_name, place));
        } else if !traceable.contains(&place) {
            let symbol = function.symbol.as_deref().unwrap_or("(no symbol)");
            let what = format!(
                "section {name} has no entry for this replacement, so that ftrace does not know it: no tracer and no probe \
                 can show that the fix runs; compile the crate of the tables with room for the site (C: without notrace)"
            );
            // The pipeline makes an entry for each; a foreign module may have none on purpose (`notrace`).
            if subject.expected.patch.is_some() {
                findings.error(symbol, what);
            } else {
                findings.warning(symbol, what);
            }
        }
    }
    Scope::all_but_unchecked(unchecked)
}

/// Starts of the functions of a module, and its calls of `__fentry__`.
struct Known {
    functions: BTreeSet<Place>,
    calls: BTreeSet<Place>,
}

impl Known {
    fn of(module: &Module<'_>) -> Self {
        let functions = module.symbols().iter().filter(|symbol| symbol.kind == SymbolKind::Function);
        let is_call = |relocation: &Relocation| {
            (relocation.kind, relocation.addend) == (PLT32, -4)
                && module.symbols()[relocation.symbol].name == FENTRY
        };
        let calls = module.relocations().filter(is_call).filter_map(|relocation| {
            let offset = relocation.offset.checked_sub(1)?;
            Some(Place { section: relocation.target, offset })
        });
        Self {
            functions: functions.filter_map(|symbol| place_of(module, symbol.index, 0)).collect(),
            calls: calls.collect(),
        }
    }

    /// First of several offsets at which a function begins.
    fn start(&self, section: usize, offsets: [Option<u64>; 2]) -> Result<Place, &'static str> {
        let mut places = offsets.into_iter().flatten().map(|offset| Place { section, offset });
        places.find(|place| self.functions.contains(place)).ok_or("no function begins there")
    }

    /// Function of the site at a place, or the fault of that site.
    fn function_of(&self, subject: &Subject<'_>, place: Place) -> Result<Place, &'static str> {
        let code = subject.module.sections()[place.section].data;
        let before_landing_pad = place.offset.checked_sub(LANDING_PAD);
        let sites = subject.expected.sites;
        match sites.site {
            Site::Call => {
                let start = self.start(place.section, [Some(place.offset), before_landing_pad])?;
                let good = range(code, place.offset, 1) == Some(&[0xe8]) && self.calls.contains(&place);
                if good { Ok(start) } else { Err("there is no call of __fentry__") }
            }
            Site::Nop => {
                let start = self.start(place.section, [Some(place.offset), before_landing_pad])?;
                let good = range(code, place.offset, 5) == Some(&NOP5[..]);
                if good { Ok(start) } else { Err("there is not the nop that ftrace knows") }
            }
            Site::Patchable => self.patchable(subject, place),
        }
    }

    /// Function of an arm64 site, which begins with the nops before the function.
    fn patchable(&self, subject: &Subject<'_>, place: Place) -> Result<Place, &'static str> {
        let section = &subject.module.sections()[place.section];
        let nops = |offset: u64, count: u64| {
            let code = range(section.data, offset, count * 4);
            code.is_some_and(|code| code.chunks(4).all(|instruction| instruction == ARM64_NOP))
        };
        let before = u64::from(subject.expected.sites.before);
        if before > 0 && !(place.offset.is_multiple_of(LITERAL) && section.align.is_multiple_of(LITERAL)) {
            return Err("the nops before the function are not at a multiple of 8 bytes");
        }
        let behind = place.offset.checked_add(before * 4);
        // Without nops before the function the compiler lists the first nop behind the landing pad.
        let landing_pad = place.offset.checked_sub(LANDING_PAD).filter(|_| before == 0);
        let start = self.start(place.section, [behind, landing_pad])?;
        let good =
            nops(place.offset, before) && (nops(start.offset, 2) || nops(start.offset + LANDING_PAD, 2));
        if good { Ok(start) } else { Err("there are no nops for ftrace") }
    }
}
