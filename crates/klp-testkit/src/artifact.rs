// SPDX-License-Identifier: GPL-2.0-or-later
//! Artifacts of cases: the entries of `artifacts` in case.toml, and the files that they name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use klp_base::cache::{self, Cache};
use klp_base::events::Sink;
use klp_base::files::{FileError, make_dir, read};
use klp_base::process;
use klp_format::{NameError, ObjectName, SHF_RELA_LIVEPATCH};
use klp_image::{ImageError, KernelImage, unpack_module};
use klp_kernel::{KernelTree, c_module};
use klp_module::KlpLayout;
use klp_package::{Format, Origin, Patch, PatchModule};
use klp_pipeline::build::Build;
use klp_pipeline::expected;
use klp_pipeline::objects::module_file;
use klp_pipeline::project::{Project, Target, read_fix};
use klp_pipeline::sign::{self, Signer, SigningKey};
use klp_pipeline::stage::{Built, Range, Stage};
use klp_verify::rules::{FILE_DIGEST, KLP_RELOCATION, ORIGINAL_SITE, Rule};
use klp_verify::{Expected, Report};

use crate::corpus::Corpus;

/// Artifact of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// `<name>`: the finished module of a fix or stream.
    Module(String),
    /// `<name>@kbuild`: the module of stage kbuild, not converted.
    Unconverted(String),
    /// `module:<name>`: a kernel module, or one of tests/modules.
    Own(ObjectName),
    /// `out-of-tree:<name>`: one of tests/out-of-tree, a module that is not the kernel's own.
    OutOfTree(ObjectName),
    /// `signed:<fix>`: a module with the signature that its kernel requires.
    Signed(String),
    /// `foreign:<fix>`: a module with the signature of a key that no kernel knows.
    Foreign(String),
    /// `package:<stream>`: package of a stream for Debian, with the module signed as the kernel requires;
    /// `package:unsigned:<stream>`: without a signature.
    Package {
        /// Name of the stream.
        stream: String,
        /// True if the module is signed.
        signed: bool,
    },
    /// `version:<number>:<stream>`: a stream with this version, as the successor of the previous version.
    Version {
        /// The version.
        number: u32,
        /// Name of the stream.
        stream: String,
    },
    /// `without:<option>,...:<fix>`: a fix compiled as if the kernel did not have these options. Stage verify must refuse it.
    Without {
        /// Options of the kernel's configuration, without `CONFIG_`.
        options: Vec<String>,
        /// Name of the fix.
        fix: String,
    },
    /// `shifted:<fix>`: a fix that calls an original, whose thunk leads to a wrong place. Stage verify must refuse it.
    Shifted(String),
    /// `fault:<name>`: one of tests/faults, whose module stage verify must find something in.
    Fault(String),
    /// `damaged:<fix>`: a fix with another byte in the code of its first replacement. Stage verify must refuse it.
    Damaged(String),
    /// `unflagged:<fix>`: a fix whose livepatch relocations have lost the flag that says so. Stage verify must refuse it.
    Unflagged(String),
    /// `copies:<files>:<share>:<seed>`: a module that replaces functions of the kernel by extracted copies of themselves: a share,
    /// in percent, of the functions of so many files.
    Copies {
        /// Number of files.
        files: usize,
        /// Percentage of the functions.
        share: usize,
        /// Seed of the draw.
        seed: u64,
    },
    /// `update:<file>`: what the other source of the kernel's pin changes in a file, as a C diff.
    Update(String),
    /// `corpus:<files>:<seed>`: what the other source changes in so many files, as one module.
    Corpus {
        /// Number of files.
        files: usize,
        /// Seed of the draw.
        seed: u64,
    },
    /// `traceability`: predictions of ftrace's list, see [`crate::predictions()`].
    Traceability,
}

