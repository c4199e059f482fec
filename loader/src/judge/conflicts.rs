// SPDX-License-Identifier: GPL-2.0-or-later
//! What the running kernel, its loaded patches and its tracers have against a module.
//!
//! Sources: `kernel/module/{main,signing}.c`, `kernel/livepatch/{core,state}.c`, `kernel/trace/ftrace.c`,
//! `kernel/kprobes.c` of Linux 6.1 to 6.12.

use klp_module::{Manifest, Module, State, build_id_of_notes};

use crate::judge::judgement::Judgement;
use crate::model::error::Error;
use crate::model::overrides::{self, ENABLED_FUNCTIONS, Found, KPROBES, Overrides};
use crate::model::refusal::Refusal;
use crate::model::system::System;
use crate::model::{content, livepatch, manifests, store};

/// Switches of the kernel, signatures, and whether it is the very build that the module was made for.
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
            // It names the key by issuer and serial number; /proc/keys shows names and subject key ids alone.
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
        Ok(Some(manifest)) => kernel_build(system, &manifest, judgement)?,
    }
    Ok(())
}

/// Why unsigned modules are refused, where they are.
fn signatures(system: &System) -> Result<Option<&'static str>, Error> {
    let enforced = system.read_line("/sys/module/module/parameters/sig_enforce")?;
    if enforced.is_some_and(|text| text.trim() == "Y") {
        return Ok(Some("module.sig_enforce"));
    }
    // `none [integrity] confidentiality`: both but none ask for signatures.
    let lockdown = system.read_line("/sys/kernel/security/lockdown")?.unwrap_or_default();
    Ok((lockdown.contains('[') && !lockdown.contains("[none]")).then_some("the kernel is locked down"))
}

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

/// Patches that are loaded: a newer version of the same line, and states.
pub(crate) fn with_patches(
    system: &System,
    module: &Module<'_>,
    allow_older: bool,
    judgement: &mut Judgement,
) -> Result<(), Error> {
    let name = module.name().map(|name| name.to_string()).unwrap_or_default();
    let own = content::of(module);
    for patch in livepatch::patches(system)? {
        if patch == name || !livepatch::state(system, &patch)?.is_some_and(livepatch::State::is_on) {
            continue;
        }
        if let (Some((line, version)), Some((other, its))) = (store::line_of(&name), store::line_of(&patch))
            && line == other
            && its > version
            && !allow_older
        {
            judgement.refusals.push(Refusal::Older { newer: patch.clone() });
        }
        match (manifests::manifest(system, &patch)?, &own) {
            (Some(loaded), Ok(own)) => {
                if let Some(state) = first_incompatible(&loaded.states, &own.states, own.replace) {
                    let known = own.states.iter().find(|known| known.id == state.id);
                    let known = known.map_or_else(
                        || "which this patch does not know".to_owned(),
                        |known| format!("this patch knows version {}", known.version),
                    );
                    let (id, version) = (state.id, state.version);
                    judgement.refusals.push(Refusal::State { patch, id, version, known });
                }
            }
            (None, Ok(own)) if own.states.is_empty() => judgement.unchecked.push(format!(
                "whether {patch} has system states, of which this patch has none: it has no manifest"
            )),
            (None, Ok(_)) => judgement
                .unchecked
                .push(format!("whether its states go with those of {patch}: that patch has no manifest")),
            (_, Err(error)) => {
                judgement.unchecked.push(format!("whether its states go with those of {patch}: {error}"));
            }
        }
    }
    Ok(())
}

/// The first state of `loaded` that `replacing` knows only in a lower version, or, where it takes the other's place, does
/// not know (`klp_is_patch_compatible()`).
pub(crate) fn incompatible_state(loaded: &Manifest, replacing: &Manifest) -> Option<State> {
    first_incompatible(&loaded.states, &replacing.states, replacing.replace)
}

fn first_incompatible(loaded: &[State], own: &[State], replace: bool) -> Option<State> {
    let knows = |state: &State| {
        let known = own.iter().find(|known| known.id == state.id);
        known.map_or(!replace, |known| known.version >= state.version)
    };
    loaded.iter().copied().find(|state| !knows(state))
}

/// Users of ftrace and probes on the functions that are to be replaced.
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
            for (_, function) in &functions {
                probed(&list, function, &overrides, judgement);
            }
        }
        None => judgement.unchecked.push("kprobes: debugfs is not mounted or not to be read".to_owned()),
    }
    Ok(())
}

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

/// A line such as `cmdline_proc_show (1) R I     tramp: 0x... (klp_ftrace_handler+0x0/0x1c0)`, or
/// `open [ext4] (1) D I M`: flags R (saves registers), I (changes where it goes), D (calls directly, as BPF does).
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
                Found::Looks => format!("{who}: it goes on, but sees the call, not what the replacement does"),
                Found::May(text) => format!("{who}: one that looks only goes on, but sees the call, not what the replacement does; {text}"),
                Found::Does(text) => format!("{who}: {text}"),
            });
        } else if !ours {
            judgement.warnings.push(match overrides.probe(function) {
                Found::Looks => format!("{function} is being traced; tracing goes on"),
                Found::May(text) | Found::Does(text) => {
                    format!("{function} is being traced; tracing goes on; {text}")
                }
            });
        }
    }
}

/// A line such as `ffffffff8149e1b0  k  cmdline_proc_show+0x0    [FTRACE]`.
fn probed(list: &str, function: &str, overrides: &Overrides<'_>, judgement: &mut Judgement) {
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
                Found::Looks => format!("{what}: it still fires, before the replacement runs"),
                Found::May(text) => format!("{what}: it still fires, before the replacement runs; {text}"),
                Found::Does(text) => format!("{what}: {text}"),
            }
        } else {
            format!("there is a kprobe inside {function} (at +{offset}): it no longer fires, since the original is not run")
        });
    }
}
