// SPDX-License-Identifier: GPL-2.0-or-later
//! C compiler flags for a module of this kernel, taken from kbuild.

use klp_base::cache::{Cache, Key};
use klp_base::files::{make_dir, read_text, write};
use klp_kernel::KernelTree;

use crate::error::Error;

/// Placeholder for the kernel's directory in the cached text. It keeps the cache relocatable.
const TREE: &str = "@TREE@";

/// Prefixes of flags that gcc supports and clang does not. Sources: `bindgen_skip_c_flags` in the kernel's
/// rust/Makefile, and flags that libclang 14 to 19 reject.
const NOT_FOR_CLANG: [&str; 24] = [
    "-Wp,",
    "-W",
    "-DKBUILD_",
    "-mno-fp-ret-in-387",
    "-mpreferred-stack-boundary=",
    "-mskip-rax-setup",
    "-mindirect-branch",
    "-mfunction-return=",
    "-mrecord-mcount",
    "-mharden-sls=",
    "-mstack-protector-guard",
    "-fconserve-stack",
    "-falign-jumps=",
    "-falign-loops=",
    "-fno-allow-store-data-races",
    "-fno-stack-clash-protection",
    "-fno-ipa",
    "-fno-partial-inlining",
    "-fmin-function-alignment=",
    "-fpatchable-function-entry",
    "-fplugin",
    "-fstrict-flex-arrays=",
    "-fsanitize=bounds-strict",
    "-ftrivial-auto-var-init=zero",
];

/// Flags with which libclang parses this kernel's headers.
pub(super) fn for_clang(tree: &KernelTree, cache: &Cache) -> Result<Vec<String>, Error> {
    let key = Key::new("cflags 2").with(&tree.fingerprint).with(format!("{:?}", tree.toolchain));
    let entry = cache.entry("cflags", &tree.id, &key, |dir| probe(tree, dir))?;
    let root = tree.root.display().to_string();
    let headers = tree.headers.display().to_string();
    let text = read_text(&entry.join("flags"))?.replace(TREE, &root);
    let mut flags: Vec<String> = Vec::new();
    let mut after_include = false;
    for word in text.split_whitespace() {
        let absolute =
            |path: &str| if path.starts_with('/') { path.to_owned() } else { format!("{headers}/{path}") };
        if after_include {
            flags.push(absolute(word));
        } else if let Some(path) = word.strip_prefix("-I") {
            flags.push(format!("-I{}", absolute(path)));
        } else if !NOT_FOR_CLANG.iter().any(|start| word.starts_with(start)) {
            // kbuild's record is shell text. No kernel flag has a space inside quotes.
            flags.push(word.replace('\'', ""));
        }
        after_include = word == "-include";
    }
    flags.push(format!("--target={}", tree.arch.triple()));
    flags.extend(
        ["-w", "-D__BINDGEN__", "-DMODULE", "-DKBUILD_MODNAME=\"x\"", "-fno-builtin"].map(ToOwned::to_owned),
    );
    Ok(flags)
}

/// Compiles an empty module to read the flags from kbuild's record of the command.
fn probe(tree: &KernelTree, dir: &std::path::Path) -> Result<(), Error> {
    let work = dir.join("probe");
    make_dir(&work)?;
    write(&work.join("Makefile"), "obj-m := probe.o\n")?;
    write(&work.join("probe.c"), "#include <linux/module.h>\n")?;
    klp_kernel::kbuild::make(tree, &work).arg("probe.o").run()?;
    let record_file = work.join(".probe.o.cmd");
    let record = read_text(&record_file)?;
    let damaged =
        || Error::Intermediate { file: record_file.clone(), message: "no compiler command in it".to_owned() };
    let command = record.lines().next().and_then(|line| line.split_once(":=")).ok_or_else(damaged)?.1;
    let words = command.split(';').next().unwrap_or(command).split_whitespace();
    let mut flags = Vec::new();
    let mut skip_next = false;
    for word in words.skip(1) {
        let skip =
            skip_next || word == "-c" || word == "-o" || word.ends_with("/probe.c") || word == "probe.c";
        skip_next = word == "-o";
        if !skip && word.starts_with('-') || flags.last().is_some_and(|last| last == "-include") {
            flags.push(word.to_owned());
        }
    }
    std::fs::remove_dir_all(&work).map_err(klp_base::files::io_error("remove", &work))?;
    write(&dir.join("flags"), flags.join(" ").replace(&tree.root.display().to_string(), TREE))?;
    Ok(())
}
