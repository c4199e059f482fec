// SPDX-License-Identifier: GPL-2.0-or-later
//! One package in a form that both formats share.

use std::fmt;

use klp_base::arch::Arch;

use crate::error::Error;

/// Date of packages where the caller has none: 1 January 2000, in seconds since 1970.
pub const DEFAULT_DATE: u32 = 946_684_800;
/// Maintainer of packages where the caller has none.
pub const DEFAULT_MAINTAINER: &str = "Ferrograft <packages@ferrograft.example>";

/// Format of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// RPM version 4, for dnf, yum and zypper.
    Rpm,
    /// Debian package 2.0, for apt.
    Deb,
}

impl Format {
    /// Both formats.
    pub const ALL: [Self; 2] = [Self::Rpm, Self::Deb];

    /// Name on the command line, suffix of files and name of directories.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Deb => "deb",
        }
    }

    /// Name of an architecture in this format.
    pub fn arch(self, arch: Arch) -> &'static str {
        match (self, arch) {
            (Self::Rpm, Arch::X86_64) => "x86_64",
            (Self::Rpm, Arch::Arm64) => "aarch64",
            (Self::Deb, Arch::X86_64) => "amd64",
            (Self::Deb, Arch::Arm64) => "arm64",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| format!("there is no format {text:?}; there are rpm and deb"))
    }
}

/// Facts of a package that do not depend on its content.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Name and address, as `Name <user@host>`.
    pub maintainer: String,
    /// Date of the package and of all its files, in seconds since 1970 (the variable `SOURCE_DATE_EPOCH`).
    pub date: u32,
}

impl Default for Origin {
    fn default() -> Self {
        Self { maintainer: DEFAULT_MAINTAINER.to_owned(), date: DEFAULT_DATE }
    }
}

/// Version of a package: epoch, version and release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Epoch; 0 is not written.
    pub epoch: u32,
    /// Version.
    pub version: String,
    /// Release (RPM), or Debian's revision.
    pub release: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 {
            write!(f, "{}:", self.epoch)?;
        }
        write!(f, "{}-{}", self.version, self.release)
    }
}

/// Kind of a relation to other packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// The package is a substitute for the other one.
    Provides,
    /// The package needs the other one, also in its scripts. (`Depends` in DEB)
    Requires,
    /// The two packages cannot be installed together.
    Conflicts,
    /// The other package is installed too, unless the administrator objects.
    Recommends,
    /// The package takes the place of the other one. (`Obsoletes` in RPM)
    Replaces,
}

/// Comparison of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Lower.
    Less,
    /// The same.
    Equal,
    /// The same or higher.
    AtLeast,
}

/// Relation to another package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Kind.
    pub kind: RelationKind,
    /// Name of the other package.
    pub name: String,
    /// Versions of the other package; `None`: all.
    pub version: Option<(Operator, String)>,
}

impl Relation {
    /// Relation to all versions of a package.
    pub fn any(kind: RelationKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), version: None }
    }

    /// Relation to some versions of a package.
    pub fn to(
        kind: RelationKind,
        name: impl Into<String>,
        operator: Operator,
        version: impl Into<String>,
    ) -> Self {
        Self { kind, name: name.into(), version: Some((operator, version.into())) }
    }
}

/// Treatment of a file by the package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Replaced at an update.
    Plain,
    /// Documentation, which administrators may leave out.
    Doc,
    /// Configuration: an update keeps what the administrator changed.
    Config,
}

/// File or directory of a package.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Directory that the package owns, mode 755.
    Directory {
        /// Absolute path.
        path: String,
    },
    /// Regular file.
    File {
        /// Absolute path.
        path: String,
        /// Permissions, for example `0o644`.
        mode: u16,
        /// Content.
        bytes: Vec<u8>,
        /// Treatment by the package manager.
        kind: FileKind,
    },
}

impl Entry {
    /// File with permissions.
    pub fn file(path: impl Into<String>, mode: u16, bytes: impl Into<Vec<u8>>) -> Self {
        Self::File { path: path.into(), mode, bytes: bytes.into(), kind: FileKind::Plain }
    }

    /// Configuration file, mode 644.
    pub fn config(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self::File { path: path.into(), mode: 0o644, bytes: bytes.into(), kind: FileKind::Config }
    }

    /// Absolute path.
    pub fn path(&self) -> &str {
        match self {
            Self::Directory { path } | Self::File { path, .. } => path,
        }
    }
}

/// Moment of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `%post`, `postinst`.
    AfterInstall,
    /// `%preun`, `prerm`.
    BeforeRemove,
    /// `%postun`, `postrm`.
    AfterRemove,
    /// `%posttrans`; RPM only.
    AfterTransaction,
}

/// One package.
#[derive(Clone, Debug)]
pub struct Package {
    /// Format that names, relations and scripts are for.
    pub format: Format,
    /// Name.
    pub name: String,
    /// Version.
    pub version: Version,
    /// Architecture.
    pub arch: Arch,
    /// Section of Debian's archive, for example `kernel`.
    pub section: &'static str,
    /// Licence, an SPDX expression.
    pub license: &'static str,
    /// Content in one line, without a full stop.
    pub summary: String,
    /// Description: lines of at most 80 characters; an empty line separates paragraphs.
    pub description: Vec<String>,
    /// Changes of this version, one line each.
    pub changes: Vec<String>,
    /// Relations to other packages.
    pub relations: Vec<Relation>,
    /// Files and directories.
    pub entries: Vec<Entry>,
    /// Scripts for `/bin/sh`.
    pub scripts: Vec<(Phase, String)>,
    /// Maintainer and date.
    pub origin: Origin,
}

impl Package {
    /// File name by the convention of the format.
    pub fn file_name(&self) -> String {
        let Version { version, release, .. } = &self.version;
        let arch = self.format.arch(self.arch);
        match self.format {
            Format::Rpm => format!("{}-{version}-{release}.{arch}.rpm", self.name),
            Format::Deb => format!("{}_{version}-{release}_{arch}.deb", self.name),
        }
    }

    /// Script of a phase.
    pub fn script(&self, phase: Phase) -> Option<&str> {
        self.scripts.iter().find(|(its, _)| *its == phase).map(|(_, text)| text.as_str())
    }

    pub(crate) fn illegal(&self, reason: impl fmt::Display) -> Error {
        Error::Illegal { package: self.name.clone(), reason: reason.to_string() }
    }
}
