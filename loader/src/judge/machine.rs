// SPDX-License-Identifier: GPL-2.0-or-later
//! Status of the machine: kernel, patches, transition, repaired CVEs, next boot, and a verdict for monitors.

use klp_module::{Affected, Manifest};
use serde::Serialize;

use crate::judge::conflicts;
use crate::judge::support::{self, Support};
use crate::judge::tripwires::{self, Tries};
use crate::model::boot_notes::{self, BootNote};
use crate::model::bugs::{self, Bug};
use crate::model::error::Error;
use crate::model::livepatch::{self, PatchState};
use crate::model::module_file::ModuleFile;
use crate::model::overrides::{self, Bypasses};
use crate::model::service::{self, UnitState};
use crate::model::store::Installed;
use crate::model::system::System;
use crate::model::tasks::{self, Task};
use crate::model::{manifests, policy, store};

/// Status of a machine; its serialised form is that of `docs/schemas/kpatch.status.1.json`, without the schema's name.
#[derive(Serialize)]
pub(crate) struct Status {
    pub(crate) kernel: String,
    /// True if the kernel supports live patching.
    pub(crate) livepatch: bool,
    pub(crate) patches: Vec<Patch>,
    pub(crate) transition: Option<Transition>,
    /// CVEs that enabled patches repair, without those of patches in transition.
    pub(crate) fixed: Vec<String>,
    /// CVEs that enabled patches name as not repaired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) affected: Vec<Affected>,
    /// End of support of each enabled patch that names one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) support: Vec<Support>,
    /// Counters of the loaded patches' tripwires.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tripwires: Vec<Tries>,
    pub(crate) next_boot: NextBoot,
    /// Overrides of replaced functions, certain ones first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bypassed: Vec<String>,
    /// Checks that could not be made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_checked: Vec<String>,
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
}

/// Patch that the livepatch core lists.
#[derive(Serialize)]
pub(crate) struct Patch {
    pub(crate) module: String,
    pub(crate) state: PatchState,
    /// True if the patch has a boot note of this boot, so that after a crash the next boot leaves it out.
    #[serde(rename = "on_trial")]
    pub(crate) unconfirmed: bool,
    /// Bug that the kernel has reported in the patch since its load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bug: Option<Bug>,
    pub(crate) manifest: Option<Manifest>,
}

/// Patch in transition.
#[derive(Serialize)]
pub(crate) struct Transition {
    pub(crate) module: String,
    /// Seconds since its start, if this program started it.
    pub(crate) age: Option<u64>,
    pub(crate) blockers: Vec<Blocker>,
    /// Number of tasks without permission to read their state.
    pub(crate) hidden_tasks: usize,
}

impl Transition {
    /// Number of tasks that still have to change over.
    pub(crate) fn pending(&self) -> usize {
        self.blockers.len() + self.hidden_tasks
    }
}

/// Task that blocks the transition.
#[derive(Serialize)]
pub(crate) struct Blocker {
    #[serde(flatten)]
    pub(crate) task: Task,
    pub(crate) advice: String,
}

/// Actions of `kpatch.service` at the next boot of this kernel.
#[derive(Serialize)]
pub(crate) struct NextBoot {
    pub(crate) service: UnitState,
    pub(crate) loads: Vec<String>,
    /// Installed patches to leave out.
    pub(crate) skips: Vec<String>,
    /// Reason for each of `skips`.
    #[serde(skip)]
    pub(crate) reasons: Vec<String>,
}

/// Verdict for monitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All modules installed for this kernel are in effect.
    Current,
    /// A module, or a newer version, is installed and not loaded, or the support of a patch has ended.
    Outdated,
    /// The transition is stalled.
    Stalled,
    /// The kernel has reported a bug in an enabled patch since the load.
    AppliedWithBug,
    /// The data is incomplete.
    Unknown,
}

/// Reads the machine's status.
pub(crate) fn status(system: &System) -> Result<Status, Error> {
    let kernel = system.release()?;
    let boot = system.boot_id();
    let mut notes = boot_notes::all(system)?;
    notes.retain(|note| note.boot == boot);
    let patches = patches(system, &notes, &boot)?;
    let transition = transition(system, &patches, &notes)?;
    let store = installed(system, &patches)?;
    let bypasses = overrides::of_patches(system, &enabled(&patches))?;
    let mut not_checked = bypasses.unchecked.clone();
    let support = support(system, &patches, &mut not_checked);
    let with_manifest = patches.iter().filter_map(|patch| Some((&patch.module, patch.manifest.as_ref()?)));
    let tripwires = tripwires::of_patches(system, with_manifest, &mut not_checked)?;
    let (verdict, reason) = verdict(system, &patches, transition.as_ref(), &store, &bypasses, &support);
    let fixed = fixed(&patches);
    let manifests = in_effect(&patches).filter_map(|patch| patch.manifest.as_ref());
    Ok(Status {
        livepatch: system.exists(livepatch::DIRECTORY),
        kernel: kernel.to_string(),
        affected: support::affected(manifests, &fixed),
        fixed,
        support,
        tripwires,
        patches,
        transition,
        next_boot: NextBoot {
            service: service::state(system),
            loads: store.loads,
            skips: store.skips,
            reasons: store.reasons,
        },
        bypassed: bypasses.certain.into_iter().chain(bypasses.possible).collect(),
        not_checked,
        verdict,
        reason,
    })
}

