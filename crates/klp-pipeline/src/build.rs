// SPDX-License-Identifier: GPL-2.0-or-later
//! The stages in their order: each in a numbered directory of its own, with one log and one completion stamp. A stage
//! whose inputs did not change is not run again.

use std::path::{Path, PathBuf};

use klp_base::cache::{self, Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, make_dir, read, write};
use klp_kernel::host::rustc::Rustc;
use klp_kernel::{KernelTree, Pin};

use crate::compile;
use crate::error::Error;
use crate::objects::Objects;
use crate::project::{Language, Project, Target};
use crate::resolve::{self, Resolved};
use crate::{bindings, expected, kbuild, postlink};

/// A stage of the way.
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
    /// The finished module judged against the kernel.
    Verify,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 6] =
        [Self::Resolve, Self::Bindings, Self::Compile, Self::Kbuild, Self::Postlink, Self::Verify];

    /// The name that `--from` and `--to` take.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Bindings => "bindings",
            Self::Compile => "compile",
            Self::Kbuild => "kbuild",
            Self::Postlink => "postlink",
            Self::Verify => "verify",
        }
    }

    /// Name of its directory.
    pub fn dir_name(self) -> String {
        format!("{}-{}", self as u8 + 1, self.name())
    }
}

impl std::str::FromStr for Stage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = || Self::ALL.iter().map(|stage| stage.name().to_owned()).collect();
        let found = Self::ALL.into_iter().find(|stage| stage.name() == text);
        found.ok_or_else(|| {
            klp_kernel::Error::Unknown { what: "stage", name: text.to_owned(), known: known() }.into()
        })
    }
}

/// Which stages to run.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Runs this stage and those after it even where nothing changed.
    pub from: Option<Stage>,
    /// Stops after this stage.
    pub to: Stage,
}

impl Default for Range {
    fn default() -> Self {
        Self { from: None, to: Stage::Verify }
    }
}

/// What a build made.
#[derive(Clone, Debug)]
pub struct Built {
    /// Name of the module.
    pub module: String,
    /// Directory of the build, with the stages' directories.
    pub dir: PathBuf,
    /// The module as kbuild made it, with debug information, not converted.
    pub unconverted: PathBuf,
    /// The finished module.
    pub ko: PathBuf,
    /// What debuggers want, beside it.
    pub debug: PathBuf,
}

/// A build of one target for one kernel.
pub struct Build<'a> {
    /// The project.
    pub project: &'a Project,
    /// The kernel.
    pub tree: &'a KernelTree,
    /// The fix or stream.
    pub target: &'a Target,
    /// Where slow work is kept.
    pub cache: &'a Cache,
    /// Who is told.
    pub sink: &'a dyn Sink,
}

