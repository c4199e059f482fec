// SPDX-License-Identifier: GPL-2.0-or-later
//! `rollback`: returns to the previous version of a line, in the store and, if the kernel allows it, in the kernel.

use std::path::Path;

use klp_module::Manifest;

use crate::act::install;
use crate::act::load::{self, Request};
use crate::act::record::recorded;
use crate::console::Console;
use crate::judge::conflicts;
use crate::model::error::Error;
use crate::model::history::Action;
use crate::model::module_file::{ModuleFile, Source};
use crate::model::store::{self, Installed, Version};
use crate::model::system::System;
use crate::model::{durable, livepatch};

/// Module of a line, installed or kept.
struct Candidate {
    module: Installed,
    version: Version,
    installed: bool,
}

impl Candidate {
    fn source(&self, system: &System) -> Source {
        let path = if self.installed { self.module.path() } else { self.module.previous_path() };
        Source { file: system.path(&path), shown: path.into() }
    }
}

/// Verb `rollback`.
pub(crate) fn run(
    system: &System,
    console: &mut Console<'_>,
    line: Option<&str>,
    request: &Request,
) -> Result<(), Error> {
    let release = system.release()?;
    let name = chosen_line(system, line)?;
    let candidate = |module: Installed, installed: bool| {
        let line = if installed { module.line(system) } else { store::line_of(&module.name()) };
        let (line, version) = line?;
        (line == name).then_some(Candidate { module, version, installed })
    };
    let there = store::installed_for(system, &release)?;
    let mut all: Vec<Candidate> = there.into_iter().filter_map(|module| candidate(module, true)).collect();
    let Some(current) = all.iter().map(|candidate| candidate.version).max() else {
        return Err(nothing(&format!("no patch of the line kpatch_{name} is installed for {release}")));
    };
    let kept = store::previous_for(system, &release)?;
    all.extend(kept.into_iter().filter_map(|module| candidate(module, false)));
    let (newest, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|candidate| candidate.installed && candidate.version == current);
    let target = rest.into_iter().filter(|candidate| candidate.version < current).max_by_key(|c| c.version);
    let (Some(newest), Some(target)) = (newest.into_iter().next(), target) else {
        return Err(nothing(&format!("no older version of kpatch_{name} is kept for {release}")));
    };
    let obstacle = obstacle(system, &newest, &target)?;
    console.say(format_args!("rolling back {} to {}", newest.module.name(), target.module.name()));
    recorded(system, console, Action::Rollback, &newest.module.name(), release.as_str(), |_| {
        // Target first: after a kill in between both are installed, and the newer one is loaded, as before.
        if !target.installed {
            durable::rename(system, &target.module.previous_path(), &target.module.path())?;
        }
        install::set_aside(system, &release, &newest.module)
    })?;
    let is_on = livepatch::state(system, &newest.module.name())?.is_some_and(livepatch::PatchState::is_on);
    if !is_on {
        return Ok(());
    }
    if let Some(obstacle) = obstacle {
        console.warn(format_args!(
            "{} stays in the running kernel: {obstacle}; the next boot loads {}",
            newest.module.name(),
            target.module.name()
        ));
        return Ok(());
    }
    let request = Request { allow_older: true, ..*request };
    load::run(system, console, &store::source(system, &target.module), &request)
}

fn nothing(message: &str) -> Error {
    Error::Argument { message: format!("nothing to go back to: {message}"), code: 3 }
}

/// Line named by the argument, else the only installed one.
fn chosen_line(system: &System, argument: Option<&str>) -> Result<String, Error> {
    let release = system.release()?;
    let installed = store::installed_for(system, &release)?;
    let mut lines: Vec<String> =
        installed.iter().filter_map(|module| module.line(system)).map(|(line, _)| line).collect();
    lines.sort_unstable();
    lines.dedup();
    if let Some(argument) = argument {
        // The argument may be a path, the name of an installed file, a module name, or a line.
        let wanted = store::name_in_file(Path::new(argument))?
            .or_else(|| Some(store::named(system, &release, argument).ok()??.module(system)?.to_string()))
            .unwrap_or_else(|| store::normalized(argument));
        let line = store::line_of(&wanted)
            .map_or_else(|| wanted.strip_prefix("kpatch_").unwrap_or(&wanted).to_owned(), |(line, _)| line);
        return Ok(line);
    }
    match lines.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(nothing("no patch with a version is installed for the running kernel")),
        several => Err(Error::Argument {
            message: format!("several lines are installed, name one of them: {}", several.join(", ")),
            code: 2,
        }),
    }
}

/// Reason why the kernel would refuse to replace the newer module by the older one: a system state that the older module does
/// not support in that version (`klp_is_patch_compatible()` in `kernel/livepatch/state.c`).
fn obstacle(system: &System, newest: &Candidate, target: &Candidate) -> Result<Option<String>, Error> {
    let manifest = |candidate: &Candidate| -> Result<Option<Manifest>, Error> {
        let file = ModuleFile::open(&candidate.source(system))?;
        let module = file.module()?;
        Ok(module.manifest().ok().flatten())
    };
    let (Some(new), Some(old)) = (manifest(newest)?, manifest(target)?) else {
        return Ok(None);
    };
    Ok(conflicts::incompatible_state(&new, &old).map(|state| {
        format!(
            "it has brought system state {} to version {}, and only a reboot helps",
            state.id, state.version
        )
    }))
}