fn patches(system: &System, notes: &[BootNote], boot: &str) -> Result<Vec<Patch>, Error> {
    let mut patches = Vec::new();
    for module in livepatch::patches(system)? {
        if let Some(state) = livepatch::state(system, &module)? {
            let unconfirmed = notes.iter().any(|note| note.module == module);
            let manifest = manifests::manifest(system, &module)?;
            let bug = bugs::read(system, &module)?.filter(|bug| bug.boot == boot);
            patches.push(Patch { module, state, unconfirmed, bug, manifest });
        }
    }
    Ok(patches)
}

fn transition(system: &System, patches: &[Patch], notes: &[BootNote]) -> Result<Option<Transition>, Error> {
    let Some(patch) = patches.iter().find(|patch| patch.state.is_changing()) else {
        return Ok(None);
    };
    let stalled = tasks::stalled(system, &patch.module)?;
    let now = tasks::uptime(system)?.as_secs();
    let note = notes.iter().find(|note| note.module == patch.module);
    let note = note.filter(|_| patch.state == PatchState::Enabling);
    Ok(Some(Transition {
        module: patch.module.clone(),
        age: note.map(|note| now.saturating_sub(note.uptime)),
        blockers: stalled.tasks.into_iter().map(|task| Blocker { advice: task.advice(), task }).collect(),
        hidden_tasks: stalled.hidden,
    }))
}

/// Patches that are enabled for all tasks.
fn in_effect(patches: &[Patch]) -> impl Iterator<Item = &Patch> {
    patches.iter().filter(|patch| patch.state == PatchState::Enabled)
}

/// End of support of the enabled patches. Manifests without a readable date are added to `not_checked`.
fn support(system: &System, patches: &[Patch], not_checked: &mut Vec<String>) -> Vec<Support> {
    let now = system.kernel().clock();
    let mut found = Vec::new();
    for patch in in_effect(patches) {
        let Some(manifest) = &patch.manifest else { continue };
        match support::of_patch(&patch.module, manifest, now) {
            Ok(support) => found.extend(support),
            Err(message) => not_checked.push(message),
        }
    }
    found
}

/// CVEs of the patches that are enabled for all tasks.
fn fixed(patches: &[Patch]) -> Vec<String> {
    let mut fixed: Vec<String> = in_effect(patches)
        .filter_map(|patch| patch.manifest.as_ref())
        .flat_map(|manifest| manifest.cves().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    fixed.sort();
    fixed.dedup();
    fixed
}

/// Names of the patches that are enabled or being enabled.
fn enabled(patches: &[Patch]) -> Vec<&str> {
    patches.iter().filter(|patch| patch.state.is_on()).map(|patch| patch.module.as_str()).collect()
}

/// Assessment of the modules that are installed for the running kernel.
#[derive(Default)]
struct StoreStatus {
    /// Names of the modules that a boot loads.
    loads: Vec<String>,
    /// Names of the modules that a boot leaves out.
    skips: Vec<String>,
    /// Reason for each of `skips`.
    reasons: Vec<String>,
    /// Sentences about modules that are not in effect.
    behind: Vec<String>,
    /// Sentences about enabled patches that are newer than the installed module.
    ahead: Vec<String>,
    /// Messages about files this user has no permission to read.
    hidden: Vec<String>,
}

fn installed(system: &System, patches: &[Patch]) -> Result<StoreStatus, Error> {
    let choice =
        store::choose(store::installed_for(system, &system.release()?)?, |module| module.module(system));
    let mut found = StoreStatus::default();
    for (left_out, other) in &choice.twins {
        if !store::same_bytes(system, left_out, other) {
            let (one, other) = (left_out.shown(), other.shown());
            found
                .behind
                .push(format!("{one} and {other} hold two builds of one module: uninstall one of them"));
        }
    }
    for installed in &choice.load {
        found.add(system, installed, patches)?;
    }
    Ok(found)
}

impl StoreStatus {
    /// Adds one module that a boot would load.
    fn add(&mut self, system: &System, installed: &Installed, patches: &[Patch]) -> Result<(), Error> {
        let opened = installed.usable().and_then(|()| ModuleFile::open(&store::source(system, installed)));
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let list = if error.is_denied() { &mut self.hidden } else { &mut self.behind };
                list.push(sentence(installed, &error));
                return Ok(());
            }
        };
        let module = match file.module() {
            Ok(module) => module,
            Err(error) => {
                self.behind.push(sentence(installed, &error));
                return Ok(());
            }
        };
        let name = module.name().map_or_else(|_| installed.name(), |name| name.to_string());
        match reason_to_skip(system, &name, &file.build_of(&module))? {
            Some(reason) => {
                self.skips.push(name.clone());
                self.reasons.push(reason);
            }
            None => self.loads.push(name.clone()),
        }
        let on = patches.iter().any(|patch| patch.module == name && patch.state.is_on());
        let other = manifests::loaded_build(system, &name)?
            .is_some_and(|loaded| module.build_id().is_some_and(|id| id != loaded));
        let newer = if on { None } else { conflicts::enabled_newer(system, installed)? };
        if let Some(newer) = newer {
            self.ahead.push(format!("{newer} is newer than the installed {name}, which the next boot loads"));
        } else if !on {
            self.behind.push(format!("{name} is installed but not loaded"));
        } else if other {
            self.behind.push(format!("the loaded {name} is another build than the installed one"));
        }
        Ok(())
    }
}

