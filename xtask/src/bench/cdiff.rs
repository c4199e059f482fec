// SPDX-License-Identifier: GPL-2.0-or-later
//! Cost of a live patch of a C diff of one file, and of kpatch-build's on a kernel where that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use klp_base::cache::Cache;
use klp_base::events::Sink as _;
use klp_base::process::Cmd;
use klp_kernel::c_source::CSource;
use klp_kernel::host::apt::unpacked_package;
use klp_kernel::{KernelTree, Package};

use super::median;
use crate::context::Context;

/// Kernel with the faults that the diffs repair.
const KERNEL: &str = "debian-6.12-old";
/// A published fix of one file.
const DIFF: &str = "tests/fixes/diff-ptrace/fix.patch";
/// Kinds of cache entries with what C diffs need of a kernel's source.
const KINDS: [&str; 10] = [
    "c-source",
    "c-command",
    "c-object",
    "c-includes",
    "c-generated",
    "c-diff",
    "c-definitions",
    "c-inlined",
    "c-copies-of",
    "vmlinux",
];
/// kpatch-build, and the awk that it demands: name, version, hash and suite.
const PACKAGES: [(&str, &str, &str, &str); 3] = [
    (
        "kpatch-build",
        "0.9.10-1",
        "ec43ca91dfd736dbc49300e97f317f311ef4c632c039f93ec906b5215a0366d8",
        "trixie",
    ),
    ("gawk", "1:5.2.1-2", "9cd63c1b35ff082092c221a23dcb167f72c4d1c3de3a42e11f16181f42ab3b55", "bookworm"),
    ("libsigsegv2", "2.14-1", "92336a5c47989b82ba4c778adc0ea22fc84450773f2d8428fca4448b0789cfe6", "bookworm"),
];
/// Options of the small kernel, on top of tinyconfig. kpatch-build refuses IBT.
const OPTIONS: &str = "CONFIG_64BIT=y\nCONFIG_SMP=y\nCONFIG_CC_OPTIMIZE_FOR_PERFORMANCE=y\nCONFIG_PRINTK=y\nCONFIG_BUG=y\n\
    CONFIG_MODULES=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_KALLSYMS=y\nCONFIG_KALLSYMS_ALL=y\nCONFIG_PROC_FS=y\nCONFIG_SYSFS=y\n\
    CONFIG_DEBUG_KERNEL=y\n# CONFIG_DEBUG_INFO_NONE is not set\nCONFIG_DEBUG_INFO_DWARF4=y\n\
    # CONFIG_DEBUG_INFO_BTF is not set\n# CONFIG_UNWINDER_GUESS is not set\nCONFIG_UNWINDER_ORC=y\nCONFIG_FTRACE=y\n\
    CONFIG_FUNCTION_TRACER=y\nCONFIG_DYNAMIC_FTRACE=y\nCONFIG_LIVEPATCH=y\n# CONFIG_X86_KERNEL_IBT is not set\n";

pub(super) fn run(context: &Context, runs: usize) -> Result<()> {
    let tree = context.kernel(KERNEL)?;
    let program = std::env::current_exe()?;
    let diff = context.project.root().join(DIFF);
    let measure = |cache: &Cache, diff: &Path, run: &str| -> Result<Duration> {
        // A module of a new name: no stage's result is there.
        let name = format!("bench_{}_{run}", std::process::id());
        let out = tempfile::tempdir()?;
        let cmd = Cmd::new(&program).arg("cdiff").arg(diff).args(["--kernel", KERNEL, "-n", &name, "-o"]);
        let cpu = cmd.arg(out.path()).env("FERROGRAFT_CACHE", cache.root()).run()?.cpu;
        let name = format!("cdiff-{name}");
        for dir in [name.clone(), format!(".artifacts/{name}")] {
            fs::remove_dir_all(context.project.build_dir(KERNEL, &dir))?;
        }
        Ok(cpu)
    };
    let cold = {
        let dir = tempfile::tempdir_in(context.cache.root())?;
        let cache = without(&context.cache, &KINDS, dir.path())?;
        measure(&cache, &diff, "cold")?
    };
    measure(&context.cache, &diff, "warm")?;
    let text = fs::read_to_string(&diff).with_context(|| format!("could not read {}", diff.display()))?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for run in 0..runs {
        // Another text before the diff makes another result of the same work. A file that was not compiled before has no object.
        let dir = tempfile::tempdir_in(context.cache.root())?;
        let other = dir.path().join("fix.patch");
        fs::write(&other, format!("run {run}\n{text}"))?;
        let cache = without(&context.cache, &["c-object", "c-diff"], &dir.path().join("first"))?;
        first.push(measure(&cache, &other, &format!("first_{run}"))?);
        let cache = without(&context.cache, &["c-diff"], &dir.path().join("again"))?;
        again.push(measure(&cache, &other, &format!("again_{run}"))?);
    }
    println!(
        "live patch of a C diff of one file ({KERNEL}, {runs} rounds, CPU seconds with all children, medians):"
    );
    println!("  cold, kernel fetched              {:.1} (target: under 45)", cold.as_secs_f64());
    println!("  first diff of the file            {:.2}", median(&first));
    println!("  warm, another diff of the file    {:.2} (target: under 3)", median(&again));
    let (vmlinux, cold, warm) = kpatch_build(context, &tree, runs)?;
    println!("kpatch-build 0.9.10 (a tiny kernel of the same source, without IBT; it refuses {KERNEL}):");
    println!("  its vmlinux                       {:.1}", vmlinux.as_secs_f64());
    println!("  first patch                       {:.1}", cold.as_secs_f64());
    println!("  another patch of the file         {:.2}", median(&warm));
    println!("  ratio, warm                       {:.1}", median(&warm) / median(&first));
    Ok(())
}