/// Reasons for a missing artifact.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not an artifact.
    #[error("{0}")]
    Grammar(String),
    /// Stage verify accepted a module that it should refuse.
    #[error("{0}: verify should have refused it, and found nothing")]
    NotRefused(Artifact),
    /// The module of the fix has nothing that the change is about.
    #[error("{what}:{fix}: its module has nothing to change so")]
    NothingToChange {
        /// Kind of the artifact.
        what: String,
        /// Name of the fix.
        fix: String,
    },
    /// A build failed.
    #[error(transparent)]
    Build(#[from] klp_pipeline::Error),
    /// The kernel's image cannot be read.
    #[error(transparent)]
    Image(#[from] klp_image::Error),
    /// A module's file cannot be read.
    #[error("{}: {source}", path.display())]
    Module {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the error.
        source: ImageError,
    },
    /// A package cannot be made.
    #[error(transparent)]
    Package(#[from] klp_package::Error),
    /// A child process failed.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file cannot be written durably.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A name is invalid.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Error {
    /// True if this machine lacks a tool, a package or the network. The result of the case is then unknown.
    pub fn is_not_able(&self) -> bool {
        let missing = |error: &process::Error| match error {
            process::Error::Start { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        };
        match self {
            Self::Build(
                klp_pipeline::Error::Process(error)
                | klp_pipeline::Error::Kernel(klp_kernel::Error::Process(error)),
            )
            | Self::Process(error) => missing(error),
            Self::Build(error) => error.is_not_able(),
            _ => false,
        }
    }
}

impl FromStr for Artifact {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "traceability" {
            return Ok(Self::Traceability);
        }
        match text.split_once(':') {
            Some(("module", name)) => Ok(Self::Own(name.parse()?)),
            Some(("out-of-tree", name)) => Ok(Self::OutOfTree(name.parse()?)),
            Some(("signed", fix)) => Ok(Self::Signed(fix.to_owned())),
            Some(("foreign", fix)) => Ok(Self::Foreign(fix.to_owned())),
            Some(("package", rest)) => {
                let unsigned = rest.strip_prefix("unsigned:");
                let stream = unsigned.unwrap_or(rest).to_owned();
                Ok(Self::Package { stream, signed: unsigned.is_none() })
            }
            Some(("update", file)) => Ok(Self::Update(file.to_owned())),
            Some(("copies", rest)) => copies(text, rest),
            Some(("corpus", rest)) => corpus(text, rest),
            Some(("shifted", fix)) => Ok(Self::Shifted(fix.to_owned())),
            Some(("fault", name)) => Ok(Self::Fault(name.to_owned())),
            Some(("damaged", fix)) => Ok(Self::Damaged(fix.to_owned())),
            Some(("unflagged", fix)) => Ok(Self::Unflagged(fix.to_owned())),
            Some(("without", rest)) => {
                let (options, fix) = second(text, rest, "without:OPTION,OPTION:fix")?;
                Ok(Self::Without { options: options.split(',').map(ToOwned::to_owned).collect(), fix })
            }
            Some(("version", rest)) => {
                let (number, stream) = second(text, rest, "version:17:stream")?;
                let number = number
                    .parse()
                    .map_err(|_| Error::Grammar(format!("{text:?}: `{number}` is no number of a version")))?;
                Ok(Self::Version { number, stream })
            }
            Some((kind, _)) => Err(Error::Grammar(format!(
                "{text:?}: there is no kind `{kind}:`; there are module:, out-of-tree:, signed:, shifted:, fault:, damaged:, unflagged:, foreign:, package:, without:, version:, copies:, update:, corpus:"
            ))),
            None => match text.split_once('@') {
                None | Some((_, "verify")) => Ok(Self::Module(text.trim_end_matches("@verify").to_owned())),
                Some((name, "kbuild")) => Ok(Self::Unconverted(name.to_owned())),
                Some((_, stage)) => Err(Error::Grammar(format!(
                    "{text:?}: stage {stage} gives no module; write the name alone, or @kbuild"
                ))),
            },
        }
    }
}

/// Moves the jump into an original by one instruction of arm64. Relocations that lead to the start of a function have addend 0
/// or -4.
fn shift(module: &mut [u8]) -> Option<()> {
    let parsed = klp_module::Module::parse(module).ok()?;
    let relocation = parsed.relocations().find(|r| r.livepatch && r.addend > 0)?;
    let info = ((relocation.symbol as u64) << 32) | u64::from(relocation.kind);
    let head = [relocation.offset.to_le_bytes(), info.to_le_bytes()].concat();
    let addend = relocation.addend;
    let entry = [&head[..], &addend.to_le_bytes()].concat();
    let place = module.windows(entry.len()).position(|window| window == entry)? + head.len();
    module.get_mut(place..place + 8)?.copy_from_slice(&(addend + 4).to_le_bytes());
    klp_module::seal(module);
    Some(())
}

/// Changes a byte in the code of the first replacement, as a damaged disk does it: the digest tells.
fn damage(module: &mut [u8], layout: &KlpLayout) -> Option<()> {
    let parsed = klp_module::Module::parse(module).ok()?;
    let table = parsed.tables(layout).ok()?;
    let (_, function) = table.functions().next()?;
    let code = parsed.sections().get(function.new_function.section)?;
    let whole = code.data.to_vec();
    // Behind the landing pad and the ftrace site.
    let at = usize::try_from(function.new_function.offset).ok()? + 9;
    let start = module.windows(whole.len()).position(|window| window == whole)?;
    // No instruction in 64-bit mode.
    *module.get_mut(start + at)? = 0x06;
    Some(())
}

/// Takes the flag off the sections of livepatch relocations.
fn unflag(module: &mut [u8]) -> Option<()> {
    let number = |module: &[u8], at: usize, size: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes.get_mut(..size)?.copy_from_slice(module.get(at..at + size)?);
        Some(u64::from_le_bytes(bytes))
    };
    let place = |number: u64| usize::try_from(number).ok();
    // Fields of the ELF header: place and number of the section headers, which have 64 bytes each, their flags at byte 8.
    let (headers, count) = (place(number(module, 0x28, 8)?)?, place(number(module, 0x3c, 2)?)?);
    let mut changed = None;
    for header in 0..count {
        let at = headers + header * 64 + 8;
        let flags = number(module, at, 8)?;
        if flags & SHF_RELA_LIVEPATCH != 0 {
            module.get_mut(at..at + 8)?.copy_from_slice(&(flags & !SHF_RELA_LIVEPATCH).to_le_bytes());
            changed = Some(());
        }
    }
    klp_module::seal(module);
    changed
}

/// The artifact `copies:<files>:<share>:<seed>`.
fn copies(text: &str, rest: &str) -> Result<Artifact, Error> {
    let wrong = || Error::Grammar(format!("{text:?} should look like \"copies:80:40:1\""));
    let numbers: Vec<u64> = rest.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let [files, share, seed] = numbers[..] else { return Err(wrong()) };
    match (usize::try_from(files), usize::try_from(share)) {
        (Ok(files), Ok(share)) if files > 0 && (1..=100).contains(&share) => {
            Ok(Artifact::Copies { files, share, seed })
        }
        _ => Err(wrong()),
    }
}

/// The artifact `corpus:<files>:<seed>`.
fn corpus(text: &str, rest: &str) -> Result<Artifact, Error> {
    let numbers =
        rest.split_once(':').and_then(|(files, seed)| Some((files.parse().ok()?, seed.parse().ok()?)));
    match numbers {
        Some((files, seed)) if files > 0 => Ok(Artifact::Corpus { files, seed }),
        _ => Err(Error::Grammar(format!("{text:?} should look like \"corpus:40:1\""))),
    }
}

/// First and second part of `rest`, a part of `text`, around the first colon.
fn second<'a>(text: &str, rest: &'a str, form: &str) -> Result<(&'a str, String), Error> {
    let parts = rest.split_once(':').map(|(first, second)| (first, second.to_owned()));
    parts.ok_or_else(|| Error::Grammar(format!("{text:?} should look like {form:?}")))
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(name) => f.write_str(name),
            Self::Unconverted(name) => write!(f, "{name}@kbuild"),
            Self::Own(name) => write!(f, "module:{name}"),
            Self::OutOfTree(name) => write!(f, "out-of-tree:{name}"),
            Self::Signed(fix) => write!(f, "signed:{fix}"),
            Self::Foreign(fix) => write!(f, "foreign:{fix}"),
            Self::Package { stream, signed: true } => write!(f, "package:{stream}"),
            Self::Package { stream, signed: false } => write!(f, "package:unsigned:{stream}"),
            Self::Shifted(fix) => write!(f, "shifted:{fix}"),
            Self::Fault(name) => write!(f, "fault:{name}"),
            Self::Damaged(fix) => write!(f, "damaged:{fix}"),
            Self::Unflagged(fix) => write!(f, "unflagged:{fix}"),
            Self::Version { number, stream } => write!(f, "version:{number}:{stream}"),
            Self::Without { options, fix } => write!(f, "without:{}:{fix}", options.join(",")),
            Self::Copies { files, share, seed } => write!(f, "copies:{files}:{share}:{seed}"),
            Self::Update(file) => write!(f, "update:{file}"),
            Self::Corpus { files, seed } => write!(f, "corpus:{files}:{seed}"),
            Self::Traceability => f.write_str("traceability"),
        }
    }
}

