// SPDX-License-Identifier: GPL-2.0-or-later
//! Decision which live patch packages a machine should have, for the plug-ins of package managers.

use clap::ValueEnum;
use klp_format::KernelRelease;
use klp_format::package::{deb_name, rpm_name};
use serde::Serialize;

/// Kind of packages, which decides about their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Packages {
    /// Names of RPM packages
    Rpm,
    /// Names of DEB packages
    Deb,
}

/// Configuration, in the form of `/etc/dnf/plugins/kpatch.conf`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// True to install the live patch package of every installed and future kernel.
    pub(crate) autoupdate: bool,
    /// True to hide kernels without a live patch package.
    pub(crate) autofilter: bool,
}

impl Config {
    /// Parses `key = value` lines of the section `[main]`. A missing key is `False`; other keys and sections are ignored.
    ///
    /// # Errors
    /// A value is no boolean of Python's configparser; the message names key and value.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        let mut section = "";
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name;
                continue;
            }
            let Some((key, value)) = line.split_once(['=', ':']).filter(|_| section == "main") else {
                continue;
            };
            let target = match key.trim().to_ascii_lowercase().as_str() {
                "autoupdate" => &mut config.autoupdate,
                "autofilter" => &mut config.autofilter,
                _ => continue,
            };
            *target = match value.trim().to_ascii_lowercase().as_str() {
                "1" | "yes" | "true" | "on" => true,
                "0" | "no" | "false" | "off" => false,
                _ => return Err(format!("{}: {:?} is neither True nor False", key.trim(), value.trim())),
            };
        }
        Ok(config)
    }
}

/// Kernels of a machine and what is known about packages.
pub(crate) struct Situation<'a> {
    pub(crate) config: Config,
    pub(crate) packages: Packages,
    /// Kernels to decide about.
    pub(crate) kernels: &'a [KernelRelease],
    pub(crate) installed: &'a [KernelRelease],
    pub(crate) running: Option<&'a KernelRelease>,
    /// Packages that the repositories offer; empty if unknown.
    pub(crate) offered: &'a [String],
}

/// Decision about one kernel.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Decision {
    pub(crate) kernel: String,
    /// Name of its live patch package.
    pub(crate) package: String,
    pub(crate) running: bool,
    pub(crate) installed: bool,
    /// True if a repository offers the package; `None` if unknown.
    pub(crate) offered: Option<bool>,
    /// True if the machine should have the package.
    pub(crate) wanted: bool,
    /// True if the kernel should not be installed: it has no live patch package.
    pub(crate) filtered: bool,
}

/// Decides about each kernel, in the order given.
pub(crate) fn decide(situation: &Situation<'_>) -> Vec<Decision> {
    let Situation { config, packages, kernels, installed, running, offered } = situation;
    let decision = |kernel: &KernelRelease| {
        let package = match packages {
            Packages::Rpm => rpm_name(kernel),
            Packages::Deb => deb_name(kernel),
        };
        let is_offered = (!offered.is_empty()).then(|| offered.contains(&package));
        let is_installed = installed.contains(kernel);
        Decision {
            running: *running == Some(kernel),
            installed: is_installed,
            offered: is_offered,
            wanted: config.autoupdate && is_offered != Some(false),
            filtered: config.autofilter && is_offered == Some(false) && !is_installed,
            kernel: kernel.to_string(),
            package,
        }
    };
    kernels.iter().map(decision).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "5.14.0-362.8.1.el9_3.x86_64";
    const NEW: &str = "5.14.0-427.13.1.el9_4.x86_64";
    const DEBIAN: &str = "6.12.117+deb12-amd64";

    #[test]
    fn decide_follows_the_table() {
        let (auto, filter) = ((true, false), (false, true));
        let offers: &[&str] = &["kpatch-patch-5_14_0-362_8_1"];
        // autoupdate and autofilter, kind, kernels, installed, offered; wanted and filtered for each kernel.
        for (config, packages, kernels, installed, offered, expected) in [
            (
                (false, false),
                Packages::Rpm,
                &[OLD, NEW][..],
                &[OLD][..],
                &[][..],
                &[(false, false), (false, false)][..],
            ),
            (auto, Packages::Rpm, &[OLD, NEW], &[OLD, NEW], &[], &[(true, false), (true, false)]),
            (auto, Packages::Rpm, &[OLD, NEW], &[OLD, NEW], offers, &[(true, false), (false, false)]),
            (filter, Packages::Rpm, &[OLD, NEW], &[], offers, &[(false, false), (false, true)]),
            // An installed kernel stays, and without knowledge nothing is hidden.
            (filter, Packages::Rpm, &[OLD, NEW], &[NEW], offers, &[(false, false), (false, false)]),
            (filter, Packages::Rpm, &[OLD, NEW], &[], &[], &[(false, false), (false, false)]),
            ((true, true), Packages::Rpm, &[OLD, NEW], &[OLD], offers, &[(true, false), (false, true)]),
            (
                auto,
                Packages::Deb,
                &[DEBIAN],
                &[DEBIAN],
                &["kpatch-patch-6.12.117+deb12-amd64"],
                &[(true, false)],
            ),
            (auto, Packages::Rpm, &[], &[], &[], &[]),
        ] {
            let releases = |names: &[&str]| -> Vec<KernelRelease> {
                names.iter().map(|name| KernelRelease::new(name).unwrap()).collect()
            };
            let (list, there) = (releases(kernels), releases(installed));
            let decisions = decide(&Situation {
                config: Config { autoupdate: config.0, autofilter: config.1 },
                packages,
                kernels: &list,
                installed: &there,
                running: there.first(),
                offered: &offered.iter().map(ToString::to_string).collect::<Vec<_>>(),
            });
            let found: Vec<(bool, bool)> = decisions.iter().map(|one| (one.wanted, one.filtered)).collect();
            assert_eq!(found, expected, "{config:?} {kernels:?} {installed:?} {offered:?}");
        }
    }

    #[test]
    fn config_parses_the_form_of_dnf() {
        for (text, expected) in [
            ("", Ok((false, false))),
            ("[main]\nautoupdate=True\nautofilter=False\n", Ok((true, false))),
            ("[main]\nautoupdate = off\nAutoFilter: YES\nother=1\n", Ok((false, true))),
            ("[other]\nautoupdate=True\n# autoupdate=True\n[main]\n", Ok((false, false))),
            ("[main]\nautoupdate=maybe\n", Err("autoupdate: \"maybe\" is neither True nor False".to_owned())),
        ] {
            let found = Config::parse(text).map(|config| (config.autoupdate, config.autofilter));
            assert_eq!(found, expected, "{text}");
        }
    }
}
