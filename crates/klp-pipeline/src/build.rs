// SPDX-License-Identifier: GPL-2.0-or-later
//! A build: the stages of `STEPS` in order. Each has a numbered directory with one log and one completion
//! stamp. A stage runs only if its key changed; the key is a hash of its inputs and of its implementation.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use klp_base::cache::{self, Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, make_dir, read, write};
use klp_cdiff::{Diffs, Report};
use klp_image::DebugCopies;
use klp_kernel::host::rustc::Rustc;
use klp_kernel::{KernelTree, Pin, kbuild::check_path, sites_of};

use crate::error::Error;
use crate::objects::Objects;
use crate::part::{self, ModulePart};
use crate::project::{Project, Runtime, Target};
use crate::resolved::Resolved;
use crate::sign::Signer;
use crate::stage::{Built, CDIFF_SOURCES, CRATES_DIR, Range, Stage, VERIFY_SOURCES, WORK_SOURCES};
use crate::{bindings, c_diff, compile, expected, kbuild, postlink, resolve, sign};

/// One stage: its key and its work.
struct Step {
    stage: Stage,
    /// Hash of the implementation.
    sources: &'static str,
    /// Hash of the inputs.
    key: fn(&Work<'_>) -> Result<Key, Error>,
    /// Implementation of the stage; writes into the stage's empty directory.
    run: fn(&Work<'_>, &Path) -> Result<(), Error>,
    /// Files of the result that later stages read; `@` stands for the module's name. The cache keeps them for other
    /// checkouts, because the stage is slow. Empty for a fast stage.
    kept: &'static [&'static str],
}

/// All stages in order.
const STEPS: [Step; 7] = [
    Step { stage: Stage::Resolve, sources: WORK_SOURCES, key: resolve_key, run: run_resolve, kept: &[] },
    Step { stage: Stage::Bindings, sources: WORK_SOURCES, key: bindings_key, run: run_bindings, kept: &[] },
    Step {
        stage: Stage::Compile,
        sources: WORK_SOURCES,
        key: compile_key,
        run: run_compile,
        kept: &["module.o", "module.rs"],
    },
    Step {
        stage: Stage::Kbuild,
        sources: WORK_SOURCES,
        key: kbuild_key,
        run: run_kbuild,
        kept: &["@.ko", kbuild::SHIM_SYMBOLS],
    },
    Step { stage: Stage::Postlink, sources: WORK_SOURCES, key: postlink_key, run: run_postlink, kept: &[] },
    Step { stage: Stage::Verify, sources: VERIFY_SOURCES, key: verify_key, run: run_verify, kept: &[] },
    Step { stage: Stage::Sign, sources: WORK_SOURCES, key: sign_key, run: run_sign, kept: &[] },
];

/// Kind of the cache's entries with results of stages.
const KIND: &str = "stage";

/// A build of one target for one kernel.
pub struct Build<'a> {
    /// The project.
    pub project: &'a Project,
    /// The kernel.
    pub tree: &'a KernelTree,
    /// The fix or stream.
    pub target: &'a Target,
    /// Result that stands for the C diffs of the fixes, for modules with copies of functions.
    pub given: Option<&'a (PathBuf, Report)>,
    /// Signer for stage sign. `None`: the key from the build of the kernel.
    pub signer: Option<&'a Signer>,
    /// Cache of slow operations.
    pub cache: &'a Cache,
    /// Receiver of events.
    pub sink: &'a dyn Sink,
}

impl<'a> Build<'a> {
    /// A build without given C diffs and without a signer.
    pub fn of(
        project: &'a Project,
        tree: &'a KernelTree,
        target: &'a Target,
        cache: &'a Cache,
        sink: &'a dyn Sink,
    ) -> Self {
        Self { project, tree, target, given: None, signer: None, cache, sink }
    }

