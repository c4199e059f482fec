// SPDX-License-Identifier: GPL-2.0-or-later
//! Cost of `check` of a module's file, and of the tools that answer a part of its questions.

use std::time::Duration;

use anyhow::{Context as _, Result};
use klp_base::cache::Cache;
use klp_base::process::Cmd;
use klp_image::KernelImage;
use klp_pipeline::stage::Range;

use super::{cdiff, median};
use crate::context::{Context, DEFAULT_KERNEL};

/// Fix whose module is checked.
const FIX: &str = "peek";
/// Kinds of cache entries with what a check needs of a kernel's image.
const KINDS: [&str; 2] = ["image", "calls"];

pub(super) fn run(context: &Context, runs: usize) -> Result<()> {
    let tree = context.kernel(DEFAULT_KERNEL)?;
    let module = context.build(&tree, FIX, Range::default())?.ko;
    let program = std::env::current_exe()?;
    let check = |cache: &Cache| -> Result<Duration> {
        let cmd = Cmd::new(&program).arg("check").arg(&module).args(["--kernel", DEFAULT_KERNEL]);
        Ok(cmd.env("FERROGRAFT_CACHE", cache.root()).run()?.cpu)
    };
    let btf = KernelImage::btf_file(tree.image_file(), &context.cache, &context.terminal)?;
    let cpu = |cmd: Cmd| -> Result<Duration> { Ok(cmd.run()?.cpu) };
    check(&context.cache)?;
    let (mut cold, mut warm, mut readelf, mut pahole) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let dir = tempfile::tempdir_in(context.cache.root()).context("no place for an empty cache")?;
        cold.push(check(&cdiff::without(&context.cache, &KINDS, &dir.path().join("cold"))?)?);
        warm.push(check(&context.cache)?);
        readelf.push(cpu(Cmd::new("readelf").args(["-aW"]).arg(&module))?);
        pahole.push(cpu(Cmd::new("pahole").args(["-C", "klp_func"]).arg(&btf))?);
    }
    println!(
        "check of a module's file ({DEFAULT_KERNEL}, {runs} rounds, CPU seconds with all children, medians):"
    );
    println!("  cold, kernel fetched              {:.2} (target: under 2)", median(&cold));
    println!("  warm                              {:.2} (target: under 0.3)", median(&warm));
    println!(
        "  readelf -aW of the module         {:.2} (its symbols and relocations, without the kernel)",
        median(&readelf)
    );
    println!("  pahole -C klp_func of the BTF     {:.2} (one of the kernel's layouts)", median(&pahole));
    Ok(())
}
