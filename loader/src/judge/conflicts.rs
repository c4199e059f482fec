// SPDX-License-Identifier: GPL-2.0-or-later
//! Conflicts of a module with the running kernel, loaded patches and tracers.
//!
//! Sources: `kernel/module/{main,signing}.c`, `kernel/livepatch/{core,state}.c`, `kernel/trace/ftrace.c`,
//! `kernel/kprobes.c` of Linux 6.1 to 6.12.

use klp_module::{Manifest, Module, State as SystemState, build_id_of_notes};

use crate::judge::judgement::Judgement;
use crate::model::content::Content;
use crate::model::error::Error;
use crate::model::overrides::{self, ENABLED_FUNCTIONS, Effect, KPROBES, Overrides};
use crate::model::refusal::Refusal;
use crate::model::store::Installed;
use crate::model::system::System;
use crate::model::{content, livepatch, manifests, module_file, store};

/// Checks of the kernel's switches, signature requirement and build id.
pub(crate) fn of_kernel(
    system: &System,
    module: &Module<'_>,
    judgement: &mut Judgement,
) -> Result<(), Error> {
    let switch = |path: &str| -> Result<Option<String>, Error> {
        Ok(system.read_line(path)?.map(|text| text.trim().to_owned()))
    };
    if switch("/proc/sys/kernel/modules_disabled")?.as_deref() == Some("1") {
        judgement.refusals.push(Refusal::ModulesDisabled);
    }
    if switch("/proc/sys/kernel/ftrace_enabled")?.as_deref() == Some("0") {
        judgement.refusals.push(Refusal::FtraceOff);
    }
    if let Some(why) = signatures(system)? {
        if module.has_appended_signature() {
            // The signature names the key by issuer and serial number, which /proc/keys does not show.
            judgement.unchecked.push(format!("whether this kernel trusts the key of its signature ({why})"));
        } else {
            judgement.refusals.push(Refusal::Unsigned { why });
        }
    }
    match module.manifest() {
        Err(error) => judgement.refusals.push(Refusal::Manifest(error)),
        Ok(None) => {
            judgement.unchecked.push(
                "whether this is the very build of the kernel: it has no manifest (Ferrograft did not build it)"
                    .to_owned(),
            );
        }
        Ok(Some(manifest)) => {
            kernel_build(system, &manifest, judgement)?;
            module_builds(system, &manifest, judgement)?;
        }
    }
    Ok(())
}

/// Setting that requires signatures, if there is one.
fn signatures(system: &System) -> Result<Option<&'static str>, Error> {
    let enforced = system.read_line("/sys/module/module/parameters/sig_enforce")?;
    if enforced.is_some_and(|text| text.trim() == "Y") {
        return Ok(Some("module.sig_enforce"));
    }
    // Format: `none [integrity] confidentiality`. The last two require signatures.
    let lockdown = system.read_line("/sys/kernel/security/lockdown")?.unwrap_or_default();
    Ok((lockdown.contains('[') && !lockdown.contains("[none]")).then_some("the kernel is locked down"))
}

/// Check of the kernel's build id.
fn kernel_build(system: &System, manifest: &Manifest, judgement: &mut Judgement) -> Result<(), Error> {
    let notes = system.read_bytes("/sys/kernel/notes")?;
    let running = notes.and_then(|notes| build_id_of_notes(&notes));
    match (&manifest.kernel.build_id, running) {
        (Some(module), Some(running)) if *module != running => {
            judgement.refusals.push(Refusal::KernelBuild {
                release: manifest.kernel.release.clone(),
                module: module.clone(),
                running,
            });
        }
        (Some(_), Some(_)) => {}
        _ => judgement
            .unchecked
            .push("whether this is the very build of the kernel: one of the two says no build id".to_owned()),
    }
    Ok(())
}

/// Check of the build ids of the patched modules: of the loaded ones, and of the files of the others.
fn module_builds(system: &System, manifest: &Manifest, judgement: &mut Judgement) -> Result<(), Error> {
    for (patched, id) in &manifest.kernel.modules {
        let found = match manifests::loaded_build(system, patched)? {
            Some(loaded) => Some((format!("the loaded {patched}"), loaded)),
            None if system.exists(&format!("/sys/module/{patched}")) => None,
            None => match file_build(system, patched) {
                Ok(Some(found)) => found,
                // There is no such module on this machine.
                Ok(None) => continue,
                Err(error) => {
                    judgement.unchecked.push(format!("{}: {error}", very_build(patched)));
                    continue;
                }
            },
        };
        match found {
            Some((_, running)) if running == *id => {}
            Some((place, running)) => judgement.refusals.push(Refusal::ModuleBuild {
                patched: patched.clone(),
                module: id.clone(),
                place,
                running,
            }),
            None => judgement.unchecked.push(format!("{}: it has no build id", very_build(patched))),
        }
    }
    Ok(())
}