    /// Runs the stages of `range`.
    ///
    /// # Errors
    /// A stage failed. It is not marked as completed and runs again in the next build.
    pub fn run(&self, range: Range) -> Result<Built, Error> {
        let dir = self.project.build_dir(&self.tree.id, &self.target.name);
        check_path("the build directory", &dir, "move the checkout to another path")?;
        make_dir(&dir)?;
        let _lock = cache::lock(&dir.join(".lock"))?;
        let rustc = Rustc::find(self.cache)?;
        self.check_runtime(&rustc)?;
        let (objects, resolved, diffs) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let diff_dir = dir.join(Stage::Resolve.dir_name());
        let work = Work { build: self, dir, diff_dir, range, rustc, objects, resolved, diffs };
        for step in STEPS.iter().filter(|step| step.stage <= range.to) {
            work.run(step)?;
            if step.stage == Stage::Resolve {
                work.note_asserted()?;
            }
        }
        work.built()
    }

    /// Checks that a kernel for fixes on the `kernel` crate has that crate, compiled by the same rustc.
    fn check_runtime(&self, rustc: &Rustc) -> Result<(), Error> {
        if self.target.runtime() == Runtime::Klp {
            return Ok(());
        }
        if !self.tree.has_kernel_crate() {
            return Err(self.lacks_kernel_crate());
        }
        match &self.tree.toolchain.rust {
            Some(version) => Ok(rustc.must_be(version, &self.tree.id)?),
            None => Ok(()),
        }
    }

    fn lacks_kernel_crate(&self) -> Error {
        let configs = self.project.kernel_configs();
        let pins = self.project.kernel_ids().into_iter().filter_map(|id| Pin::load(&configs, &id).ok());
        let with: Vec<String> = pins.filter(Pin::has_kernel_crate).map(|pin| pin.id).collect();
        klp_kernel::Error::Kernel {
            kernel: self.tree.id.clone(),
            message: format!(
                "`{}` has runtime = \"kernel\", and this kernel has no `kernel` crate (CONFIG_RUST); of the pinned ones {} {}",
                self.target.name,
                if with.is_empty() { "none".to_owned() } else { with.join(", ") },
                if with.len() > 1 { "have it" } else { "has it" },
            ),
        }
        .into()
    }
}

/// State of a running build.
struct Work<'a> {
    build: &'a Build<'a>,
    dir: PathBuf,
    /// Directory with the object files of C diffs.
    diff_dir: PathBuf,
    range: Range,
    rustc: Rustc,
    objects: OnceCell<Objects>,
    resolved: OnceCell<Resolved>,
    /// Results of the fixes' C diffs: name of the fix, directory and report.
    diffs: OnceCell<Vec<Diff>>,
}

/// Result of the C diffs of a fix: name of the fix, directory and report.
type Diff = (String, (PathBuf, Report));

