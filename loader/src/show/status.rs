// SPDX-License-Identifier: GPL-2.0-or-later
//! `status`: one screen of where this machine stands, and one line for monitors.

use klp_module::Manifest;
use serde::Serialize;

use crate::act::{install, load, transition};
use crate::console::Console;
use crate::model::error::Error;
use crate::model::livepatch::{self, State};
use crate::model::module_file::{ModuleFile, build_of};
use crate::model::overrides::{self, Bypasses};
use crate::model::system::System;
use crate::model::tasks::{self, Task};
use crate::model::{manifests, store, trial};

/// Where a machine stands.
#[derive(Serialize)]
pub(crate) struct Status {
    schema: &'static str,
    pub(crate) kernel: String,
    /// Whether the kernel has live patching at all.
    livepatch: bool,
    pub(crate) patches: Vec<Patch>,
    /// The patch in transition.
    transition: Option<Transition>,
    /// CVEs that enabled patches repair, whose transition is complete.
    pub(crate) fixed: Vec<String>,
    next_boot: NextBoot,
    /// What answers in the place of replaced functions, so that a fix is off, and what may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bypassed: Vec<String>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_checked: Vec<String>,
    pub(crate) verdict: Verdict,
    reason: String,
}

/// A patch that the livepatch core knows.
#[derive(Serialize)]
pub(crate) struct Patch {
    pub(crate) module: String,
    pub(crate) state: State,
    /// Whether a crash of this boot would keep it from being loaded in the next.
    on_trial: bool,
    pub(crate) manifest: Option<Manifest>,
}

#[derive(Serialize)]
struct Transition {
    module: String,
    /// Seconds since it began, where this program began it.
    age: Option<u64>,
    blockers: Vec<Blocker>,
    hidden_tasks: usize,
}

#[derive(Serialize)]
struct Blocker {
    #[serde(flatten)]
    task: Task,
    advice: String,
}

/// What `kpatch.service` will do at the next boot of this kernel.
#[derive(Serialize)]
struct NextBoot {
    service: Service,
    loads: Vec<String>,
    /// Patches that are installed but left out, because an earlier boot with them ended unclean.
    skips: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Service {
    Enabled,
    Disabled,
    Masked,
    /// There is no systemd here.
    Unknown,
}

/// What monitors want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All that is installed for this kernel is in effect.
    Current,
    /// Something newer is installed, or something is not loaded.
    Outdated,
    /// A transition does not end.
    Stalled,
    /// It could not be found out.
    Unknown,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Current => "OK",
            Self::Outdated => "WARNING",
            Self::Stalled => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn exit_code(self) -> u8 {
        match self {
            Self::Current => 0,
            Self::Outdated => 1,
            Self::Stalled => 2,
            Self::Unknown => 3,
        }
    }
}

/// Everything, or one line with an exit code for monitors.
pub(crate) fn run(system: &System, console: &mut Console<'_>, json: bool, check: bool) -> Result<(), Error> {
    if check {
        let (verdict, reason) = match gather(system) {
            Ok(status) => (status.verdict, status.reason),
            Err(error) => (Verdict::Unknown, error.to_string().replace('\n', " ")),
        };
        console.say(format_args!("KPATCH {} - {reason}", verdict.word()));
        return match verdict.exit_code() {
            0 => Ok(()),
            code => Err(Error::Verdict { code }),
        };
    }
    let status = gather(system)?;
    if json {
        console.json(&status);
    } else {
        show(console, &status);
    }
    Ok(())
}

