// SPDX-License-Identifier: GPL-2.0-or-later
//! The stages by name and order, and the files of a finished build.

use std::path::PathBuf;

/// Hash of the sources of the stages before verify, from the crate's build script.
pub(crate) const WORK_SOURCES: &str = env!("KLP_WORK_SOURCES");
/// Hash of the sources that make a live patch of a C diff.
pub(crate) const CDIFF_SOURCES: &str = env!("KLP_CDIFF_SOURCES");
/// Hash of the sources of stage verify.
pub(crate) const VERIFY_SOURCES: &str = env!("KLP_VERIFY_SOURCES");

/// Hashes of the implementation of all stages, for the keys of results of whole builds.
pub fn implementation() -> [&'static str; 3] {
    [CDIFF_SOURCES, WORK_SOURCES, VERIFY_SOURCES]
}

/// A stage of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Resolves names to objects, symbol positions and prototypes.
    Resolve,
    /// Generates the Rust declarations of this kernel.
    Bindings,
    /// Runs rustc and the relocatable link.
    Compile,
    /// Builds the module with kbuild.
    Kbuild,
    /// Removes debug information and creates livepatch relocations.
    Postlink,
    /// Compares the finished module with the kernel.
    Verify,
    /// Appends the signature.
    Sign,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 7] = [
        Self::Resolve,
        Self::Bindings,
        Self::Compile,
        Self::Kbuild,
        Self::Postlink,
        Self::Verify,
        Self::Sign,
    ];

    /// Name in `--from` and `--to`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Bindings => "bindings",
            Self::Compile => "compile",
            Self::Kbuild => "kbuild",
            Self::Postlink => "postlink",
            Self::Verify => "verify",
            Self::Sign => "sign",
        }
    }

    /// Name of the stage's directory.
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
    /// First stage that runs even without changes. All later stages run too.
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
    /// True if a stage runs even without changes.
    pub fn forces(self, stage: Stage) -> bool {
        self.from.is_some_and(|from| stage >= from)
    }
}

/// Directory of a build with the crates below the root crate.
pub(crate) const CRATES_DIR: &str = ".crates";

/// The files of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// Name of the module.
    pub module: String,
    /// Directory of the build, which contains the stages' directories.
    pub dir: PathBuf,
    /// Module from stage kbuild: with debug information, not converted.
    pub unconverted: PathBuf,
    /// Finished module, from stage postlink.
    pub ko: PathBuf,
    /// File with the debug information, for debuggers.
    pub debug: PathBuf,
    /// Signed module, from stage sign.
    pub signed: PathBuf,
}

impl Built {
    /// Files of a module in a build directory.
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