impl Work<'_> {
    /// Runs one stage, unless its stamp shows completion with the same key.
    fn run(&self, step: &Step) -> Result<(), Error> {
        let out = self.dir(step.stage);
        let stamp = out.join("stamp");
        let key = (step.key)(self)?.with(step.sources);
        let wanted = key.hex();
        stage(self.build.sink, step.stage.name(), &self.build.target.name, || {
            let forced = self.range.forces(step.stage);
            if !forced && std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
                return Ok((StageEnd::Unchanged, ()));
            }
            if out.exists() {
                std::fs::remove_dir_all(&out).map_err(io_error("remove", &out))?;
            }
            make_dir(&out)?;
            let end = if !forced && self.restore(step, &key, &out)? {
                StageEnd::Cached
            } else {
                (step.run)(self, &out)?;
                self.keep(step, &key, &out)?;
                StageEnd::Done
            };
            cache::write_durable(&stamp, wanted.as_bytes())?;
            Ok((end, ()))
        })
    }

    /// Names of the files that the cache keeps.
    fn kept(&self, step: &Step) -> Result<Vec<String>, Error> {
        let module = &self.resolved()?.module;
        Ok(step.kept.iter().map(|name| name.replace('@', module)).collect())
    }

    /// Name of a stage's entries in the cache.
    fn label(&self, step: &Step) -> String {
        format!("{}-{}-{}", self.build.target.name, self.build.tree.id, step.stage.name())
    }

    /// Copies the result of a stage with the same key, which a build in any checkout has left in the cache. Returns
    /// false if there is none.
    fn restore(&self, step: &Step, key: &Key, out: &Path) -> Result<bool, Error> {
        let found =
            if step.kept.is_empty() { None } else { self.build.cache.find(KIND, &self.label(step), key) };
        let Some(entry) = found else { return Ok(false) };
        for name in self.kept(step)? {
            std::fs::copy(entry.join(&name), out.join(&name))
                .map_err(io_error("copy", &entry.join(&name)))?;
        }
        Ok(true)
    }

    /// Puts the result of a stage into the cache.
    fn keep(&self, step: &Step, key: &Key, out: &Path) -> Result<(), Error> {
        if step.kept.is_empty() {
            return Ok(());
        }
        let names = self.kept(step)?;
        self.build.cache.entry(KIND, &self.label(step), key, |dir| {
            for name in &names {
                std::fs::copy(out.join(name), dir.join(name)).map_err(io_error("copy", &out.join(name)))?;
            }
            Ok::<_, Error>(())
        })?;
        Ok(())
    }

    /// Directory of a stage.
    fn dir(&self, stage: Stage) -> PathBuf {
        self.dir.join(stage.dir_name())
    }

    /// The kernel and its modules. They are read at the first call, because most builds do not need them.
    fn objects(&self) -> Result<&Objects, Error> {
        if let Some(objects) = self.objects.get() {
            return Ok(objects);
        }
        let Build { project, tree, target, cache, sink, .. } = self.build;
        let project = project.with_modules_of(target, tree)?;
        let mut names = target.objects();
        for (_, (_, report)) in self.diffs()? {
            names.extend(c_diff::objects(report)?);
        }
        let objects = Objects::of(&project, tree, &names, cache, *sink)?;
        Ok(self.objects.get_or_init(|| objects))
    }

    /// Results of the fixes' C diffs.
    fn diffs(&self) -> Result<&[Diff], Error> {
        if let Some(diffs) = self.diffs.get() {
            return Ok(diffs);
        }
        let Build { project, tree, target, cache, sink, .. } = self.build;
        let mut diffs = Vec::new();
        for fix in target.fixes.iter().filter(|fix| !fix.diffs.is_empty()) {
            if let Some(given) = self.build.given {
                diffs.push((fix.name.clone(), given.clone()));
                continue;
            }
            let texts = fix.diffs.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
            let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let given = Diffs { subject: &fix.name, texts: &texts, with_rust: !fix.is_diff_alone() };
            let built = c_diff::build(project, tree, &given, cache, *sink)?;
            diffs.push((fix.name.clone(), built));
        }
        Ok(self.diffs.get_or_init(|| diffs))
    }

    /// The result of stage resolve.
    fn resolved(&self) -> Result<&Resolved, Error> {
        if let Some(resolved) = self.resolved.get() {
            return Ok(resolved);
        }
        let resolved = Resolved::read(&self.dir)?;
        Ok(self.resolved.get_or_init(|| resolved))
    }

    fn built(&self) -> Result<Built, Error> {
        Ok(Built::of(self.dir.clone(), &self.resolved()?.module))
    }

    /// Reports the unchecked prototypes.
    fn note_asserted(&self) -> Result<(), Error> {
        for (symbol, text) in self.resolved()?.asserted() {
            self.build.sink.note(format!("{symbol}: `{text}` is the author's word, which nothing checks"));
        }
        Ok(())
    }

    /// Object file of stage compile.
    fn object(&self) -> PathBuf {
        self.dir(Stage::Compile).join("module.o")
    }

    /// Parts of the module.
    fn parts(&self) -> Result<Vec<ModulePart>, Error> {
        let (sources, diffs) = (self.dir(Stage::Bindings), self.dir(Stage::Resolve));
        compile::parts(self.build.target, self.resolved()?, &sources, &diffs)
    }

    /// C source of the shims, from stage bindings.
    fn shims(&self) -> PathBuf {
        self.dir(Stage::Bindings).join("shims.c")
    }

    fn inputs<'a>(&'a self, sources: &'a Path, crates: &'a Path) -> Result<compile::Inputs<'a>, Error> {
        let Build { project, tree, target, .. } = self.build;
        Ok(compile::Inputs {
            tree,
            project,
            target,
            resolved: self.resolved()?,
            rustc: &self.rustc,
            sources,
            diffs: &self.diff_dir,
            crates,
        })
    }
}

