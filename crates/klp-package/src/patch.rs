// SPDX-License-Identifier: GPL-2.0-or-later
//! Packages of a live patch: the package that machines install, and the one with its debug information.

use klp_base::arch::Arch;
use klp_format::KernelRelease;

use crate::error::Error;
use crate::loader;
use crate::module::{PatchModule, stream_prefix};
use crate::names::{self, PATCH};
use crate::package::{Entry, Format, Operator, Origin, Package, Phase, Relation, RelationKind, Version};

const COMMON: &str = include_str!("../../../dist/packages/kpatch-patch/common.sh");
const RPM_POST: &str = include_str!("../../../dist/packages/kpatch-patch/rpm-post.sh");
const RPM_POSTUN: &str = include_str!("../../../dist/packages/kpatch-patch/rpm-postun.sh");
const DEB_POSTINST: &str = include_str!("../../../dist/packages/kpatch-patch/deb-postinst.sh");
const DEB_PRERM: &str = include_str!("../../../dist/packages/kpatch-patch/deb-prerm.sh");

/// Directory with the modules of packages. The loader's store has copies; a package does not own these.
const MODULES: &str = "/usr/lib/kpatch";

/// Live patch for one kernel: the module of a stream, or none.
#[derive(Clone, Debug)]
pub struct Patch {
    release: KernelRelease,
    arch: Arch,
    module: Option<PatchModule>,
    debug: Option<Vec<u8>>,
}

impl Patch {
    /// Live patch of a module. `debug` is the content of its `.ko.debug`.
    pub fn of_module(module: PatchModule, debug: Option<Vec<u8>>) -> Self {
        Self { release: module.release.clone(), arch: module.arch, module: Some(module), debug }
    }

    /// Empty live patch, version 0-0: its package holds no module and subscribes a machine to later versions.
    pub fn empty(release: KernelRelease, arch: Arch) -> Self {
        Self { release, arch, module: None, debug: None }
    }

    /// Packages in one format: the package to install, then that of the debug information if there is any.
    ///
    /// # Errors
    /// The kernel release is too long for the name of a module.
    pub fn packages(&self, format: Format, origin: &Origin) -> Result<Vec<Package>, Error> {
        let package = self.package(format, origin)?;
        let debug = self.debug_package(&package);
        Ok(std::iter::once(package).chain(debug).collect())
    }

    fn name(&self, format: Format) -> String {
        match format {
            Format::Rpm => names::rpm_name(&self.release),
            Format::Deb => names::deb_name(&self.release),
        }
    }

    fn version(&self) -> Version {
        let (version, release) = self.module.as_ref().map_or((0, 0), |module| module.version);
        Version { epoch: 0, version: version.to_string(), release: release.to_string() }
    }

    fn package(&self, format: Format, origin: &Origin) -> Result<Package, Error> {
        let name = self.name(format);
        let scripts =
            self.scripts(format).map_err(|reason| Error::Illegal { package: name.clone(), reason })?;
        Ok(Package {
            format,
            version: self.version(),
            arch: self.arch,
            section: "kernel",
            license: "GPL-2.0-only",
            summary: format!("Live patches for kernel {}", self.release),
            description: self.description(),
            changes: self.changes(),
            relations: self.relations(format, &name),
            entries: self.entries(),
            scripts,
            origin: origin.clone(),
            name,
        })
    }

    fn description(&self) -> Vec<String> {
        let Some(module) = &self.module else {
            return vec![
                "This package holds no live patch. It subscribes the machine to the live".to_owned(),
                "patches of this kernel: they are its later versions.".to_owned(),
            ];
        };
        let mut lines = vec![
            "Cumulative live patch, which replaces functions of the running kernel. It is".to_owned(),
            "loaded when the package is installed, and at boot.".to_owned(),
            String::new(),
            format!("Stream {}, version {}-{}:", module.stream, module.version.0, module.version.1),
        ];
        lines.extend(self.changes().iter().flat_map(|change| wrapped(change)));
        lines
    }

    /// Fixes, one line each.
    fn changes(&self) -> Vec<String> {
        let Some(module) = &self.module else {
            return vec!["Package without a live patch.".to_owned()];
        };
        let fix = |fix: &klp_module::ManifestFix| {
            let cves =
                if fix.cves.is_empty() { String::new() } else { format!(" ({})", fix.cves.join(", ")) };
            one_line(&format!("{}: {}{cves}", fix.name, fix.description))
        };
        module.fixes.iter().map(fix).collect()
    }

