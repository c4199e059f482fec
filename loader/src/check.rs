// SPDX-License-Identifier: GPL-2.0-or-later
//! What can be known about a module before the kernel is asked.

use klp_module::Module;

use crate::livepatch;
use crate::{Error, System};

/// Symbols that a refusal names.
const NAMED_SYMBOLS: usize = 3;

/// Why a module cannot be loaded into the running kernel.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file is none, or damaged.
    #[error("{0}")]
    NotAModule(klp_module::Error),
    /// A module, but no live patch.
    #[error(
        "it is a kernel module but not a live patch: its .modinfo has no livepatch tag; load it with insmod or modprobe if that is meant"
    )]
    NotALivepatch,
    /// For another processor.
    #[error("it is for {module}, this machine is {running}")]
    Machine {
        /// What it is for.
        module: &'static str,
        /// What runs here.
        running: &'static str,
    },
    /// Built for another kernel.
    #[error("invalid module version {module} for kernel {running}; get or build the patch for {running}")]
    Release {
        /// The release that it was built for.
        module: String,
        /// The running one.
        running: String,
    },
    /// Without version magic.
    #[error("its .modinfo has no vermagic: it was not linked by the kernel's build; build it again")]
    NoVermagic,
    /// Livepatch symbols that are ordinary undefined symbols still.
    #[error(
        "it was not converted: {count} symbols that are meant for the livepatch core are still ordinary undefined ones, which the kernel cannot resolve ({symbols}); run the build's postlink stage on it"
    )]
    Unconverted {
        /// The first of them.
        symbols: String,
        /// How many there are.
        count: usize,
    },
    /// A kernel without live patching.
    #[error(
        "the running kernel has no live patching (there is no /sys/kernel/livepatch): it was built without CONFIG_LIVEPATCH"
    )]
    NoLivepatchSupport,
}

/// Everything that speaks against loading the module; nothing when it may be tried.
pub(crate) fn refusals(system: &System, module: &Module<'_>) -> Result<Vec<Refusal>, Error> {
    let mut found = Vec::new();
    if !module.is_livepatch() {
        found.push(Refusal::NotALivepatch);
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
