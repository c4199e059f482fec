// SPDX-License-Identifier: GPL-2.0-or-later
//! Published fixes as C diffs: what the next pinned source of a kernel's line changes in one file.

use diffy::DiffOptions;
use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_base::files::{make_dir, read, write};
use klp_kernel::c_source::CSource;
use klp_kernel::{KernelTree, Pin};
use klp_pipeline::Error;
use klp_pipeline::build::Build;
use klp_pipeline::project::{Project, Target, read_fix};
use klp_pipeline::stage::{Built, Range, Stage};

/// Suffix of the id of an older kernel of a line.
const OLDER: &str = "-old";

/// Builds a live patch of the changes in a file from an older kernel to the pinned one of its line: `debian-6.12-old` to
/// `debian-6.12`.
///
/// # Errors
/// The kernel is not an older one, the file does not exist in both sources, or a stage failed.
pub fn build(
    project: &Project,
    tree: &KernelTree,
    file: &str,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Built, Error> {
    let newer = tree.id.strip_suffix(OLDER).ok_or_else(|| klp_kernel::Error::Kernel {
        kernel: tree.id.clone(),
        message: format!("update:{file} is for an older kernel of a line, whose id ends in {OLDER}"),
    })?;
    let newer = Pin::load(&project.kernel_configs(), newer)?.fetch(cache, sink)?;
    let (before, after) = (CSource::of(tree, cache, sink)?, CSource::of(&newer, cache, sink)?);
    let (original, changed) = (read(&before.root.join(file))?, read(&after.root.join(file))?);
    let mut options = DiffOptions::new();
    options.set_original_filename(format!("a/{file}")).set_modified_filename(format!("b/{file}"));
    let diff = options.create_patch_bytes(&original, &changed).to_bytes();
    let name = format!("update-{}", file.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
    let dir = project.build_dir(&tree.id, ".artifacts").join(&name);
    make_dir(&dir)?;
    write(&dir.join("fix.patch"), diff)?;
    let text = format!("description = \"The published changes of {file}\"\ndiff = \"fix.patch\"\n");
    write(&dir.join("patch.toml"), text)?;
    let target = Target::of_fix(read_fix(&name, &dir)?);
    let build = Build { project, tree, target: &target, given: None, signer: None, cache, sink };
    build.run(Range { from: None, to: Stage::Verify })
}