fn very_build(patched: &str) -> String {
    format!("whether module {patched} is the very build that it was checked against")
}

/// Path and build id of the file of a module of the running kernel. The outer `None`: the machine has no such file; the inner:
/// it has no build id.
fn file_build(system: &System, module: &str) -> Result<Option<Option<(String, String)>>, Error> {
    let Some(file) = module_file::of_kernel(system, module)? else { return Ok(None) };
    let id = file.module()?.build_id();
    Ok(Some(id.map(|id| (file.shown().display().to_string(), id))))
}

/// Checks against enabled patches: a newer version of the same line, and system states.
pub(crate) fn with_patches(
    system: &System,
    module: &Module<'_>,
    allow_older: bool,
    judgement: &mut Judgement,
) -> Result<(), Error> {
    let name = module.name().map(|name| name.to_string()).unwrap_or_default();
    let own = content::of(module);
    for patch in livepatch::patches(system)? {
        if patch == name || !livepatch::state(system, &patch)?.is_some_and(livepatch::PatchState::is_on) {
            continue;
        }
        if let (Some((line, version)), Some((other, its))) = (store::line_of(&name), store::line_of(&patch))
            && line == other
            && its > version
            && !allow_older
        {
            judgement.refusals.push(Refusal::Older { newer: patch.clone() });
        }
        match &own {
            Ok(own) => states(system, &patch, own, judgement)?,
            Err(error) => {
                judgement.unchecked.push(format!("whether its states go with those of {patch}: {error}"));
            }
        }
    }
    Ok(())
}

/// Check of the system states against those of an enabled patch.
fn states(system: &System, patch: &str, own: &Content, judgement: &mut Judgement) -> Result<(), Error> {
    let Some(loaded) = manifests::manifest(system, patch)? else {
        judgement.unchecked.push(if own.states.is_empty() {
            format!("whether {patch} has system states, of which this patch has none: it has no manifest")
        } else {
            format!("whether its states go with those of {patch}: that patch has no manifest")
        });
        return Ok(());
    };
    if let Some(state) = first_incompatible(&loaded.states, &own.states, own.replace) {
        let known = own.states.iter().find(|known| known.id == state.id);
        let known = known.map_or_else(
            || "which this patch does not know".to_owned(),
            |known| format!("this patch knows version {}", known.version),
        );
        let (patch, id, version) = (patch.to_owned(), state.id, state.version);
        judgement.refusals.push(Refusal::State { patch, id, version, known });
    }
    Ok(())
}

/// Enabled patch that is a newer version of the line of an installed module.
pub(crate) fn enabled_newer(system: &System, module: &Installed) -> Result<Option<String>, Error> {
    let inside = module.module(system).map(|name| name.to_string()).unwrap_or_default();
    let Some((line, version)) = store::line(module, &inside) else {
        return Ok(None);
    };
    for patch in livepatch::patches(system)? {
        let newer = store::line_of(&patch).is_some_and(|(other, its)| other == line && its > version);
        if newer && livepatch::state(system, &patch)?.is_some_and(livepatch::PatchState::is_on) {
            return Ok(Some(patch));
        }
    }
    Ok(None)
}

/// First system state of `loaded` that `replacing` supports only in a lower version or, with atomic replace, does not support
/// (`klp_is_patch_compatible()`).
pub(crate) fn incompatible_state(loaded: &Manifest, replacing: &Manifest) -> Option<SystemState> {
    first_incompatible(&loaded.states, &replacing.states, replacing.replace)
}

fn first_incompatible(loaded: &[SystemState], own: &[SystemState], replace: bool) -> Option<SystemState> {
    let knows = |state: &SystemState| {
        let known = own.iter().find(|known| known.id == state.id);
        known.map_or(!replace, |known| known.version >= state.version)
    };
    loaded.iter().copied().find(|state| !knows(state))
}

