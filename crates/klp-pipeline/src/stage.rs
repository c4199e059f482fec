// SPDX-License-Identifier: GPL-2.0-or-later
//! The stages by name and order, and the files of a finished build.

use std::path::PathBuf;

/// Hash of the sources that do the work of the stages before verify, made by the crate's build script.
pub(crate) const WORK_SOURCES: &str = env!("KLP_WORK_SOURCES");
/// Hash of the sources that do the work of stage verify.
pub(crate) const VERIFY_SOURCES: &str = env!("KLP_VERIFY_SOURCES");

/// A stage of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Names to objects, positions, prototypes.
    Resolve,
    /// Rust declarations of this kernel.
    Bindings,
    /// rustc and the relocatable link.
    Compile,
    /// The kernel's own build of the module.
    Kbuild,
    /// Debug information off, livepatch relocations.
    Postlink,
    /// The finished module compared with the kernel.
    Verify,
    /// The signature.
    Sign,
    /// RPM and DEB packages.
    Package,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Self; 8] = [
        Self::Resolve,
        Self::Bindings,
        Self::Compile,
        Self::Kbuild,
        Self::Postlink,
        Self::Verify,
        Self::Sign,
        Self::Package,
    ];

    /// The name that `--from` and `--to` take.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Bindings => "bindings",
            Self::Compile => "compile",
            Self::Kbuild => "kbuild",
            Self::Postlink => "postlink",
            Self::Verify => "verify",
            Self::Sign => "sign",
            Self::Package => "package",
        }
    }

    /// Name of its directory.
    pub fn dir_name(self) -> String {
        format!("{}-{}", self as u8 + 1, self.name())
    }
}

impl std::str::FromStr for Stage {
    type Err = klp_kernel::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.iter().map(|stage| stage.name().to_owned()).collect();
        let found = Self::ALL.into_iter().find(|stage| stage.name() == text);
        found.ok_or_else(|| klp_kernel::Error::Unknown {
            what: "stage",
            name: text.to_owned(),
            known: known(),
        })
    }
}

/// A range of stages.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The first stage that runs even if nothing changed; those after it run too.
    pub from: Option<Stage>,
    /// The last stage.
    pub to: Stage,
}

impl Default for Range {
    fn default() -> Self {
        Self { from: None, to: Stage::Verify }
    }
}

impl Range {
    /// True if a stage runs even if nothing changed.
    pub fn forces(self, stage: Stage) -> bool {
        self.from.is_some_and(|from| stage >= from)
    }
}

/// The files of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// Name of the module.
    pub module: String,
    /// Directory of the build, with the stages' directories.
    pub dir: PathBuf,
    /// The module of stage kbuild: with debug information, not converted.
    pub unconverted: PathBuf,
    /// The finished module, of stage postlink.
    pub ko: PathBuf,
    /// Its debug file, for debuggers.
    pub debug: PathBuf,
    /// The signed module, of stage sign.
    pub signed: PathBuf,
}

impl Built {
    /// The files of a module in a build directory.
    pub fn of(dir: PathBuf, module: &str) -> Self {
        let file = |stage: Stage, suffix: &str| dir.join(stage.dir_name()).join(format!("{module}{suffix}"));
        Self {
            unconverted: file(Stage::Kbuild, ".ko"),
            ko: file(Stage::Postlink, ".ko"),
            debug: file(Stage::Postlink, ".ko.debug"),
            signed: file(Stage::Sign, ".ko"),
            module: module.to_owned(),
            dir,
        }
    }
}
