// SPDX-License-Identifier: GPL-2.0-or-later
//! Cost of `check` of a module's file, and of the tools that answer a part of its questions.

use std::time::Duration;

use anyhow::{Context as _, Result};
use klp_base::cache::Cache;
use klp_base::process::{Cmd, Output};
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
    inlined(context, runs)
}

/// Function whose copies are sought.
const INLINED: &str = "getname_flags";

/// Cost of the index of inlined copies, and of programs that find the copies of one function.
fn inlined(context: &Context, runs: usize) -> Result<()> {
    let tree = context.kernel(DEFAULT_KERNEL)?;
    // Children make the index: a child's peak of memory is at least that of the process that starts it.
    let vmlinux = tree.debug_vmlinux(&context.cache, &context.terminal)?;
    let program = std::env::current_exe()?;
    let index = |cache: &Cache| -> Result<Output> {
        let cmd = Cmd::new(&program).args(["kernel", "debug", DEFAULT_KERNEL, "--function", INLINED]);
        Ok(cmd.env("FERROGRAFT_CACHE", cache.root()).run()?)
    };
    index(&context.cache)?;
    let (mut cold, mut warm, mut gdb, mut dwarfdump) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let dir = tempfile::tempdir_in(context.cache.root()).context("no place for an empty cache")?;
        cold.push(index(&cdiff::without(&context.cache, &["debug-copies"], &dir.path().join("cold"))?)?);
        warm.push(index(&context.cache)?);
        let place = format!("break {INLINED}");
        gdb.push(Cmd::new("gdb").args(["-nx", "-batch", "-ex", &place]).arg(&vmlinux).run()?);
        dwarfdump.push(Cmd::new("llvm-dwarfdump").arg(format!("--name={INLINED}")).arg(&vmlinux).run()?);
    }
    println!("inlined copies ({DEFAULT_KERNEL}, {runs} rounds, CPU seconds and MB of memory, medians):");
    let line = |what: &str, outputs: &[Output], target: &str| {
        let cpu: Vec<Duration> = outputs.iter().map(|output| output.cpu).collect();
        let mut peak: Vec<u64> = outputs.iter().map(|output| output.peak_kib >> 10).collect();
        peak.sort_unstable();
        println!("  {what:<33} {:.2}  {} MB{target}", median(&cpu), peak.get(peak.len() / 2).unwrap_or(&0));
    };
    line("index of all, and one function", &cold, " (target: under 5, 500 MB)");
    line("one function, with the index", &warm, "");
    line(&format!("gdb: break {INLINED}"), &gdb, "");
    line(&format!("llvm-dwarfdump --name={INLINED}"), &dwarfdump, "");
    let said = |outputs: &[Output]| outputs.first().map(Output::stdout_text).unwrap_or_default();
    let own = said(&cold).lines().filter(|line| line.starts_with("  ")).count();
    let found = said(&gdb).lines().find(|line| line.starts_with("Breakpoint")).unwrap_or_default().to_owned();
    println!("  {INLINED}: {own} copies in the index; gdb, with the function and its part: {found}");
    Ok(())
}
