// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on the live patches of a machine together.

use std::collections::BTreeSet;

use klp_base::events::Severity;
use klp_format::KlpSymbol;
use klp_module::PatchTable;

use super::{Check, Rule, without_tables};
use crate::analysis::Subject;
use crate::facts::LoadedPatch;
use crate::report::{Findings, Scope};

/// The module, and the live patches that are loaded before it.
pub static PATCH_SET: Rule = Rule {
    id: "patch-set",
    severity: Severity::Error,
    source: "`klp_is_patch_compatible()` in `kernel/livepatch/state.c`; `klp_add_nops()` in `kernel/livepatch/core.c`; \
             `klp_ftrace_handler()` in `kernel/livepatch/patch.c`; `finished_loading()` in `kernel/module/main.c`.",
    summary: "The module can follow the live patches that are loaded before it: it supports their states, loses none of their functions, and \
              replaces no function of theirs beside them.",
    explain: &[
        "`cargo xtask check NEW --loaded OLD.ko` names the live patches of a machine; without it the rule does not apply. `kpatch check` compares \
         with what is loaded on the machine.",
        "**Atomic replace.** The module takes the place of all others. A state that it does not support, or supports in a lower version only, is \
         an error. A function or a CVE of theirs that it does not have is a warning: what was repaired is open again.",
        "**Without atomic replace** the patches are a stack. Of two replacements of one function the one that was loaded last runs, and when it \
         is taken out the other one: a warning. A later kernel will let a function and a state belong to one set of patches only.",
        "**Symptom:** `Livepatch patch (...) is not compatible with the already installed livepatches.` (EINVAL); `EEXIST` for a second module of \
         a name; none for the warnings.",
        "**Remedy:** one cumulative stream per machine, whose versions name their predecessor.",
    ],
    check: Check::Module(patch_set),
};

fn patch_set(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    let loaded = &subject.expected.loaded;
    if loaded.is_empty() {
        return Scope::Nothing("no other live patch was named (`--loaded`)".to_owned());
    }
    let Ok(table) = &subject.table else { return without_tables() };
    let name = subject.module.name().map(|name| name.to_string()).unwrap_or_default();
    let manifest = subject.module.manifest().ok().flatten();
    let cves: BTreeSet<&str> =
        manifest.as_ref().map(|manifest| manifest.cves().into_iter().collect()).unwrap_or_default();
    let functions: BTreeSet<KlpSymbol> = table.symbols().map(|(symbol, _)| symbol).collect();
    for other in loaded {
        if other.name == name {
            let text = "it is loaded already: the kernel loads no second module of a name; put the version into the name";
            findings.error(other.name.clone(), text);
            continue;
        }
        states(table, other, findings);
        if table.replace {
            for function in other.functions.difference(&functions) {
                findings.warning(
                    function.to_string(),
                    format!("{} replaces it, and this module, which takes its place, does not: the old code runs again", other.name),
                );
            }
            for cve in other.cves.iter().filter(|cve| !cves.contains(cve.as_str())) {
                findings.warning(
                    cve.clone(),
                    format!(
                        "{} repairs it, and this module, which takes its place, does not say so",
                        other.name
                    ),
                );
            }
            continue;
        }
        for function in other.functions.intersection(&functions) {
            findings.warning(
                function.to_string(),
                format!(
                    "{} replaces it, too: of the two the one that was loaded last runs; make one cumulative stream of them",
                    other.name
                ),
            );
        }
    }
    Scope::All
}

/// `klp_is_state_compatible()`.
fn states(table: &PatchTable, other: &LoadedPatch, findings: &mut Findings) {
    for (id, version) in &other.states {
        let own = table.states.iter().find(|(own, _)| own == id).map(|(_, version)| *version);
        let subject = format!("state {id}");
        match own {
            None if table.replace => findings.error(
                subject,
                format!("{} has it, and this module, which takes its place, does not support it: EINVAL; keep the state in a fix", other.name),
            ),
            Some(own) if own < *version => findings.error(
                subject,
                format!("{} has it in version {version}, and this module supports only {own}: EINVAL", other.name),
            ),
            Some(_) if !table.replace => findings.warning(
                subject,
                format!("{} has it, too, and stays loaded: a later kernel lets a state belong to one set of patches only", other.name),
            ),
            _ => {}
        }
    }
}