/// C source of a module of tests/out-of-tree.
fn out_of_tree_source(project: &Project, name: &ObjectName) -> PathBuf {
    project.root().join(format!("tests/out-of-tree/{name}.c"))
}

/// Makes a module of tests/out-of-tree, in `build/<kernel>/.out-of-tree`. Its types are in its DWARF, as of a module that DKMS makes.
///
/// # Errors
/// There is no such module, or it does not compile.
pub fn out_of_tree_module(
    project: &Project,
    tree: &KernelTree,
    name: &ObjectName,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, klp_pipeline::Error> {
    let source = out_of_tree_source(project, name);
    let made = c_module::build_with_debug_info(tree, name, &source, cache, sink)?;
    let dir = project.build_dir(&tree.id, ".out-of-tree");
    make_dir(&dir)?;
    let file = dir.join(format!("{name}.ko"));
    cache::write_durable(&file, &read(&made)?)?;
    Ok(file)
}

/// Makes the modules of tests/out-of-tree that the fixes of a target name in `out_of_tree`.
///
/// # Errors
/// A module does not compile.
pub fn make_out_of_tree(
    project: &Project,
    tree: &KernelTree,
    target: &Target,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<(), klp_pipeline::Error> {
    for name in target.fixes.iter().flat_map(|fix| fix.out_of_tree.keys()) {
        if out_of_tree_source(project, name).is_file() {
            out_of_tree_module(project, tree, name, cache, sink)?;
        }
    }
    Ok(())
}

/// A module's file, what the rules say of it, and the rule that must have found something.
type Judged = (PathBuf, Report, Option<&'static Rule>);

/// Maker of artifacts.
pub struct Maker<'a> {
    /// The project.
    pub project: &'a Project,
    /// The cache of slow work.
    pub cache: &'a Cache,
    /// Receiver of events.
    pub sink: &'a dyn Sink,
}

impl Maker<'_> {
    /// Makes an artifact for a kernel and returns its file.
    ///
    /// # Errors
    /// The build failed, this machine lacks something ([`Error::is_not_able`]), or verify accepted a module that it
    /// should refuse.
    pub fn make(&self, tree: &KernelTree, artifact: &Artifact) -> Result<PathBuf, Error> {
        match artifact {
            Artifact::Module(name) => Ok(self.build(tree, name, Stage::Verify)?.ko),
            Artifact::Unconverted(name) => Ok(self.build(tree, name, Stage::Kbuild)?.unconverted),
            Artifact::Signed(fix) => Ok(self.build(tree, fix, Stage::Sign)?.signed),
            Artifact::Foreign(fix) => self.foreign(tree, fix),
            Artifact::Package { stream, signed } => self.package(tree, stream, *signed),
            Artifact::Own(name) => self.own_module(tree, name),
            Artifact::OutOfTree(name) => {
                Ok(out_of_tree_module(self.project, tree, name, self.cache, self.sink)?)
            }
            Artifact::Version { number, stream } => self.version(tree, *number, stream),
            Artifact::Without { .. }
            | Artifact::Shifted(_)
            | Artifact::Fault(_)
            | Artifact::Damaged(_)
            | Artifact::Unflagged(_) => Ok(self.judged(tree, artifact)?.0),
            Artifact::Copies { files, share, seed } => {
                let draw = crate::copies::draw(*files, *share, *seed);
                Ok(crate::copies::build(self.project, tree, &draw, self.cache, self.sink)?.0.ko)
            }
            Artifact::Update(file) => {
                let corpus = Corpus::of(self.project, tree, self.cache, self.sink)?;
                Ok(corpus.build(file, self.sink)?.ko)
            }
            Artifact::Corpus { files, seed } => {
                let corpus = Corpus::of(self.project, tree, self.cache, self.sink)?;
                Ok(corpus.build_drawn(*files, *seed, self.sink)?.ko)
            }
            Artifact::Traceability => self.predictions(tree),
        }
    }

    /// Modules that a module needs, in the order to load them; empty for artifacts other than `module:<name>`.
    ///
    /// # Errors
    /// The kernel has no such module, or its file cannot be read.
    pub fn needs(&self, tree: &KernelTree, artifact: &Artifact) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        if let Artifact::Own(name) = artifact {
            self.add_needs(tree, name, &mut found)?;
        }
        Ok(found)
    }

    /// Adds the modules that `depends` in a module's file names, each after those that it needs itself.
    fn add_needs(&self, tree: &KernelTree, name: &ObjectName, found: &mut Vec<PathBuf>) -> Result<(), Error> {
        let file = self.own_module(tree, name)?;
        let bytes = read(&file)?;
        let damaged = |error: klp_module::Error| Error::Module {
            path: file.clone(),
            source: ImageError::Damaged(error.to_string()),
        };
        let module = klp_module::Module::parse(&bytes).map_err(damaged)?;
        let depends = module.modinfo_value("depends").unwrap_or_default();
        for name in depends.split(',').filter(|name| !name.is_empty()) {
            let name: ObjectName = name.replace('-', "_").parse()?;
            let file = self.own_module(tree, &name)?;
            if !found.contains(&file) {
                self.add_needs(tree, &name, found)?;
                found.push(file);
            }
        }
        Ok(())
    }

    fn build(&self, tree: &KernelTree, name: &str, to: Stage) -> Result<Built, Error> {
        self.build_target(tree, &self.project.target(name)?, to)
    }

    /// Facts with which a target is verified.
    fn expected(&self, tree: &KernelTree, target: &Target, built: &Built) -> Result<Expected, Error> {
        let Self { project, cache, sink } = *self;
        let project = project.with_modules_of(target, tree)?;
        let source = expected::Source { project: &project, fixes: &target.fixes, tree, cache, sink };
        Ok(expected::of_build(&source, built)?)
    }

    fn build_target(&self, tree: &KernelTree, target: &Target, to: Stage) -> Result<Built, Error> {
        let Self { project, cache, sink } = *self;
        make_out_of_tree(project, tree, target, cache, sink)?;
        let build = Build::of(project, tree, target, cache, sink);
        Ok(build.run(Range { from: None, to })?)
    }

    /// Signs a module with a new key.
    fn foreign(&self, tree: &KernelTree, fix: &str) -> Result<PathBuf, Error> {
        let built = self.build(tree, fix, Stage::Verify)?;
        let dir = self.project.build_dir(&tree.id, ".artifacts").join("foreign");
        make_dir(&dir)?;
        let file = dir.join(format!("{}.ko", built.module));
        let (key, certificate) = (file.with_extension("key"), file.with_extension("crt"));
        process::Cmd::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=unknown", "-keyout"])
            .args([key.as_path(), Path::new("-out"), certificate.as_path()])
            .run()?;
        let signer = Signer::Key { key: SigningKey::File(key), certificate };
        cache::write_durable(&file, &sign::sign(&built.ko, &signer, sign::hash_of(tree)?)?)?;
        Ok(file)
    }

    fn package(&self, tree: &KernelTree, stream: &str, signed: bool) -> Result<PathBuf, Error> {
        let built = self.build(tree, stream, if signed { Stage::Sign } else { Stage::Verify })?;
        let ko = if signed { &built.signed } else { &built.ko };
        let module = PatchModule::load(ko, &tree.release, tree.arch)?;
        let package = Patch::of_module(module, None).packages(Format::Deb, &Origin::default())?;
        let package = package.first().ok_or_else(|| Error::Grammar(format!("{stream} has no package")))?;
        // One name for all versions and kernels: the case reads the path from its variable.
        let name = if signed { "signed.deb" } else { "unsigned.deb" };
        self.keep(tree, &Path::new(stream).join(name), &package.encode()?)
    }

    /// Makes a kernel module, decompressed for the guest's insmod.
    fn own_module(&self, tree: &KernelTree, name: &ObjectName) -> Result<PathBuf, Error> {
        let file = module_file(self.project, tree, name, self.cache, self.sink)?;
        let bytes = read(&file)?;
        let unpacked =
            unpack_module(&bytes).map_err(|source| Error::Module { path: file.clone(), source })?;
        self.keep(tree, Path::new(&format!("{name}.ko")), &unpacked)
    }

    /// Makes a stream with another version. All versions share a build directory; only the changed parts are built
    /// again.
    fn version(&self, tree: &KernelTree, number: u32, stream: &str) -> Result<PathBuf, Error> {
        let mut target = self.project.target(stream)?;
        let no_stream = || Error::Grammar(format!("version:{number}:{stream}: `{stream}` is no stream"));
        let (_, release) = target.version.ok_or_else(no_stream)?;
        target.version = Some((number, release));
        target.predecessor = (number > 1).then(|| (number - 1, release));
        let built = self.build_target(tree, &target, Stage::Verify)?;
        let name = Path::new(stream).join(format!("{}.ko", built.module));
        self.keep(tree, &name, &read(&built.ko)?)
    }

    /// Makes a module that stage verify must find something in, and judges it: a module of an author's fault, or one that was made
    /// wrong. Any other module is judged as a file alone.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn judged(&self, tree: &KernelTree, artifact: &Artifact) -> Result<(PathBuf, Report), Error> {
        let (file, report, rule) = match artifact {
            Artifact::Without { options, fix } => self.without(tree, options, fix)?,
            Artifact::Shifted(fix) => {
                self.changed(tree, fix, ("shifted", &ORIGINAL_SITE), |bytes, _| shift(bytes))?
            }
            Artifact::Damaged(fix) => self.changed(tree, fix, ("damaged", &FILE_DIGEST), damage)?,
            Artifact::Unflagged(fix) => {
                self.changed(tree, fix, ("unflagged", &KLP_RELOCATION), |bytes, _| unflag(bytes))?
            }
            Artifact::Fault(name) => self.fault(tree, name)?,
            _ => self.file_alone(tree, artifact)?,
        };
        let is_meant = |found: &klp_base::events::Finding| rule.is_none_or(|rule| found.rule == rule.id);
        // Some faults are warnings.
        let is_refused = report.refusals() > 0 || matches!(artifact, Artifact::Fault(_));
        if is_refused && report.findings.iter().any(is_meant) {
            return Ok((file, report));
        }
        Err(Error::NotRefused(artifact.clone()))
    }

    fn file_alone(&self, tree: &KernelTree, artifact: &Artifact) -> Result<Judged, Error> {
        let file = self.make(tree, artifact)?;
        let Self { project, cache, sink } = *self;
        let source = expected::Source { project, fixes: &[], tree, cache, sink };
        let bytes = read(&file)?;
        let report = klp_verify::verify(&bytes, &expected::of_file(&source, &bytes, &bytes)?);
        Ok((file, report, None))
    }

    fn without(&self, tree: &KernelTree, options: &[String], fix: &str) -> Result<Judged, Error> {
        let mut without = KernelTree { id: format!("{}-unprotected", tree.id), ..tree.clone() };
        for option in options {
            if !tree.config.is_on(option) {
                let message = format!("{} is built without CONFIG_{option}", tree.id);
                return Err(Error::Grammar(message));
            }
            without.config = without.config.without(option);
        }
        let target = self.project.target(fix)?;
        let built = self.build_target(&without, &target, Stage::Postlink)?;
        let report = klp_verify::verify(&read(&built.ko)?, &self.expected(tree, &target, &built)?);
        Ok((built.ko, report, None))
    }

    /// A fix of tests/faults, without stage verify.
    fn fault(&self, tree: &KernelTree, name: &str) -> Result<Judged, Error> {
        let fix = read_fix(name, &self.project.root().join("tests/faults").join(name))?;
        let target = Target::of_fix(fix);
        let built = self.build_target(tree, &target, Stage::Postlink)?;
        let report = klp_verify::verify(&read(&built.ko)?, &self.expected(tree, &target, &built)?);
        Ok((built.ko, report, None))
    }

    /// The finished module of a fix with a change; `what` is the change, as a part of the file's name, and `rule` must find it.
    fn changed(
        &self,
        tree: &KernelTree,
        fix: &str,
        (what, rule): (&str, &'static Rule),
        change: impl FnOnce(&mut [u8], &KlpLayout) -> Option<()>,
    ) -> Result<Judged, Error> {
        let target = self.project.target(fix)?;
        let built = self.build_target(tree, &target, Stage::Verify)?;
        let expected = self.expected(tree, &target, &built)?;
        let mut bytes = read(&built.ko)?;
        change(&mut bytes, &expected.layout)
            .ok_or_else(|| Error::NothingToChange { what: what.to_owned(), fix: fix.to_owned() })?;
        let report = klp_verify::verify(&bytes, &expected);
        let file = self.keep(tree, Path::new(&format!("{}_{what}.ko", built.module)), &bytes)?;
        Ok((file, report, Some(rule)))
    }

    /// Makes the predictions with a random seed: FERROGRAFT_SEED, or the time.
    fn predictions(&self, tree: &KernelTree) -> Result<PathBuf, Error> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = match std::env::var("FERROGRAFT_SEED") {
            Ok(text) => {
                text.parse().map_err(|_| Error::Grammar(format!("FERROGRAFT_SEED={text} is no number")))?
            }
            Err(_) => now.map_or(0, |time| time.as_secs()),
        };
        let image = KernelImage::load(tree.image_file(), self.cache, self.sink)?;
        self.keep(tree, Path::new("traceability"), crate::predictions(&image, seed).as_bytes())
    }

    /// Writes a file for the guest.
    fn keep(&self, tree: &KernelTree, name: &Path, bytes: &[u8]) -> Result<PathBuf, Error> {
        let file = self.project.build_dir(&tree.id, ".artifacts").join(name);
        make_dir(file.parent().unwrap_or(Path::new("")))?;
        cache::write_durable(&file, bytes)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for text in [
            "peek",
            "peek@kbuild",
            "module:binfmt_misc",
            "out-of-tree:vendor_ring",
            "signed:peek",
            "foreign:peek",
            "package:demo",
            "package:unsigned:demo",
            "version:17:chain",
            "without:X86_KERNEL_IBT,CALL_PADDING:cmdline",
            "shifted:around",
            "fault:const-write",
            "damaged:cmdline",
            "unflagged:peek",
            "copies:80:40:1",
            "update:fs/fcntl.c",
            "traceability",
        ] {
            assert_eq!(text.parse::<Artifact>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_forms_are_named() {
        for (text, message) in [
            ("peek@compile", "stage compile gives no module"),
            ("sined:peek", "no kind `sined:`"),
            ("version:x:chain", "`x` is no number"),
            ("version:17", "should look like"),
            ("without:A", "should look like"),
            ("copies:80:0:1", "should look like"),
            ("copies:80:40", "should look like"),
            ("module:a b", "a b"),
        ] {
            let error = text.parse::<Artifact>().unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_tool_and_a_failure_differ() {
        let missing = || process::Cmd::new("/nonexistent/tool").run().unwrap_err();
        let not_able = || klp_kernel::Error::NotAble { what: "no network".to_owned(), help: String::new() };
        for error in [
            klp_pipeline::Error::from(missing()),
            klp_kernel::Error::from(missing()).into(),
            not_able().into(),
        ] {
            assert!(Error::from(error).is_not_able());
        }
        let failed = process::Cmd::new("false").run().unwrap_err();
        assert!(!Error::from(klp_pipeline::Error::from(failed)).is_not_able());
        assert!(!Error::Grammar("x".to_owned()).is_not_able());
    }
}