/// A cache in `dir` that is the user's, but for some kinds, which are empty.
pub(super) fn without(cache: &Cache, kinds: &[&str], dir: &Path) -> Result<Cache> {
    fs::create_dir_all(dir)?;
    for entry in fs::read_dir(cache.root())? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.path().is_dir()
            && !kinds.iter().any(|kind| *kind == name)
            && !name.to_string_lossy().starts_with('.')
        {
            std::os::unix::fs::symlink(entry.path(), dir.join(name))?;
        }
    }
    Ok(Cache::new(dir))
}

/// CPU time of kpatch-build on a small kernel: of its vmlinux, of the first patch, and of others.
fn kpatch_build(
    context: &Context,
    tree: &KernelTree,
    runs: usize,
) -> Result<(Duration, Duration, Vec<Duration>)> {
    let (cache, sink) = (&context.cache, &context.terminal);
    let tools = tempfile::tempdir_in(cache.root())?;
    for (name, version, sha256, suite) in PACKAGES {
        let unpacked = unpacked_package(&Package::new(name, version, sha256), suite, cache, sink)?;
        Cmd::new("cp").arg("-a").arg(unpacked.join("usr")).arg(tools.path()).run()?;
    }
    let usr = tools.path().join("usr");
    let path = format!("{}:/usr/bin:/bin", usr.join("bin").display());
    let clean = |program: &Path| {
        Cmd::new(program)
            .clean_env()
            .env("PATH", &path)
            .env("LD_LIBRARY_PATH", usr.join("lib/x86_64-linux-gnu"))
            .env("HOME", tools.path())
            .env("LC_ALL", "C")
            .env("KBUILD_BUILD_USER", "ferrograft")
            .env("KBUILD_BUILD_HOST", "ferrograft")
    };
    let linux = tools.path().join("linux");
    Cmd::new("cp").arg("-a").arg(CSource::of(tree, cache, sink)?.root).arg(&linux).run()?;
    let make = |words: &[&str]| clean(Path::new("make")).arg("-C").arg(&linux).args(words);
    make(&["mrproper"]).run()?;
    make(&["tinyconfig"]).run()?;
    let config = linux.join(".config");
    fs::write(&config, fs::read_to_string(&config)? + OPTIONS)?;
    make(&["olddefconfig"]).run()?;
    sink.note("  kpatch-build builds its kernel, twice: about 600 CPU seconds".to_owned());
    let vmlinux = make(&["-j2", "vmlinux"]).run()?.cpu;
    let original = tools.path().join("vmlinux");
    fs::copy(linux.join("vmlinux"), &original)?;
    let patch = |number: usize| -> Result<Duration> {
        let file = patch(tools.path(), &linux, number)?;
        let built = clean(&usr.join("bin/kpatch-build")).args(["-j", "2", "--sourcedir"]).arg(&linux);
        let built = built
            .arg("--config")
            .arg(&config)
            .arg("--vmlinux")
            .arg(&original)
            .arg("--output")
            .arg(tools.path());
        let cpu = built.arg(&file).run()?.cpu;
        let ko = tools.path().join(format!("livepatch-{number}.ko"));
        ensure!(ko.is_file(), "kpatch-build has not made {}", ko.display());
        Ok(cpu)
    };
    let cold = patch(0)?;
    Ok((vmlinux, cold, (1..=runs.min(3)).map(patch).collect::<Result<_>>()?))
}

/// Writes a patch of one line.
fn patch(dir: &Path, linux: &Path, number: usize) -> Result<PathBuf> {
    const LINE: &str = "seq_printf(m, linux_proc_banner,";
    let text = fs::read_to_string(linux.join("fs/proc/version.c"))?;
    let (at, line) = text
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains(LINE))
        .context("fs/proc/version.c does not print the banner")?;
    let changed = line.replace(LINE, &format!("seq_printf(m, \"{number} %s %s %s\\n\","));
    let file = dir.join(format!("{number}.patch"));
    let before = text.lines().nth(at.saturating_sub(1)).unwrap_or_default();
    let after = text.lines().nth(at + 1).unwrap_or_default();
    let hunk = format!("@@ -{at},3 +{at},3 @@\n {before}\n-{line}\n+{changed}\n {after}\n");
    fs::write(&file, format!("--- a/fs/proc/version.c\n+++ b/fs/proc/version.c\n{hunk}"))?;
    Ok(file)
}
