// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on jumps into the kernel's functions: the thunks of originals.

use klp_base::events::Severity;
use klp_format::{KlpSymbol, THUNK_PREFIX};
use klp_module::SymbolSection;

use super::{Check, Rule, without_tables};
use crate::analysis::{Subject, Target};
use crate::report::{Findings, Scope};

/// Jumps to the code behind a function's ftrace site.
pub static ORIGINAL_SITE: Rule = Rule {
    id: "original-site",
    severity: Severity::Error,
    source: "`ftrace_make_call()` in `arch/x86/kernel/ftrace.c` and `arch/arm64/kernel/ftrace.c`; `CC_FLAGS_FTRACE`.",
    summary: "A jump or call into a function of the kernel stands in a thunk (`klp_original_...`), and leads to the first instruction \
              behind the ftrace site of a function that this module replaces.",
    explain: &[
        "`replaced::original` runs the kernel's own function through a thunk: one jump past the call of ftrace. The offset is read \
         from the code of this kernel's image, for each function: landing pads differ.",
        "A wrong offset leads into the middle of an instruction. A jump to the site itself leads back to the replacement, again and \
         again. Where the code of the function is not known (a file alone, for functions of modules), the offset is *not checked*.",
        "**Symptom:** an invalid opcode, a general protection fault, or any other consequence of instructions that nobody wrote.",
        "**Remedy:** build the module again for this kernel. Never change the relocations of a finished module.",
    ],
    check: Check::Module(original_site),
};

fn original_site(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let Ok(table) = &subject.table else { return without_tables() };
    let program = &subject.graph.program;
    let mut unchecked = Vec::new();
    for (at, function) in program.functions.iter().enumerate() {
        let is_thunk = function.name.starts_with(THUNK_PREFIX);
        let mut jumps = 0;
        for step in program.steps_of(at) {
            let Some((symbol, offset)) = step.target.and_then(|target| livepatch_symbol(subject, target))
            else {
                continue;
            };
            if offset == 0 {
                continue;
            }
            let place = subject.place(step.place);
            let leaves = program.leaves(at, step).is_some();
            if !is_thunk || !leaves {
                findings.error(place, format!("it leads {offset} bytes into {symbol}; call `replaced::original::...`, whose thunk does that"));
                continue;
            }
            jumps += 1;
            if !table.symbols().any(|(replaced, _)| replaced == symbol) {
                findings.error(place, format!("it leads into {symbol}, which this module does not replace; call the function by its name"));
                continue;
            }
            match subject.expected.bodies.iter().find(|(known, _)| *known == symbol) {
                Some((_, body)) if u64::try_from(offset) == Ok(*body) => {}
                Some((_, body)) => findings.error(
                    place,
                    format!("it leads {offset} bytes into {symbol}, whose own code begins at {body} on {}; build the module again for this kernel", subject.expected.kernel),
                ),
                None => unchecked.push(format!("the jump into {symbol}: where its own code begins is not known")),
            }
        }
        if is_thunk && (jumps != 1 || program.steps_of(at).count() > 2) {
            findings.error(
                function.name,
                "it is no thunk: a thunk is a landing pad and one jump behind the ftrace site of a replaced function",
            );
        }
    }
    Scope::all_but_unchecked(unchecked)
}

/// Livepatch symbol of a target, and the distance of the target from it.
fn livepatch_symbol(subject: &Subject<'_>, target: Target) -> Option<(KlpSymbol, i64)> {
    let Target::Symbol(index, offset) = target else { return None };
    let symbol = subject.module.symbols().get(index)?;
    // Rule klp-symbol has the finding for a malformed name.
    let is_livepatch = symbol.section == SymbolSection::Livepatch;
    Some((KlpSymbol::from_elf_name(symbol.name).ok().filter(|_| is_livepatch)?, offset))
}
