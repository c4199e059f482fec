// SPDX-License-Identifier: GPL-2.0-or-later
//! Checks on a module before its insertion.

use klp_module::Module;

use crate::judge::conflicts;
use crate::judge::judgement::Judgement;
use crate::model::error::Error;
use crate::model::livepatch;
use crate::model::refusal::Refusal;
use crate::model::system::System;

/// Number of symbols that a refusal names.
const NAMED_SYMBOLS: usize = 3;

/// Runs all checks on a module. `allow_older` accepts an older version than the enabled one.
pub(crate) fn preflight(system: &System, module: &Module<'_>, allow_older: bool) -> Result<Judgement, Error> {
    let mut judgement = Judgement { refusals: of_module(system, module)?, ..Judgement::default() };
    conflicts::of_kernel(system, module, &mut judgement)?;
    conflicts::with_patches(system, module, allow_older, &mut judgement)?;
    conflicts::with_tracers(system, module, &mut judgement)?;
    Ok(judgement)
}

/// Checks of the file's content against the running kernel.
fn of_module(system: &System, module: &Module<'_>) -> Result<Vec<Refusal>, Error> {
    let mut found = Vec::new();
    if !module.is_livepatch() {
        found.push(Refusal::NotALivepatch);
    }
    if klp_module::digest(module).is_some_and(|digest| digest.said != digest.found) {
        found.push(Refusal::Changed);
    }
    let running = std::env::consts::ARCH;
    if module.machine().name() != running {
        found.push(Refusal::Machine { module: module.machine().name(), running });
    }
    let running = system.release()?;
    match module.vermagic().map(|vermagic| vermagic.split_whitespace().next().unwrap_or("").to_owned()) {
        None => found.push(Refusal::NoVermagic),
        Some(release) if release != running.as_str() => {
            found.push(Refusal::Release { module: release, running: running.to_string() });
        }
        Some(_) => {}
    }
    let unconverted: Vec<_> = module.unconverted_symbols().map(|symbol| symbol.name).collect();
    if !unconverted.is_empty() {
        let dots = if unconverted.len() > NAMED_SYMBOLS { ", ..." } else { "" };
        let symbols = unconverted.iter().take(NAMED_SYMBOLS).copied().collect::<Vec<_>>().join(", ") + dots;
        found.push(Refusal::Unconverted { symbols, count: unconverted.len() });
    }
    if !system.exists(livepatch::DIRECTORY) {
        found.push(Refusal::NoLivepatchSupport);
    }
    Ok(found)
}
