// SPDX-License-Identifier: GPL-2.0-or-later
//! Functions drawn at random from all code of the kernel and of some of its modules. The output of
//! `new-patch` for each function is built.

use std::path::Path;

use klp_base::cache::Cache;
use klp_base::events::{Silent, Sink};
use klp_base::files::io_error;
use klp_base::lots::Lots;
use klp_format::{KlpSymbol, ObjectName, SymbolPosition};
use klp_image::KernelImage;
use klp_kernel::KernelTree;
use klp_pipeline::Error;
use klp_pipeline::build::Build;
use klp_pipeline::objects::Objects;
use klp_pipeline::project::{Project, Target, read_fix};
use klp_pipeline::scaffold;
use klp_pipeline::stage::Range;

use super::structs::largest_modules;
use super::witness::Witness;

/// One of this number of drawn functions is in a module.
const OF_MODULES: usize = 5;
/// Number of large modules from which the modules of a draw are selected.
const MODULES: usize = 20;

/// Outcome of a drawn function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function was built and passed the verifier.
    Built,
    /// The function was rejected.
    Refused {
        /// Short reason.
        reason: &'static str,
        /// Source that confirms the reason.
        confirmed_by: &'static str,
    },
    /// Any other error, with its complete message.
    Failed(String),
}

/// A drawn function.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The function.
    pub symbol: KlpSymbol,
    /// Its outcome.
    pub outcome: Outcome,
}

/// Common inputs of all builds of a draw.
struct Draw<'a> {
    project: &'a Project,
    tree: &'a KernelTree,
    cache: &'a Cache,
    image: KernelImage,
    kernel: Witness,
}

/// Draws `count` functions with `seed`, and builds each.
///
/// # Errors
/// An input of the draw cannot be read. A build error of a function is its outcome, not an error of the draw.
pub fn draw(
    project: &Project,
    tree: &KernelTree,
    cache: &Cache,
    sink: &dyn Sink,
    seed: u64,
    count: usize,
) -> Result<Vec<Drawn>, Error> {
    let image = KernelImage::load(tree.image_file(), cache, sink)?;
    let kernel = Witness::of_kernel(tree, &image)?;
    let draw = Draw { project, tree, cache, image, kernel };
    let mut lots = Lots::new(seed);
    let mut drawn = Vec::new();
    let mut files = largest_modules(tree, cache, sink)?;
    files.truncate(MODULES);
    let of_modules = if files.is_empty() { 0 } else { count / OF_MODULES };
    let vmlinux = ObjectName::new(klp_format::VMLINUX)?;
    let mut code: Vec<String> = draw
        .image
        .symbols
        .iter()
        // Padding symbols before functions are not functions, and there are more of them than functions.
        .filter(|symbol| symbol.is_code() && !symbol.is_padding())
        .map(|symbol| symbol.name.to_owned())
        .collect();
    // Several functions per module, because reading a module takes one second.
    let several = of_modules.div_ceil(4).max(1);
    while drawn.len() < of_modules && !files.is_empty() {
        let file = files.swap_remove(lots.below(files.len()));
        let (object, witness) = draw.module(&file)?;
        let mut code = witness.code();
        code.retain(|name| !name.starts_with("__pfx_") && !name.starts_with("__cfi_"));
        for name in lots.take(&mut code, several.min(of_modules - drawn.len())) {
            drawn.push(draw.one(&object, &name, &witness, sink)?);
        }
    }
    // If the modules have too few functions, the kernel supplies the rest.
    for name in lots.take(&mut code, count - drawn.len()) {
        drawn.push(draw.one(&vmlinux, &name, &draw.kernel, sink)?);
    }
    Ok(drawn)
}

impl Draw<'_> {
    fn module(&self, file: &Path) -> Result<(ObjectName, Witness), Error> {
        let stem = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = stem.split_once(".ko").map_or(stem.as_str(), |(name, _)| name).replace('-', "_");
        Ok((ObjectName::new(&name)?, Witness::of_module(&self.kernel, file)?))
    }

    fn one(
        &self,
        object: &ObjectName,
        name: &str,
        witness: &Witness,
        sink: &dyn Sink,
    ) -> Result<Drawn, Error> {
        let symbol = KlpSymbol::new(object.clone(), name, SymbolPosition(0))?;
        let address = self.image.symbols.named(name).first().map_or(0, |symbol| symbol.address);
        let outcome = match witness.place(name, address) {
            None => Outcome::Failed("the second source has no such symbol".to_owned()),
            Some(place) => match self.build(&symbol) {
                Ok(()) => match witness.allows(name, place) {
                    Ok(()) => Outcome::Built,
                    Err(why) => Outcome::Failed(format!("it was built, though {why}")),
                },
                Err(Error::Symbol { message, .. }) => match witness.confirms(name, place, &message) {
                    Ok((reason, confirmed_by)) => Outcome::Refused { reason, confirmed_by },
                    Err(why) => Outcome::Failed(format!("refused: {message}; but {why}")),
                },
                Err(error) => Outcome::Failed(error.to_string()),
            },
        };
        let said = match &outcome {
            Outcome::Built => "built".to_owned(),
            Outcome::Refused { reason, .. } => format!("refused: {reason}"),
            Outcome::Failed(why) => format!("FAILED: {why}"),
        };
        sink.note(format!("  {symbol}: {said}"));
        Ok(Drawn { symbol, outcome })
    }

    /// An author's first steps: `new-patch`, then `build`.
    fn build(&self, symbol: &KlpSymbol) -> Result<(), Error> {
        let objects = Objects::load(self.project, self.tree, [symbol], self.cache, &Silent)?;
        let dir = tempfile::tempdir().map_err(io_error("make a directory in", &std::env::temp_dir()))?;
        let copies = scaffold::callers_with_copies(self.project, self.tree, symbol, self.cache, &Silent)?;
        scaffold::fill_in(self.project, self.tree, &objects, ("drawn", symbol, &copies), dir.path())?;
        let fix = read_fix("drawn", &dir.path().join("fix"))?;
        let target = Target { name: "drawn".to_owned(), ..Target::of_fix(fix) };
        let build = Build::of(self.project, self.tree, &target, self.cache, &Silent);
        build.run(Range::default()).map(|_| ())
    }
}