pub(crate) fn gather(system: &System) -> Result<Status, Error> {
    let kernel = system.release()?;
    let boot = system.boot_id();
    let trials = trial::all(system)?;
    let mut patches = Vec::new();
    for module in livepatch::patches(system)? {
        if let Some(state) = livepatch::state(system, &module)? {
            let on_trial = trials.iter().any(|trial| trial.module == module && trial.boot == boot);
            let manifest = manifests::manifest(system, &module)?;
            patches.push(Patch { module, state, on_trial, manifest });
        }
    }
    let transition = match patches.iter().find(|patch| patch.state.is_changing()) {
        Some(patch) => {
            let stalled = tasks::stalled(system, &patch.module)?;
            let now = tasks::uptime(system)?.as_secs();
            let mine = |trial: &&trial::Trial| trial.module == patch.module && trial.boot == boot;
            let began = trials.iter().find(mine).filter(|_| patch.state == State::Enabling);
            let blocker = |task: Task| Blocker { advice: task.advice(), task };
            Some(Transition {
                module: patch.module.clone(),
                age: began.map(|trial| now.saturating_sub(trial.uptime)),
                blockers: stalled.tasks.into_iter().map(blocker).collect(),
                hidden_tasks: stalled.hidden,
            })
        }
        None => None,
    };
    let mut fixed: Vec<String> = patches
        .iter()
        .filter(|patch| patch.state == State::Enabled)
        .filter_map(|patch| patch.manifest.as_ref())
        .flat_map(|manifest| manifest.cves().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    fixed.sort();
    fixed.dedup();
    let store = installed(system, &patches)?;
    let on: Vec<&str> =
        patches.iter().filter(|patch| patch.state.is_on()).map(|patch| patch.module.as_str()).collect();
    let bypasses = overrides::of_patches(system, &on)?;
    let (verdict, reason) = judge(system, &patches, transition.as_ref(), &store, &bypasses);
    let next_boot = NextBoot { service: service(system), loads: store.loads, skips: store.skips };
    Ok(Status {
        schema: "ferrograft.kpatch.status/1",
        livepatch: system.exists(livepatch::DIRECTORY),
        kernel: kernel.to_string(),
        patches,
        transition,
        fixed,
        next_boot,
        bypassed: bypasses.certain.into_iter().chain(bypasses.possible).collect(),
        not_checked: bypasses.unchecked,
        verdict,
        reason,
    })
}

/// What is installed for the running kernel.
#[derive(Default)]
struct Store {
    /// Names of modules that a boot loads.
    loads: Vec<String>,
    /// Names of those that it leaves out.
    skips: Vec<String>,
    /// Sentences on what is not in effect now.
    behind: Vec<String>,
    /// Sentences on what is in effect and newer than what is installed.
    ahead: Vec<String>,
    /// Sentences on what this user may not look at.
    hidden: Vec<String>,
}

fn installed(system: &System, patches: &[Patch]) -> Result<Store, Error> {
    let choice =
        store::choose(store::installed_for(system, &system.release()?)?, |module| module.module(system));
    let mut found = Store::default();
    for (left_out, other) in &choice.twins {
        if !store::same_bytes(system, left_out, other) {
            let (one, other) = (left_out.shown(), other.shown());
            found
                .behind
                .push(format!("{one} and {other} hold two builds of one module: uninstall one of them"));
        }
    }
    for installed in choice.load {
        if let Err(error) = installed.usable() {
            found.behind.push(sentence(&installed, &error));
            continue;
        }
        let source = store::source(system, &installed);
        let opened = ModuleFile::open(&source);
        let parsed = match &opened {
            Ok(file) => file.module(&source).map(|module| (file, module)),
            Err(error) => {
                let list = if error.is_denied() { &mut found.hidden } else { &mut found.behind };
                list.push(sentence(&installed, error));
                continue;
            }
        };
        let (file, module) = match parsed {
            Ok(both) => both,
            Err(error) => {
                found.behind.push(sentence(&installed, &error));
                continue;
            }
        };
        let name = module.name().map_or_else(|_| installed.name(), |name| name.to_string());
        let build = build_of(&module, &file.bytes);
        let skip = trial::unconfirmed(system, &name, &build)?.is_some();
        let list = if skip { &mut found.skips } else { &mut found.loads };
        list.push(name.clone());
        let on = patches.iter().any(|patch| patch.module == name && patch.state.is_on());
        let other = manifests::loaded_build(system, &name)?
            .is_some_and(|loaded| module.build_id().is_some_and(|id| id != loaded));
        let newer = if on { None } else { load::enabled_newer(system, &installed)? };
        if let Some(newer) = newer {
            found
                .ahead
                .push(format!("{newer} is newer than the installed {name}, which the next boot loads"));
        } else if !on {
            found.behind.push(format!("{name} is installed but not loaded"));
        } else if other {
            found.behind.push(format!("the loaded {name} is another build than the installed one"));
        }
    }
    Ok(found)
}

fn sentence(installed: &store::Installed, error: &Error) -> String {
    format!("{}: {}", installed.name(), error.to_string().lines().next().unwrap_or_default())
}

fn service(system: &System) -> Service {
    let units = "/etc/systemd/system";
    let unit = system.path(format!("{units}/{}", install::UNIT));
    if std::fs::read_link(unit).is_ok_and(|target| target.ends_with("null")) {
        return Service::Masked;
    }
    // A link may lead nowhere below another root: it counts all the same.
    let wanted =
        std::fs::symlink_metadata(system.path(format!("{units}/multi-user.target.wants/{}", install::UNIT)));
    if wanted.is_ok() {
        Service::Enabled
    } else if system.exists("/run/systemd/system") || system.exists(units) {
        Service::Disabled
    } else {
        Service::Unknown
    }
}

fn judge(
    system: &System,
    patches: &[Patch],
    transition: Option<&Transition>,
    store: &Store,
    bypasses: &Bypasses,
) -> (Verdict, String) {
    if !system.exists(livepatch::DIRECTORY) {
        return (Verdict::Unknown, "the running kernel has no live patching".to_owned());
    }
    if let Some(Transition { module, age, blockers, hidden_tasks }) = transition {
        if let Some(age) = age.filter(|age| *age < transition::WAIT.as_secs()) {
            return (Verdict::Outdated, format!("{module} is in transition for {age} seconds"));
        }
        let first = blockers.first().map(|blocker| format!(": {}", blocker.task.place())).unwrap_or_default();
        let count = blockers.len() + hidden_tasks;
        return (Verdict::Stalled, format!("{module} is in transition, {count} tasks to go{first}"));
    }
    if !store.skips.is_empty() {
        let skips = store.skips.join(", ");
        return (
            Verdict::Outdated,
            format!("{skips} is left out at boot: an earlier boot with it ended unclean"),
        );
    }
    if !bypasses.certain.is_empty() {
        return (Verdict::Outdated, bypasses.certain.join("; "));
    }
    if !store.behind.is_empty() {
        return (Verdict::Outdated, store.behind.join("; "));
    }
    if !store.hidden.is_empty() {
        return (Verdict::Unknown, store.hidden.join("; "));
    }
    let on: Vec<&str> =
        patches.iter().filter(|patch| patch.state.is_on()).map(|patch| patch.module.as_str()).collect();
    match on.as_slice() {
        [] => (Verdict::Current, "no patch is installed for this kernel, none is loaded".to_owned()),
        on => {
            let ahead: String = store.ahead.iter().map(|sentence| format!("; {sentence}")).collect();
            (Verdict::Current, format!("in effect: {}{ahead}", on.join(", ")))
        }
    }
}

fn show(console: &mut Console<'_>, status: &Status) {
    let support = if status.livepatch { "" } else { " (without live patching)" };
    console.say(format_args!("Kernel:      {}{support}", status.kernel));
    let mut head = "Patches:    ";
    for patch in &status.patches {
        let said = patch.manifest.as_ref().map_or_else(String::new, |manifest| {
            let version = manifest.version.map(|(v, r)| format!(" {v}-{r}")).unwrap_or_default();
            format!(", stream {}{version}", manifest.stream)
        });
        let trial = if patch.on_trial { ", not confirmed yet" } else { "" };
        console.say(format_args!("{head} {} [{}]{said}{trial}", patch.module, patch.state));
        head = "            ";
    }
    if status.patches.is_empty() {
        console.say("Patches:     none");
    }
    match &status.transition {
        None => console.say("Transition:  none"),
        Some(transition) => {
            let count = transition.blockers.len() + transition.hidden_tasks;
            console.say(format_args!("Transition:  {}, {count} tasks to go", transition.module));
            for blocker in &transition.blockers {
                console.say(format_args!("             {}", blocker.task.place()));
                console.say(format_args!("               {}", blocker.advice));
            }
            transition::hidden(console, transition.hidden_tasks);
        }
    }
    let fixed = if status.fixed.is_empty() {
        "no CVE that a patch names".to_owned()
    } else {
        status.fixed.join(", ")
    };
    console.say(format_args!("Fixed:       {fixed}"));
    for sentence in &status.bypassed {
        console.say(format_args!("Bypassed:    {sentence}"));
    }
    for sentence in &status.not_checked {
        console.say(format_args!("Not checked: {sentence}"));
    }
    let NextBoot { service, loads, skips } = &status.next_boot;
    let loads = if loads.is_empty() { "nothing".to_owned() } else { loads.join(", ") };
    console.say(match service {
        Service::Enabled => format!("Next boot:   {} loads {loads}", install::UNIT),
        Service::Disabled => {
            format!("Next boot:   nothing: {} is disabled (it would load {loads})", install::UNIT)
        }
        Service::Masked => {
            format!("Next boot:   nothing: {} is masked (it would load {loads})", install::UNIT)
        }
        Service::Unknown => {
            format!("Next boot:   there is no systemd here; kpatch load --all would load {loads}")
        }
    });
    for skip in skips {
        console.say(format_args!(
            "             leaves {skip} out: an earlier boot with it ended unclean; kpatch load {skip} tries it again"
        ));
    }
    console.say(format_args!("Verdict:     {} - {}", status.verdict.word(), status.reason));
}
