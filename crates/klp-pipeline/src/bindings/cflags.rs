// SPDX-License-Identifier: GPL-2.0-or-later
//! C compiler flags for a module of this kernel, taken from kbuild.

use klp_base::cache::{Cache, Key};
use klp_base::files::{make_dir, read_text, write};
use klp_kernel::KernelTree;

use crate::error::Error;

/// Placeholder for the kernel's directory in the cached text. It keeps the cache relocatable.
const TREE: &str = "@TREE@";

/// Prefixes of flags that say nothing about declarations: files to write, warnings, plug-ins of gcc, the name of the
/// module. libclang is asked for each other flag.
const NOT_FOR_HEADERS: [&str; 4] = ["-Wp,", "-W", "-DKBUILD_", "-fplugin"];

/// Flags with which libclang parses this kernel's headers.
pub(super) fn for_clang(tree: &KernelTree, cache: &Cache) -> Result<Vec<String>, Error> {
    let key = Key::new("cflags 3")
        .with(&tree.fingerprint)
        .with(format!("{:?}", tree.toolchain))
        .with(bindgen::clang_version().full);
    let entry = cache.entry("cflags", &tree.id, &key, |dir| {
        let recorded = recorded(tree, dir)?;
        let known = known(recorded, tree)?;
        Ok::<_, Error>(write(
            &dir.join("flags"),
            known.join("\n").replace(&tree.root.display().to_string(), TREE),
        )?)
    })?;
    let text = read_text(&entry.join("flags"))?.replace(TREE, &tree.root.display().to_string());
    let mut flags: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    flags.extend(
        ["-w", "-D__BINDGEN__", "-DMODULE", "-DKBUILD_MODNAME=\"x\"", "-fno-builtin"].map(ToOwned::to_owned),
    );
    Ok(flags)
}

/// Flags of kbuild's record for a parser of headers: without [`NOT_FOR_HEADERS`], with absolute paths, and with the
/// target.
fn for_headers(words: impl Iterator<Item = String>, tree: &KernelTree) -> Vec<String> {
    let headers = tree.headers.display();
    let absolute =
        |path: &str| if path.starts_with('/') { path.to_owned() } else { format!("{headers}/{path}") };
    let mut flags: Vec<String> = Vec::new();
    for word in words {
        if flags.last().is_some_and(|last| last == "-include") {
            flags.push(absolute(&word));
        } else if let Some(path) = word.strip_prefix("-I") {
            flags.push(format!("-I{}", absolute(path)));
        } else if !NOT_FOR_HEADERS.iter().any(|start| word.starts_with(start)) {
            // kbuild's record is shell text. No kernel flag has a space inside quotes.
            flags.push(word.replace('\'', ""));
        }
    }
    flags.push(format!("--target={}", tree.arch.triple()));
    flags
}

/// The flags that libclang accepts for an empty header. gcc has flags that libclang rejects; each rejection names its
/// flag.
fn known(mut flags: Vec<String>, tree: &KernelTree) -> Result<Vec<String>, Error> {
    loop {
        // The headers themselves are left out: errors in them are not about flags.
        let mut is_file = false;
        let asked = flags.iter().filter(|flag| {
            let skip = std::mem::replace(&mut is_file, *flag == "-include") || *flag == "-include";
            !skip
        });
        let parser = bindgen::builder().header_contents("flags.h", "").clang_args(asked).clang_arg("-w");
        let Err(error) = parser.generate() else { return Ok(flags) };
        let message = error.to_string();
        let before = flags.len();
        flags.retain(|flag| !message.lines().any(|line| names(line, flag)));
        if flags.len() == before {
            return Err(Error::Bindings {
                kernel: tree.id.clone(),
                message: format!("libclang rejects the flags of the kernel's build: {message}"),
            });
        }
    }
}

/// True if a message of libclang quotes a flag: as a whole (`unknown argument: '-mrecord-mcount'`), or its name and
/// its value (`unsupported argument 'bounds-strict' to option '-fsanitize='`).
fn names(message: &str, flag: &str) -> bool {
    let quoted: Vec<&str> = message.split('\'').skip(1).step_by(2).collect();
    let parts = |name: &&&str| flag.strip_prefix(**name).is_some_and(|value| quoted.contains(&value));
    quoted.contains(&flag) || quoted.iter().filter(|name| name.ends_with('=')).any(|name| parts(&name))
}

/// Flags of kbuild's compiler command, which an empty module records.
fn recorded(tree: &KernelTree, dir: &std::path::Path) -> Result<Vec<String>, Error> {
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
    Ok(for_headers(flags.into_iter(), tree))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_flag_is_rejected_by_its_whole_name_or_by_name_and_value() {
        let unknown = "error: unknown argument: '-mrecord-mcount'";
        let value = "error: unsupported argument 'bounds-strict' to option '-fsanitize='";
        assert!(names(unknown, "-mrecord-mcount"));
        assert!(names(value, "-fsanitize=bounds-strict"));
        for (message, flag) in [
            (unknown, "-mrecord"),
            (unknown, "-mfentry"),
            (value, "-fsanitize=bounds"),
            (value, "bounds"),
            ("", ""),
        ] {
            assert!(!names(message, flag), "{message}: {flag}");
        }
    }
}
