// SPDX-License-Identifier: GPL-2.0-or-later
//! Rule on the manifest, which the loader and administrators read instead of the tables.

use std::collections::BTreeSet;

use klp_base::events::Severity;

use super::{Check, Rule, without_tables};
use crate::analysis::Subject;
use crate::report::{Findings, Scope};

/// The manifest and the tables.
pub static MANIFEST: Rule = Rule {
    id: "manifest",
    severity: Severity::Error,
    source: "`klp_module::Manifest`; `struct klp_patch` in `include/linux/livepatch.h`.",
    summary: "The manifest in the module says what the tables say: functions, states, atomic replace; and it is of this build of the kernel.",
    explain: &[
        "`kpatch` shows the manifest, plans with it and compares it with what is loaded, while the kernel goes by the tables. Two builds of \
         one release differ in their build id; positions, addresses and the code of functions may differ with it.",
        "A module that Ferrograft did not build has no manifest; there the rule does not apply.",
        "**Symptom:** none, or `kpatch load` that refuses the module for its build id.",
        "**Remedy:** build the module again from its sources.",
    ],
    check: Check::Module(manifest),
};

fn manifest(subject: &Subject<'_>, findings: &mut Findings) -> Scope {
    const NAME: &str = "the manifest";
    let manifest = match subject.module.manifest() {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Scope::Nothing("the module has none: Ferrograft did not build it".to_owned()),
        Err(error) => {
            findings.error(NAME, format!("it cannot be read: {error}"));
            return Scope::All;
        }
    };
    if let (Some(said), Some(kernel)) = (&manifest.kernel.build_id, &subject.expected.build_id)
        && said != kernel
    {
        findings.error(
            NAME,
            format!(
                "it is for the kernel with build id {said}, and {} has {kernel}: another build of that release; build the module for this one",
                subject.expected.kernel
            ),
        );
    }
    let Ok(table) = &subject.table else { return without_tables() };
    if manifest.replace != table.replace {
        findings.error(
            NAME,
            format!(
                "it says `replace = {}`, and the tables say {}: the kernel goes by the tables",
                manifest.replace, table.replace
            ),
        );
    }
    if let Some((version, release)) = manifest.predecessor.filter(|_| !table.replace) {
        findings.warning(
            NAME,
            format!(
                "it follows version {version}-{release} and is stacked on it: both stay loaded, and the older one is to be unloaded by hand; \
                 take `stacked` away if this version is to replace it"
            ),
        );
    }
    let states: BTreeSet<(u64, u32)> =
        manifest.states.iter().map(|state| (state.id, state.version)).collect();
    if states != table.states.iter().copied().collect() {
        findings.error(
            NAME,
            format!("its states are {states:?} (id, version), and those of the tables {:?}", table.states),
        );
    }
    let said: BTreeSet<String> = manifest.functions.iter().cloned().collect();
    let found: BTreeSet<String> = table.symbols().map(|(symbol, _)| symbol.to_string()).collect();
    for function in said.symmetric_difference(&found) {
        let (here, there) = if said.contains(function) {
            ("the manifest", "the tables")
        } else {
            ("the tables", "the manifest")
        };
        findings.error(function, format!("it stands in {here}, and not in {there}"));
    }
    Scope::All
}