fn resolve_key(work: &Work<'_>) -> Result<Key, Error> {
    let Build { project, tree, target, cache, .. } = work.build;
    let mut key = Key::new("resolve").with(&tree.fingerprint).with(format!("{target:?}")).with(CDIFF_SOURCES);
    // The index of the debug information knows copies that the source does not show.
    key = key.with([u8::from(DebugCopies::is_at_hand(tree.debug_file(Path::new("")), cache))]);
    for file in target.fixes.iter().flat_map(|fix| &fix.diffs) {
        key = key.with_file(file)?;
    }
    let project = project.with_modules_of(target, tree)?;
    for source in target.objects().iter().filter_map(|object| project.module_source(object)) {
        key = key.with_file(source.path())?;
    }
    Ok(key)
}

fn run_resolve(work: &Work<'_>, out: &Path) -> Result<(), Error> {
    let diffs = work.diffs()?.iter().map(|(fix, built)| c_diff::resolve(fix, built, out));
    let diffs = diffs.collect::<Result<Vec<_>, _>>()?;
    let Build { project, tree, target, cache, sink, .. } = work.build;
    let mut resolved = resolve::resolve(tree, work.objects()?, target, diffs)?;
    let project = project.with_modules_of(target, tree)?;
    for function in &mut resolved.functions {
        function.copies = Some(c_diff::inlined(&project, tree, &function.symbol, cache, *sink)?);
    }
    resolved.write(out)
}

fn bindings_key(work: &Work<'_>) -> Result<Key, Error> {
    bindings::key(work.build.tree, work.build.target, work.resolved()?)
}

fn run_bindings(work: &Work<'_>, out: &Path) -> Result<(), Error> {
    let Build { tree, target, cache, sink, .. } = work.build;
    let made = bindings::generate(tree, work.objects()?, target, work.resolved()?, cache, *sink)?;
    make_dir(&out.join("replaced"))?;
    write(&out.join("bindings.rs"), made.bindings)?;
    write(&out.join("shims.c"), made.shims)?;
    for (fix, text) in made.replaced {
        write(&out.join(format!("replaced/{fix}.rs")), text)?;
    }
    for fix in target.fixes.iter().filter(|fix| fix.is_diff_alone()) {
        let file = fix.compiled_source(out);
        make_dir(&out.join("fixes"))?;
        write(&file, c_diff::CRATE)?;
    }
    Ok(())
}

fn compile_key(work: &Work<'_>) -> Result<Key, Error> {
    let Build { project, tree, target, .. } = work.build;
    let sources = work.dir(Stage::Bindings);
    let mut key = compile::key(tree, project, target, &work.rustc)?
        .with(work.resolved()?.to_json())
        .with_file(&sources.join("bindings.rs"))?;
    for fix in &target.fixes {
        key = key.with_file(&sources.join(format!("replaced/{}.rs", fix.name)))?;
    }
    Ok(key)
}

fn run_compile(work: &Work<'_>, out: &Path) -> Result<(), Error> {
    let (sources, crates) = (work.dir(Stage::Bindings), work.dir.join(CRATES_DIR));
    if work.range.forces(Stage::Compile) && crates.exists() {
        std::fs::remove_dir_all(&crates).map_err(io_error("remove", &crates))?;
    }
    compile::compile(&work.inputs(&sources, &crates)?, out, work.build.cache, work.build.sink)?;
    Ok(())
}

