// SPDX-License-Identifier: GPL-2.0-or-later
//! Package of the program `kpatch`.

use klp_base::arch::Arch;

use crate::deb::gzip;
use crate::error::Error;
use crate::package::{
    Entry, FileKind, Format, Operator, Origin, Package, Phase, Relation, RelationKind, Version,
};

/// Version of `kpatch`, which is that of the workspace.
pub const KPATCH_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Epoch of the package: it is newer than the distributions' packages of that name, whose versions are higher. The scripts of
/// live patch packages rely on this `kpatch` (a repeated `install` succeeds).
pub const KPATCH_EPOCH: u32 = 1;

const RPM_POST: &str = include_str!("../../../dist/packages/kpatch/rpm-post.sh");
const RPM_COMMON: &str = include_str!("../../../dist/packages/kpatch/rpm-common.sh");
const RPM_POSTTRANS: &str = include_str!("../../../dist/packages/kpatch/rpm-posttrans.sh");
const RPM_PREUN: &str = include_str!("../../../dist/packages/kpatch/rpm-preun.sh");
const RPM_POSTUN: &str = include_str!("../../../dist/packages/kpatch/rpm-postun.sh");
const DEB_POSTINST: &str = include_str!("../../../dist/packages/kpatch/deb-postinst.sh");
const DEB_PRERM: &str = include_str!("../../../dist/packages/kpatch/deb-prerm.sh");
const DEB_POSTRM: &str = include_str!("../../../dist/packages/kpatch/deb-postrm.sh");

/// Package with the plug-in for dnf of other vendors.
const KPATCH_DNF: &str = "kpatch-dnf";

/// Version of the package.
pub(crate) fn version() -> Version {
    Version { epoch: KPATCH_EPOCH, version: KPATCH_VERSION.to_owned(), release: "1".to_owned() }
}

/// Files of the package: name and content.
#[derive(Clone, Debug, Default)]
pub struct LoaderFiles {
    /// The program, statically linked.
    pub program: Vec<u8>,
    /// Units of systemd.
    pub units: Vec<(String, Vec<u8>)>,
    /// Programs that units start.
    pub helpers: Vec<(String, Vec<u8>)>,
    /// Pages of section 1 of the manual, not compressed.
    pub pages: Vec<(String, Vec<u8>)>,
    /// Completions for bash, zsh and fish.
    pub completions: Vec<(String, Vec<u8>)>,
    /// Plug-ins of package managers, by their paths in `dist/`.
    pub plugins: Vec<(String, Vec<u8>)>,
}

/// The program `kpatch` with its files.
#[derive(Clone, Debug)]
pub struct Loader {
    arch: Arch,
    files: LoaderFiles,
}

impl Loader {
    /// The program with its files.
    pub fn new(arch: Arch, files: LoaderFiles) -> Self {
        Self { arch, files }
    }

    /// Package in one format.
    ///
    /// # Errors
    /// A completion has an unknown name.
    pub fn package(&self, format: Format, origin: &Origin) -> Result<Package, Error> {
        let name = "kpatch".to_owned();
        let entries =
            self.entries(format).map_err(|reason| Error::Illegal { package: name.clone(), reason })?;
        let script = |text: &str| text.to_owned();
        let scripts = match format {
            Format::Rpm => vec![
                (Phase::AfterInstall, script(RPM_POST)),
                (Phase::BeforeRemove, script(RPM_PREUN)),
                (Phase::AfterRemove, format!("{RPM_COMMON}\n{RPM_POSTUN}")),
                (Phase::AfterTransaction, format!("{RPM_COMMON}\n{RPM_POSTTRANS}")),
            ],
            Format::Deb => vec![
                (Phase::AfterInstall, script(DEB_POSTINST)),
                (Phase::BeforeRemove, script(DEB_PRERM)),
                (Phase::AfterRemove, script(DEB_POSTRM)),
            ],
        };
        Ok(Package {
            format,
            name,
            version: version(),
            arch: self.arch,
            section: "kernel",
            license: "GPL-2.0-or-later",
            summary: "Loader of kernel live patches".to_owned(),
            description: vec![
                "kpatch loads, lists and unloads live patches of the kernel, and keeps those".to_owned(),
                "that are loaded at boot.".to_owned(),
            ],
            changes: vec![format!("Version {KPATCH_VERSION}.")],
            relations: match format {
                Format::Rpm => vec![
                    Relation::any(RelationKind::Requires, "systemd"),
                    // Red Hat's package of the plug-in, which has the same files.
                    Relation::to(RelationKind::Provides, KPATCH_DNF, Operator::Equal, version().to_string()),
                    Relation::to(RelationKind::Replaces, KPATCH_DNF, Operator::Less, version().to_string()),
                ],
                Format::Deb => vec![Relation::any(RelationKind::Recommends, "systemd")],
            },
            entries,
            scripts,
            origin: origin.clone(),
        })
    }

    fn entries(&self, format: Format) -> Result<Vec<Entry>, String> {
        let mut entries = vec![Entry::file("/usr/sbin/kpatch", 0o755, self.files.program.clone())];
        for (name, bytes) in &self.files.units {
            entries.push(Entry::file(format!("/usr/lib/systemd/system/{name}"), 0o644, bytes.clone()));
        }
        for (name, bytes) in &self.files.helpers {
            entries.push(Entry::file(format!("/usr/libexec/kpatch/{name}"), 0o755, bytes.clone()));
        }
        for (name, bytes) in &self.files.pages {
            let packed = gzip(bytes).map_err(|error| error.to_string())?;
            entries.push(Entry::File {
                path: format!("/usr/share/man/man1/{name}.gz"),
                mode: 0o644,
                bytes: packed,
                kind: FileKind::Doc,
            });
        }
        for (name, bytes) in &self.files.completions {
            let directory = match name.as_str() {
                "kpatch" => "bash-completion/completions",
                "_kpatch" => "zsh/site-functions",
                "kpatch.fish" => "fish/vendor_completions.d",
                other => return Err(format!("there is no place for the completion {other}")),
            };
            entries.push(Entry::file(format!("/usr/share/{directory}/{name}"), 0o644, bytes.clone()));
        }
        for (name, bytes) in &self.files.plugins {
            entries.extend(plugin(format, name, bytes)?);
        }
        Ok(entries)
    }
}

/// File of a plug-in; `None` in packages of systems that do not have this package manager.
fn plugin(format: Format, name: &str, bytes: &[u8]) -> Result<Option<Entry>, String> {
    let entry = match name {
        "apt/90kpatch" => Entry::config("/etc/apt/apt.conf.d/90kpatch", bytes),
        "apt/kpatch.conf" => Entry::config("/etc/apt/kpatch.conf", bytes),
        "dnf/kpatch.conf" => Entry::config("/etc/dnf/plugins/kpatch.conf", bytes),
        // %posttrans links it where dnf looks for plug-ins.
        "dnf/kpatch.py" => Entry::file("/usr/share/kpatch/dnf-plugins/kpatch.py", 0o644, bytes),
        "dnf5/kpatch.actions" => Entry::config("/etc/dnf/libdnf5-plugins/actions.d/kpatch.actions", bytes),
        other => return Err(format!("there is no place for the plug-in {other}")),
    };
    let system = if name.starts_with("apt/") { Format::Deb } else { Format::Rpm };
    Ok((system == format).then_some(entry))
}