impl Build<'_> {
    /// Runs the stages of `range`.
    ///
    /// # Errors
    /// A stage failed; nothing of it is taken for finished.
    pub fn run(&self, range: Range) -> Result<Built, Error> {
        let dir = self.project.build_dir(&self.tree.id, &self.target.name);
        klp_kernel::kbuild::check_path("the build directory", &dir, "move the checkout to another path")?;
        make_dir(&dir)?;
        let _lock = cache::lock(&dir.join(".lock"))?;
        let rustc = Rustc::find(self.cache)?;
        self.check_language(&rustc)?;
        let named = self.target.objects();
        let image = std::cell::OnceCell::new();
        let load_objects = || -> Result<&Objects, Error> {
            if image.get().is_none() {
                let _ = image.set(Objects::of(self.project, self.tree, &named, self.cache, self.sink)?);
            }
            image.get().ok_or_else(|| {
                klp_image::Error::Image { path: self.tree.image.clone(), message: "was not read".to_owned() }
                    .into()
            })
        };
        let run = |at: Stage, key: Key, work: &dyn Fn(&Path) -> Result<(), Error>| {
            self.stage(&dir, at, key, range, work)
        };
        let path = |stage: Stage, name: &str| dir.join(stage.dir_name()).join(name);

        let json = path(Stage::Resolve, "resolved.json");
        let inputs = Key::new("resolve").with(&self.tree.fingerprint).with(format!("{:?}", self.target));
        let mut inputs = inputs;
        for source in named.iter().filter_map(|object| self.project.target_module(object)) {
            inputs = inputs.with_file(&source)?;
        }
        run(Stage::Resolve, inputs, &|out| {
            let resolved = resolve::resolve(self.tree, load_objects()?, self.target)?;
            Ok(write(&out.join("resolved.json"), resolved.to_json())?)
        })?;
        let resolved: Resolved = serde_json::from_slice(&read(&json)?)
            .map_err(|error| Error::Intermediate { file: json.clone(), message: error.to_string() })?;
        for (symbol, text) in resolved.asserted() {
            self.sink.note(format!("{symbol}: `{text}` is the author's word, which nothing checks"));
        }
        let module = resolved.module.clone();
        let built = Built {
            unconverted: path(Stage::Kbuild, &format!("{module}.ko")),
            ko: path(Stage::Postlink, &format!("{module}.ko")),
            debug: path(Stage::Postlink, &format!("{module}.ko.debug")),
            module,
            dir: dir.clone(),
        };
        if range.to == Stage::Resolve {
            return Ok(built);
        }

        let sources = dir.join(Stage::Bindings.dir_name());
        run(Stage::Bindings, bindings::key(self.tree, self.target, &resolved)?, &|out| {
            let made = bindings::generate(
                self.tree,
                load_objects()?,
                self.target,
                &resolved,
                self.cache,
                self.sink,
            )?;
            make_dir(&out.join("replaced"))?;
            write(&out.join("bindings.rs"), made.bindings)?;
            write(&out.join("shims.c"), made.shims)?;
            for (fix, text) in made.replaced {
                write(&out.join(format!("replaced/{fix}.rs")), text)?;
            }
            Ok(())
        })?;
        if range.to == Stage::Bindings {
            return Ok(built);
        }

        let mut inputs = compile::key(self.tree, self.project, self.target, &rustc)?
            .with(resolved.to_json())
            .with_file(&sources.join("bindings.rs"))?;
        for fix in &self.target.fixes {
            inputs = inputs.with_file(&sources.join(format!("replaced/{}.rs", fix.name)))?;
        }
        let crates = dir.join(".crates");
        if range.from.is_some_and(|from| Stage::Compile >= from) && crates.exists() {
            std::fs::remove_dir_all(&crates).map_err(io_error("remove", &crates))?;
        }
        run(Stage::Compile, inputs, &|out| {
            let inputs = compile::Inputs {
                tree: self.tree,
                project: self.project,
                target: self.target,
                resolved: &resolved,
                rustc: &rustc,
                sources: &sources,
                crates: &crates,
            };
            compile::compile(&inputs, out, self.cache, self.sink).map(|_| ())
        })?;
        if range.to == Stage::Compile {
            return Ok(built);
        }

        let object = path(Stage::Compile, "module.o");
        let shims = sources.join("shims.c");
        let inputs = Key::new("kbuild").with(&self.tree.fingerprint).with(resolved.to_json());
        let inputs = inputs.with_file(&object)?.with_file(&shims)?;
        run(Stage::Kbuild, inputs, &|out| {
            kbuild::link(self.tree, &resolved, &object, &shims, out).map(|_| ())
        })?;
        if range.to == Stage::Kbuild {
            return Ok(built);
        }

        let sites = klp_kernel::sites_of(self.tree.arch, &self.tree.config);
        let inputs = Key::new("postlink").with(resolved.to_json()).with_file(&built.unconverted)?;
        let inputs = inputs.with(format!("{sites:?}"));
        run(Stage::Postlink, inputs, &|out| {
            let bytes = read(&built.unconverted)?;
            let finished = postlink::convert(&bytes, &resolved, sites).map_err(|error| Error::Postlink {
                module: built.unconverted.clone(),
                message: error.to_string(),
            })?;
            write(&out.join(format!("{}.ko", built.module)), finished)?;
            Ok(write(&out.join(format!("{}.ko.debug", built.module)), bytes)?)
        })?;
        if range.to == Stage::Postlink {
            return Ok(built);
        }

        let inputs =
            Key::new("verify").with(&self.tree.fingerprint).with(resolved.to_json()).with_file(&built.ko)?;
        run(Stage::Verify, inputs, &|_| {
            let expected = expected::of_resolved(self.tree, &resolved);
            let report = klp_verify::verify(&read(&built.ko)?, &expected);
            Ok(klp_verify::refuse_errors(&built.ko, &report, self.sink)?)
        })?;
        Ok(built)
    }

    /// Whether the kernel has what the fixes are written on, made by this very compiler.
    fn check_language(&self, rustc: &Rustc) -> Result<(), Error> {
        if self.target.language() == Language::Core {
            return Ok(());
        }
        if !self.tree.has_kernel_crate() {
            let pins = self
                .project
                .kernel_ids()
                .into_iter()
                .filter_map(|id| Pin::load(&self.project.kernel_configs(), &id).ok());
            let with: Vec<String> = pins.filter(Pin::has_kernel_crate).map(|pin| pin.id).collect();
            return Err(klp_kernel::Error::Kernel {
                kernel: self.tree.id.clone(),
                message: format!(
                    "`{}` has language = \"kernel\", and this kernel has no `kernel` crate (CONFIG_RUST); of the pinned ones {} {}",
                    self.target.name,
                    if with.is_empty() { "none".to_owned() } else { with.join(", ") },
                    if with.len() > 1 { "have it" } else { "has it" },
                ),
            }.into());
        }
        match &self.tree.toolchain.rust {
            Some(version) => Ok(rustc.must_be(version, &self.tree.id)?),
            None => Ok(()),
        }
    }

    /// Runs one stage, unless its stamp says that it was completed with the same inputs.
    fn stage(
        &self,
        dir: &Path,
        at: Stage,
        key: Key,
        range: Range,
        work: &dyn Fn(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let out = dir.join(at.dir_name());
        let stamp = out.join("stamp");
        // What another build of this program made may differ for the same inputs.
        let wanted = key.with(program_id()?).hex();
        stage(self.sink, at.name(), &self.target.name, || {
            let forced = range.from.is_some_and(|from| at >= from);
            if !forced && std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
                return Ok((StageEnd::Unchanged, ()));
            }
            if out.exists() {
                std::fs::remove_dir_all(&out).map_err(io_error("remove", &out))?;
            }
            make_dir(&out)?;
            work(&out)?;
            cache::write_durable(&stamp, wanted.as_bytes())?;
            Ok((StageEnd::Done, ()))
        })
    }
}

/// Hash of this program.
pub(crate) fn program_id() -> Result<String, Error> {
    static ID: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id.clone());
    }
    let id = cache::sha256_file(Path::new("/proc/self/exe"))?;
    Ok(ID.get_or_init(|| id).clone())
}