fn kbuild_key(work: &Work<'_>) -> Result<Key, Error> {
    let key = Key::new("kbuild").with(&work.build.tree.fingerprint).with(work.resolved()?.to_json());
    let inlines = work.build.target.fixes.iter().map(|fix| fix.imports.inlines.join(","));
    let mut key = inlines.fold(key, Key::with).with_file(&work.object())?.with_file(&work.shims())?;
    for file in cache::walk(&work.build.project.own_shims())? {
        key = key.with_file(&file)?;
    }
    Ok(key)
}

fn run_kbuild(work: &Work<'_>, out: &Path) -> Result<(), Error> {
    let tree = work.build.tree;
    let inlines =
        work.build.target.fixes.iter().flat_map(|fix| &fix.imports.inlines).map(String::as_str).collect();
    let inputs = kbuild::Inputs {
        tree,
        inlines: &inlines,
        module: &work.resolved()?.module,
        parts: &work.parts()?,
        object: &work.object(),
        own_shims: &work.build.project.own_shims(),
        unexported: &|name| resolve::unexported(tree, work.objects()?, name),
    };
    kbuild::link(&inputs, out)?;
    Ok(())
}

fn postlink_key(work: &Work<'_>) -> Result<Key, Error> {
    let tree = work.build.tree;
    let key = Key::new("postlink").with(work.resolved()?.to_json()).with_file(&work.built()?.unconverted)?;
    let key = key.with_file(&work.dir(Stage::Kbuild).join(kbuild::SHIM_SYMBOLS))?;
    Ok(key.with(format!("{:?}", sites_of(tree.arch, &tree.config))))
}

fn run_postlink(work: &Work<'_>, _: &Path) -> Result<(), Error> {
    let (tree, built) = (work.build.tree, work.built()?);
    let bytes = read(&built.unconverted)?;
    let parts = work.parts()?;
    let symbols = postlink::Symbols {
        of_parts: part::symbols(&parts).collect(),
        of_shims: &kbuild::shim_symbols(&work.dir(Stage::Kbuild))?,
    };
    let finished = postlink::convert(&bytes, &symbols, sites_of(tree.arch, &tree.config));
    let failed = |message: String| Error::Postlink { module: built.unconverted.clone(), message };
    let mut finished = finished.map_err(|error| failed(error.to_string()))?;
    if !klp_module::seal(&mut finished) {
        return Err(failed("it has no place for the digest of the file".to_owned()));
    }
    write(&built.ko, finished)?;
    write(&built.debug, bytes)?;
    Ok(())
}

fn verify_key(work: &Work<'_>) -> Result<Key, Error> {
    let key = Key::new("verify").with(&work.build.tree.fingerprint).with(work.resolved()?.to_json());
    // This crate collects the facts that the rules compare with.
    Ok(key.with(WORK_SOURCES).with_file(&work.built()?.ko)?)
}

fn run_verify(work: &Work<'_>, _: &Path) -> Result<(), Error> {
    let Built { ko, debug, .. } = work.built()?;
    let Build { project, tree, target, cache, sink, .. } = *work.build;
    let project = project.with_modules_of(target, tree)?;
    let bytes = read(&ko)?;
    let source = expected::Source { project: &project, fixes: &target.fixes, tree, cache, sink };
    let expected = expected::of_resolved(&source, work.resolved()?, &bytes, &read(&debug)?)?;
    let report = klp_verify::verify(&bytes, &expected);
    Ok(klp_verify::refuse_errors(&ko, &report, work.build.sink)?)
}

fn sign_key(work: &Work<'_>) -> Result<Key, Error> {
    let Build { tree, signer, .. } = work.build;
    let key = Key::new("sign").with(sign::hash_of(tree)?.to_string());
    Ok(Signer::of(tree, *signer)?.add_to(key)?.with_file(&work.built()?.ko)?)
}

fn run_sign(work: &Work<'_>, _: &Path) -> Result<(), Error> {
    let (Build { tree, signer, .. }, built) = (work.build, work.built()?);
    let signed = sign::sign(&built.ko, &*Signer::of(tree, *signer)?, sign::hash_of(tree)?)?;
    Ok(write(&built.signed, signed)?)
}