/// Reason why a boot leaves out this build of a module; `None` if it does not.
fn reason_to_skip(system: &System, module: &str, build: &str) -> Result<Option<String>, Error> {
    if let Some(bug) = bugs::of_build(system, module, build)? {
        return Ok(Some(format!("the kernel reported a bug in it at {}", bug.time)));
    }
    let unclean = boot_notes::unconfirmed(system, module, build)?.is_some();
    Ok(unclean.then(|| "an earlier boot with it ended unclean".to_owned()))
}

fn sentence(installed: &Installed, error: &Error) -> String {
    format!("{}: {}", installed.name(), error.to_string().lines().next().unwrap_or_default())
}

/// Verdict and its reason. The first matching condition decides.
fn verdict(
    system: &System,
    patches: &[Patch],
    transition: Option<&Transition>,
    store: &StoreStatus,
    bypasses: &Bypasses,
    support: &[Support],
) -> (Verdict, String) {
    if !system.exists(livepatch::DIRECTORY) {
        return (Verdict::Unknown, "the running kernel has no live patching".to_owned());
    }
    if let Some(transition) = transition {
        return verdict_in_transition(transition);
    }
    if let Some(reason) = reason_of_bugs(patches) {
        return (Verdict::AppliedWithBug, reason);
    }
    if !store.skips.is_empty() {
        let each = store.skips.iter().zip(&store.reasons);
        let each = each.map(|(skip, reason)| format!("{skip} is left out at boot: {reason}"));
        return (Verdict::Outdated, each.collect::<Vec<_>>().join("; "));
    }
    if !bypasses.certain.is_empty() {
        return (Verdict::Outdated, bypasses.certain.join("; "));
    }
    if !store.behind.is_empty() {
        return (Verdict::Outdated, store.behind.join("; "));
    }
    let ended: Vec<String> = support.iter().filter(|support| support.ended).map(support::sentence).collect();
    if !ended.is_empty() {
        return (Verdict::Outdated, ended.join("; "));
    }
    if !store.hidden.is_empty() {
        return (Verdict::Unknown, store.hidden.join("; "));
    }
    match enabled(patches).as_slice() {
        [] => (Verdict::Current, "no patch is installed for this kernel, none is loaded".to_owned()),
        on => {
            let ahead: String = store.ahead.iter().map(|sentence| format!("; {sentence}")).collect();
            (Verdict::Current, format!("in effect: {}{ahead}", on.join(", ")))
        }
    }
}

/// Sentences about the bugs in enabled patches; `None` if there is none.
fn reason_of_bugs(patches: &[Patch]) -> Option<String> {
    let sentence = |patch: &Patch| {
        let bug = patch.bug.as_ref().filter(|_| patch.state.is_on())?;
        let (module, function, title) = (&patch.module, &bug.function, &bug.title);
        Some(format!("{module} is applied with a bug: the kernel reported one in {function}: {title}"))
    };
    let sentences: Vec<String> = patches.iter().filter_map(sentence).collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

fn verdict_in_transition(transition: &Transition) -> (Verdict, String) {
    let module = &transition.module;
    if let Some(age) = transition.age.filter(|age| *age < policy::WAIT.as_secs()) {
        return (Verdict::Outdated, format!("{module} is in transition for {age} seconds"));
    }
    let first = transition.blockers.first();
    let first = first.map(|blocker| format!(": {}", blocker.task.place())).unwrap_or_default();
    let count = transition.pending();
    (Verdict::Stalled, format!("{module} is in transition, {count} tasks to go{first}"))
}