    fn relations(&self, format: Format, name: &str) -> Vec<Relation> {
        use RelationKind::{Conflicts, Provides, Recommends, Requires};
        let kpatch = loader::version();
        let mut all = vec![Relation::to(Requires, "kpatch", Operator::AtLeast, kpatch.to_string())];
        match format {
            Format::Rpm => {
                let provided = names::rpm_provided(&self.release);
                all.extend(
                    provided.into_iter().map(|text| Relation::to(Provides, PATCH, Operator::Equal, text)),
                );
                all.push(Relation::to(Conflicts, name, Operator::Less, self.version().to_string()));
                all.push(Relation::to(Requires, "kernel-uname-r", Operator::Equal, self.release.as_str()));
            }
            Format::Deb => {
                all.push(match names::deb_provided(&self.release) {
                    Some(text) => Relation::to(Provides, PATCH, Operator::Equal, text),
                    None => Relation::any(Provides, PATCH),
                });
                // A kernel whose release is no legal end of a package name is not from Debian's packages.
                if names::deb_name(&self.release).ends_with(self.release.as_str()) {
                    all.push(Relation::any(Recommends, format!("linux-image-{}", self.release)));
                }
            }
        }
        all
    }

    fn entries(&self) -> Vec<Entry> {
        let Some(module) = &self.module else {
            return Vec::new();
        };
        let directory = format!("{MODULES}/{}", self.release);
        vec![
            Entry::Directory { path: MODULES.to_owned() },
            Entry::file(format!("{directory}/{}.ko", module.name), 0o755, module.bytes.clone()),
            Entry::Directory { path: directory },
        ]
    }

    /// Scripts. The empty RPM package needs none: scripts of the version before it remove its module. The empty DEB package
    /// does that itself.
    fn scripts(&self, format: Format) -> Result<Vec<(Phase, String)>, String> {
        // The release stands between single quotes in the scripts, and in paths of the package.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
        if let Some(wrong) = self.release.as_str().chars().find(|c| !allowed(*c)) {
            return Err(format!(
                "the kernel release {} has {wrong:?}, which paths and scripts cannot have",
                self.release
            ));
        }
        let stream = stream_prefix(&self.release)?;
        let module = self.module.as_ref().map_or("", |module| module.name.as_str());
        let common = COMMON
            .replace("@KERNEL@", self.release.as_str())
            .replace("@STREAM@", &stream)
            .replace("@MODULE@", module);
        let script = |text: &str| format!("{common}\n{text}");
        Ok(match (format, &self.module) {
            (Format::Rpm, None) => Vec::new(),
            (Format::Rpm, Some(_)) => {
                vec![(Phase::AfterInstall, script(RPM_POST)), (Phase::AfterRemove, script(RPM_POSTUN))]
            }
            (Format::Deb, None) => vec![(Phase::AfterInstall, script(DEB_POSTINST))],
            (Format::Deb, Some(_)) => {
                vec![(Phase::AfterInstall, script(DEB_POSTINST)), (Phase::BeforeRemove, script(DEB_PRERM))]
            }
        })
    }

    fn debug_package(&self, package: &Package) -> Option<Package> {
        let (module, debug) = (self.module.as_ref()?, self.debug.as_ref()?);
        let suffix = match package.format {
            Format::Rpm => "debuginfo",
            Format::Deb => "dbgsym",
        };
        let path = format!("/usr/lib/debug{MODULES}/{}/{}.ko.debug", self.release, module.name);
        let of_patch = Relation::to(
            RelationKind::Recommends,
            package.name.clone(),
            Operator::Equal,
            package.version.to_string(),
        );
        Some(Package {
            name: format!("{}-{suffix}", package.name),
            section: "debug",
            summary: format!("Debug information of the live patches for kernel {}", self.release),
            description: vec![
                "Symbols and line numbers of the module, for crash, gdb and SystemTap.".to_owned(),
            ],
            relations: vec![of_patch],
            entries: vec![Entry::file(path, 0o644, debug.clone())],
            scripts: Vec::new(),
            ..package.clone()
        })
    }
}

/// Text without line breaks and other control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Item of a list, in lines of at most 78 characters where the words allow it.
fn wrapped(item: &str) -> Vec<String> {
    const WIDTH: usize = 78;
    let mut lines = vec!["*".to_owned()];
    for word in item.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines
}