/// Checks for ftrace users and kprobes on the functions to replace.
pub(crate) fn with_tracers(
    system: &System,
    module: &Module<'_>,
    judgement: &mut Judgement,
) -> Result<(), Error> {
    let functions = match content::of(module) {
        Ok(content) => content.functions,
        Err(error) => {
            judgement
                .unchecked
                .push(format!("tracers and probes: which functions it replaces is not known: {error}"));
            return Ok(());
        }
    };
    let overrides = Overrides::new(system);
    match readable(system, &ENABLED_FUNCTIONS)? {
        Some(list) => {
            if overrides::is_ftrace_gone(system, &list, &livepatch::patches(system)?)? {
                judgement.refusals.push(Refusal::FtraceGone);
            }
            for (object, function) in &functions {
                traced(&list, object, function, &overrides, judgement);
            }
        }
        None => judgement
            .unchecked
            .push("other users of ftrace: tracefs is not mounted or not to be read".to_owned()),
    }
    match readable(system, &[KPROBES])? {
        Some(list) => {
            // A missing or damaged manifest has a finding of its own.
            let manifest = module.manifest().ok().flatten();
            for (object, function) in &functions {
                let name = format!("{object}:{function}");
                let is_called = manifest.iter().flat_map(|manifest| &manifest.originals).any(|original| {
                    original.split_once(',').map_or(original.as_str(), |(original, _)| original) == name
                });
                probed(&list, function, is_called, &overrides, judgement);
            }
        }
        None => judgement.unchecked.push("kprobes: debugfs is not mounted or not to be read".to_owned()),
    }
    Ok(())
}

/// Content of the first readable file.
fn readable(system: &System, paths: &[&str]) -> Result<Option<String>, Error> {
    for path in paths {
        match system.read(path) {
            Ok(Some(text)) => return Ok(Some(text)),
            Ok(None) | Err(Error::File { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Evaluates the lines of `enabled_functions` about one function, such as
/// `cmdline_proc_show (1) R I     tramp: 0x... (klp_ftrace_handler+0x0/0x1c0)` or `open [ext4] (1) D I M`. Flags: R saves
/// registers, I modifies the instruction pointer, D calls directly, as BPF does.
fn traced(list: &str, object: &str, function: &str, overrides: &Overrides<'_>, judgement: &mut Judgement) {
    for line in list.lines().filter(|line| overrides::is_of(line, object, function)) {
        let ours = line.contains("klp_ftrace_handler");
        let several = line.contains("ftrace_ops_list_func");
        if overrides::has_flag(line, "I") && !ours && !several {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            judgement.refusals.push(Refusal::Modified { function: function.to_owned(), line });
        } else if overrides::has_flag(line, "D") {
            let who = format!("{function} has a BPF program or another direct caller of ftrace on it");
            judgement.warnings.push(match overrides.direct(function, overrides::trampoline(list, line)) {
                Effect::None => format!("{who}: it goes on, but sees the call, not what the replacement does"),
                Effect::Possible(text) => format!("{who}: one that looks only goes on, but sees the call, not what the replacement does; {text}"),
                Effect::Certain(text) => format!("{who}: {text}"),
            });
        } else if !ours {
            judgement.warnings.push(match overrides.probe(function) {
                Effect::None => format!("{function} is being traced; tracing goes on"),
                Effect::Possible(text) | Effect::Certain(text) => {
                    format!("{function} is being traced; tracing goes on; {text}")
                }
            });
        }
    }
}

/// Evaluates the lines of the kprobe list about one function, such as
/// `ffffffff8149e1b0  k  cmdline_proc_show+0x0    [FTRACE]`.
///
/// `is_called`: the replacement may call the original.
fn probed(list: &str, function: &str, is_called: bool, overrides: &Overrides<'_>, judgement: &mut Judgement) {
    for line in list.lines() {
        let Some(place) = line.split_whitespace().nth(2) else {
            continue;
        };
        let (name, offset) = place.split_once('+').unwrap_or((place, "0x0"));
        if name != function {
            continue;
        }
        judgement.warnings.push(if line.contains("[FTRACE]") || offset == "0x0" {
            let what = format!("there is a kprobe on {function}");
            match overrides.probe(function) {
                Effect::None => format!("{what}: it still fires, before the replacement runs"),
                Effect::Possible(text) => format!("{what}: it still fires, before the replacement runs; {text}"),
                Effect::Certain(text) => format!("{what}: {text}"),
            }
        } else if is_called {
            format!("there is a kprobe inside {function} (at +{offset}): it fires where the replacement calls the original")
        } else {
            format!("there is a kprobe inside {function} (at +{offset}): it no longer fires, since the original is not run")
        });
    }
}
