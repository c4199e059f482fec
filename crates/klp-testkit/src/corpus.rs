// SPDX-License-Identifier: GPL-2.0-or-later
//! Published fixes as C diffs. The pin of a kernel may have another version of its source (`packages.other-source`); what that
//! changes in one file is a diff of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;

use klp_base::cache::{Cache, Key, walk};
use klp_base::events::{Event, Silent, Sink};
use klp_base::files::{io_error, read};
use klp_base::lots::Lots;
use klp_base::parallel;
use klp_cdiff::{Diffs, Error as DiffError, Refusal, Replacement};
use klp_format::MODULE_NAME_MAX;
use klp_kernel::c_source::CSource;
use klp_kernel::{KernelTree, Package, Pin};
use klp_pipeline::build::Build;
use klp_pipeline::project::{Project, Target};
use klp_pipeline::source_edit::fix_of_diffs;
use klp_pipeline::stage::{Built, Range, Stage, implementation};
use klp_pipeline::{Error, c_diff};
use serde::{Deserialize, Serialize};

use crate::copies;

/// Rule of a file that the kernel does not have.
const NO_OBJECT: &str = "no-object";

/// Differences between a kernel's source and another version of it.
pub struct Corpus<'a> {
    project: &'a Project,
    tree: &'a KernelTree,
    source: CSource<'a>,
    package: Package,
    other: PathBuf,
    cache: &'a Cache,
}

/// Result of the diff of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It became a live patch, which verify accepts.
    Built {
        /// Replaced functions: `vmlinux:do_exit`.
        replaced: BTreeSet<String>,
    },
    /// The object code does not change.
    Nothing,
    /// Rules refuse it.
    Refused {
        /// Each with file, subject and fault.
        rules: BTreeSet<(String, String)>,
    },
    /// The changed file needs changes of other files, and does not compile.
    NotAlone {
        /// First error of the compiler.
        message: String,
    },
    /// The kernel does not have the file, or it does not compile unchanged.
    NotConfigured,
    /// Anything else: a fault of this project.
    Failed {
        /// The error.
        message: String,
    },
}

impl<'a> Corpus<'a> {
    /// Finds both sources in the cache, or fetches them.
    ///
    /// # Errors
    /// The pin of the kernel has no other source, or a package is unavailable.
    pub fn of(
        project: &'a Project,
        tree: &'a KernelTree,
        cache: &'a Cache,
        sink: &dyn Sink,
    ) -> Result<Self, Error> {
        let pin = Pin::load(&project.kernel_configs(), &tree.id)?;
        let package = pin.other_source()?.clone();
        let source = CSource::of(tree, cache, sink)?;
        let other = source.other(&package, cache, sink)?;
        Ok(Self { project, tree, source, package, other, cache })
    }

    /// Version of the other source.
    pub fn version(&self) -> &str {
        &self.package.version
    }

