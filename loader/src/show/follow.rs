// SPDX-License-Identifier: GPL-2.0-or-later
//! `follow`: live patch packages that this machine should have.

use std::path::{Path, PathBuf};

use klp_format::KernelRelease;
use serde::Serialize;

use crate::console::Console;
use crate::judge::follow::{self, Config, Decision, Packages, Situation};
use crate::model::error::Error;
use crate::model::system::System;

/// Directories of the modules of installed kernels.
const MODULES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    packages: Packages,
    autoupdate: bool,
    autofilter: bool,
    kernels: Vec<Decision>,
}

/// Options of the verb.
pub(crate) struct Options {
    pub(crate) json: bool,
    /// Kind of packages; by the machine's package database if `None`.
    pub(crate) packages: Option<Packages>,
    pub(crate) config: Option<PathBuf>,
    /// Kernels to decide about; the installed ones if empty.
    pub(crate) kernels: Vec<String>,
    pub(crate) offered: Vec<String>,
}

/// Verb `follow`: prints the wanted packages, one per line.
pub(crate) fn run(system: &System, console: &mut Console<'_>, options: &Options) -> Result<(), Error> {
    let packages = options
        .packages
        .unwrap_or_else(|| if system.exists("/var/lib/dpkg/status") { Packages::Deb } else { Packages::Rpm });
    let config = config(system, packages, options.config.as_deref())?;
    let installed = installed(system)?;
    let named = options.kernels.iter().map(|text| KernelRelease::new(text));
    let named: Vec<KernelRelease> =
        named.collect::<Result<_, _>>().map_err(|reason| Error::Name { reason })?;
    let running = system.release().ok();
    let kernels = follow::decide(&Situation {
        config,
        packages,
        kernels: if named.is_empty() { &installed } else { &named },
        installed: &installed,
        running: running.as_ref(),
        offered: &options.offered,
    });
    if options.json {
        let Config { autoupdate, autofilter } = config;
        let schema = "ferrograft.kpatch.follow/1";
        console.json(&Document { schema, packages, autoupdate, autofilter, kernels });
        return Ok(());
    }
    let mut wanted: Vec<&str> =
        kernels.iter().filter(|kernel| kernel.wanted).map(|kernel| kernel.package.as_str()).collect();
    // Kernels that differ in the distribution tag only share a package.
    wanted.sort_unstable();
    wanted.dedup();
    wanted.iter().for_each(|package| console.say(package));
    Ok(())
}

/// Configuration of a file; a missing file is that of an unconfigured machine, a missing file of `--config` is an error.
fn config(system: &System, packages: Packages, named: Option<&Path>) -> Result<Config, Error> {
    let path = match packages {
        Packages::Rpm => "/etc/dnf/plugins/kpatch.conf",
        Packages::Deb => "/etc/apt/kpatch.conf",
    };
    let (path, text) = match named {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?;
            (path, Some(text))
        }
        None => (Path::new(path), system.read(path)?),
    };
    Config::parse(&text.unwrap_or_default())
        .map_err(|message| Error::Argument { message: format!("{}: {message}", path.display()), code: 2 })
}

/// Kernels whose image is there. What other packages leave in the directory of modules is none.
fn installed(system: &System) -> Result<Vec<KernelRelease>, Error> {
    let mut found = Vec::new();
    for directory in MODULES {
        for name in system.names(directory)? {
            let has_image = [format!("/boot/vmlinuz-{name}"), format!("{directory}/{name}/vmlinuz")]
                .iter()
                .any(|image| system.exists(image));
            found.extend(KernelRelease::new(&name).ok().filter(|_| has_image));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}