    /// C files that both sources have and that differ, by their paths from the top.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn files(&self) -> Result<Vec<String>, Error> {
        let names = walk(&self.other)?.into_iter().filter_map(|path| {
            let name = path.strip_prefix(&self.other).ok()?.to_str()?.to_owned();
            let is_code = name.ends_with(".c") && klp_cdiff::is_kernel_code(&name);
            (is_code && self.source.root.join(&name).is_file()).then_some(name)
        });
        Ok(names.collect())
    }

    /// Files in the order of a draw.
    ///
    /// # Errors
    /// As [`Self::files`].
    pub fn drawn(&self, seed: u64) -> Result<Vec<String>, Error> {
        let mut files = self.files()?;
        let count = files.len();
        Ok(Lots::new(seed).take(&mut files, count))
    }

    /// Diff of a file, as text.
    fn diff(&self, file: &str) -> Result<Vec<u8>, Error> {
        let (original, changed) = (read(&self.source.root.join(file))?, read(&self.other.join(file))?);
        Ok(klp_cdiff::unified(file, Some(&original), &changed))
    }

    /// Builds the live patch of a file.
    ///
    /// # Errors
    /// The file is not in both sources, or a stage failed.
    pub fn build(&self, file: &str, sink: &dyn Sink) -> Result<Built, Error> {
        self.build_files(&name_of(file), &[file.to_owned()], sink)
    }

    /// Builds one live patch of `count` files, drawn from those that become live patches.
    ///
    /// # Errors
    /// As [`Self::build`], or there are not as many.
    pub fn build_drawn(&self, count: usize, seed: u64, sink: &dyn Sink) -> Result<Built, Error> {
        let never_left = |name: &String| {
            name.split_once(':').is_some_and(|(_, function)| copies::NEVER_LEFT.contains(&function))
        };
        let mut chosen = Vec::new();
        let files = self.drawn(seed)?;
        let mut rest = files.as_slice();
        while chosen.len() < count && !rest.is_empty() {
            let (next, later) = rest.split_at(rest.len().min(2 * (count - chosen.len())));
            rest = later;
            for (file, outcome) in next.iter().zip(self.outcomes(next, sink)?) {
                let fits =
                    matches!(&outcome, Outcome::Built { replaced } if !replaced.iter().any(never_left));
                if fits && chosen.len() < count {
                    chosen.push(file.clone());
                }
            }
        }
        if chosen.len() < count {
            return Err(Error::Intermediate {
                file: self.other.clone(),
                message: format!(
                    "only {} of its files become live patches, {count} are wanted",
                    chosen.len()
                ),
            });
        }
        self.build_files(&format!("corpus-{count}-{seed}"), &chosen, sink)
    }

    fn build_files(&self, name: &str, files: &[String], sink: &dyn Sink) -> Result<Built, Error> {
        let diffs = files.iter().map(|file| Ok((format!("{}.patch", name_of(file)), self.diff(file)?)));
        let diffs = diffs.collect::<Result<Vec<_>, Error>>()?;
        let description = format!("Published changes of {} files", files.len());
        let dir = self.artifacts().join(name);
        let fix = fix_of_diffs(&dir, (name, &description), &diffs, Some(&module_of(name)))?;
        let target = Target::of_fix(fix);
        let build = Build::of(self.project, self.tree, &target, self.cache, sink);
        build.run(Range { from: None, to: Stage::Verify })
    }

    fn artifacts(&self) -> PathBuf {
        self.project.build_dir(&self.tree.id, ".artifacts")
    }

    /// Builds a live patch of each file, on all processors. Results are kept in the cache.
    ///
    /// # Errors
    /// A file cannot be read or written, or the machine lacks something.
    pub fn outcomes(&self, files: &[String], sink: &dyn Sink) -> Result<Vec<Outcome>, Error> {
        let configured = klp_cdiff::configured(&self.source, files);
        let names: Vec<&str> = configured.iter().map(String::as_str).collect();
        let commands = self.source.commands(&names, self.cache)?;
        let has_command = names.iter().zip(&commands).filter(|(_, command)| command.is_ok());
        let has_command: BTreeSet<&str> = has_command.map(|(name, _)| *name).collect();
        let progress = |done: usize| {
            let (label, total) = (format!("diffs on {}", self.tree.id), Some(files.len() as u64));
            sink.event(&Event::Progress { label, done: done as u64, total });
        };
        parallel::on_all_processors(files.len(), parallel::processors(), &progress, &|number| {
            let file = files.get(number).map_or("", String::as_str);
            if has_command.contains(file) { self.outcome(file) } else { Ok(Outcome::NotConfigured) }
        })
    }

    fn outcome(&self, file: &str) -> Result<Outcome, Error> {
        let diff = self.diff(file)?;
        let key = Key::new("outcome 1").with(&self.tree.fingerprint).with(&diff);
        let key = implementation().into_iter().fold(key, |key, sources| key.with(sources));
        let make = || {
            let outcome = self.try_file(file, &diff)?;
            Ok::<_, Error>(serde_json::to_vec(&outcome).unwrap_or_default())
        };
        let stored = self.cache.small("c-outcome", &name_of(file), &key, make)?;
        serde_json::from_slice(&stored)
            .map_err(|error| Error::Intermediate { file: PathBuf::from(file), message: error.to_string() })
    }

    fn try_file(&self, file: &str, diff: &[u8]) -> Result<Outcome, Error> {
        let name = name_of(file);
        let diffs = Diffs { subject: &name, texts: &[diff], with_rust: false };
        let made = c_diff::build(self.project, self.tree, &diffs, self.cache, &Silent);
        let made = made.and_then(|(_, report)| {
            if report.objects.is_empty() {
                return Ok(Outcome::Nothing);
            }
            self.build(file, &Silent)?;
            let name = |function: &Replacement| format!("{}:{}", function.object, function.symbol);
            Ok(Outcome::Built { replaced: report.replaced.iter().map(name).collect() })
        });
        for dir in [self.artifacts().join(&name), self.project.build_dir(&self.tree.id, &name)] {
            if dir.exists() {
                std::fs::remove_dir_all(&dir).map_err(io_error("remove", &dir))?;
            }
        }
        match made {
            Ok(outcome) => Ok(outcome),
            Err(error) if error.is_not_able() => Err(error),
            Err(error) => Ok(of_error(&error)),
        }
    }
}

/// Outcome of an error.
fn of_error(error: &Error) -> Outcome {
    match error {
        Error::CDiff(DiffError::Refused { refusals, .. })
            if refusals.iter().all(|refusal| refusal.rule == NO_OBJECT) =>
        {
            Outcome::NotConfigured
        }
        Error::CDiff(DiffError::Refused { refusals, .. }) => {
            let rules = refusals.iter().map(|refusal| {
                let Refusal { rule, file, subject, message, .. } = refusal;
                (rule.clone(), format!("{file}: {subject}: {message}"))
            });
            Outcome::Refused { rules: rules.collect() }
        }
        Error::CDiff(DiffError::Compile { with, text, .. }) if !with.is_empty() => {
            Outcome::NotAlone { message: klp_cdiff::first_error(text).to_owned() }
        }
        error => Outcome::Failed { message: klp_base::chain(error) },
    }
}

/// Name of the module of a fix: the end of the fix's name where all of it is too long for the kernel.
fn module_of(fix: &str) -> String {
    const PREFIX: &str = "kpatch_";
    let name = fix.replace('-', "_");
    let start = (PREFIX.len() + name.len()).saturating_sub(MODULE_NAME_MAX);
    format!("{PREFIX}{}", name.get(start..).unwrap_or(&name))
}

/// Name of the fix of a file.
fn name_of(file: &str) -> String {
    let name = file.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    // `xt_DSCP.c` and `xt_dscp.c` are two files.
    let large = if file.bytes().any(|byte| byte.is_ascii_uppercase()) { "-capital" } else { "" };
    format!("update-{name}{large}")
}
