// SPDX-License-Identifier: GPL-2.0-or-later
//! Which C files the kernel's configuration builds, by the Makefiles of the source.
//!
//! The Makefiles are not run. A file counts as not built only if all entries that name it, or all that name one of its
//! directories, are of options that are not set. The branches of `ifdef` and `ifeq` all count, and what make would compute
//! (variables, functions) is unknown.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use klp_kernel::KernelConfig;

/// Knowledge about a file or directory. The order is that of certainty that it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Built {
    /// The configuration leaves it out.
    No,
    /// The Makefiles do not tell.
    Unknown,
    /// It is built.
    Yes,
}

/// Prefixes of variables with objects and directories of the kernel: `obj-y`.
///
/// Source: `Documentation/kbuild/makefiles.rst`, `Makefile`, `arch/x86/Makefile`.
const OF_KERNEL: [&str; 6] = ["obj", "lib", "core", "drivers", "libs", "head"];
/// Variables with names of objects that say nothing about what is built.
const OTHER: [&str; 4] = ["targets", "extra-y", "always-y", "clean-files"];

/// Makefiles of a source tree, with a configuration.
pub(crate) struct Makefiles<'m> {
    root: PathBuf,
    /// Name of the architecture's directory.
    arch: &'static str,
    config: &'m KernelConfig,
    /// Makefile of each directory.
    makefiles: HashMap<String, Rc<Makefile>>,
    directories: HashMap<String, Built>,
}

/// Entries of a directory's Makefile.
#[derive(Default)]
struct Makefile {
    entries: Vec<Entry>,
    /// Numbers of the entries with each word, by its last component, and with each variable that make puts in (`$(x-y)`).
    by_word: HashMap<String, Vec<usize>>,
}

/// Assignment of a Makefile.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    variable: String,
    words: Vec<String>,
}

/// Form in which an entry names a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    No,
    /// By its path, or as the operand of `$(addprefix ...)` with its directory.
    Exactly,
    /// By its last component alone.
    Perhaps,
}

impl<'m> Makefiles<'m> {
    pub(crate) fn new(root: &Path, arch: &'static str, config: &'m KernelConfig) -> Self {
        let directories = HashMap::from([(String::new(), Built::Yes)]);
        Self { root: root.to_owned(), arch, config, makefiles: HashMap::new(), directories }
    }

    /// Knowledge about a C file, by its path from the top; `None` if no Makefile names its object.
    pub(crate) fn file(&mut self, path: &str) -> Option<Built> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let object = format!("{}.o", name.strip_suffix(".c").unwrap_or(name));
        self.object(dir, &object, 0)
    }

    /// Knowledge about an object of a directory.
    fn object(&mut self, dir: &str, object: &str, depth: usize) -> Option<Built> {
        // A composite object may name itself.
        const DEEPEST: usize = 8;
        let mut found = None;
        for (above, below) in above(dir) {
            let path = join(below, object);
            let makefile = self.makefile(above);
            for entry in makefile.with(object) {
                let built = match named(entry, below, &path, object) {
                    Named::No => continue,
                    Named::Perhaps => Built::Unknown,
                    Named::Exactly if depth >= DEEPEST => Built::Unknown,
                    Named::Exactly => self.variable(above, &entry.variable, depth),
                };
                found = found.max(Some(built.min(self.directory(above))));
            }
        }
        found
    }

    /// Knowledge about the objects of a variable: `obj-y`, `foo-objs` of a composite, or one that make puts into another.
    fn variable(&mut self, dir: &str, variable: &str, depth: usize) -> Built {
        let (name, on) = match split(variable) {
            Some((name, condition)) => (name, self.condition(condition)),
            None => (variable, Built::Yes),
        };
        if OF_KERNEL.contains(&name) {
            return on;
        }
        let mut found = self.object(dir, &format!("{name}.o"), depth + 1);
        let makefile = self.makefile(dir);
        for reference in [format!("$({name}-y)"), format!("$({name}-m)"), format!("$({variable})")] {
            for entry in makefile.with(&reference).filter(|entry| entry.variable != variable) {
                found = found.max(Some(self.variable(dir, &entry.variable, depth + 1)));
            }
        }
        on.min(found.unwrap_or(Built::Unknown))
    }

    /// Knowledge about a directory: whether make enters it.
    fn directory(&mut self, dir: &str) -> Built {
        if let Some(built) = self.directories.get(dir) {
            return *built;
        }
        let mut found = None;
        for (above, below) in above(dir) {
            if below.is_empty() {
                continue;
            }
            let makefile = self.makefile(above);
            for entry in makefile.with(last(below)) {
                let names = |word: &String| word.strip_suffix('/') == Some(below);
                let Some((name, condition)) = split(&entry.variable) else { continue };
                if !entry.words.iter().any(names) || name == "subdir" {
                    continue;
                }
                let on = if OF_KERNEL.contains(&name) { self.condition(condition) } else { Built::Unknown };
                found = found.max(Some(on.min(self.directory(above))));
            }
        }
        let built = found.unwrap_or(Built::Unknown);
        self.directories.insert(dir.to_owned(), built);
        built
    }

    /// Knowledge about what follows the name of a variable: `y`, `$(CONFIG_X)`, or nothing for what is never built.
    fn condition(&self, condition: &str) -> Built {
        match condition {
            "y" | "m" | "objs" => return Built::Yes,
            "" => return Built::No,
            _ => {}
        }
        let mut options = condition.split("$(CONFIG_").skip(1).peekable();
        let is_plain = condition.starts_with("$(CONFIG_") || condition.starts_with("$(subst m,y,$(CONFIG_");
        if !is_plain || options.peek().is_none() {
            return Built::Unknown;
        }
        let (mut any, mut all) = (false, true);
        for option in options {
            let set = option
                .split_once(')')
                .is_some_and(|(name, _)| matches!(self.config.value(name), Some("y" | "m")));
            any |= set;
            all &= set;
        }
        match (any, all) {
            (_, true) => Built::Yes,
            (true, false) => Built::Unknown,
            (false, _) => Built::No,
        }
    }

    /// Makefile of a directory. Those of the top and of the architecture both name paths from the top.
    fn makefile(&mut self, dir: &str) -> Rc<Makefile> {
        if let Some(makefile) = self.makefiles.get(dir) {
            return Rc::clone(makefile);
        }
        let arch = format!("arch/{}", self.arch);
        let files = match dir {
            "" => vec!["Kbuild".to_owned(), "Makefile".to_owned(), format!("{arch}/Makefile")],
            dir if dir == arch => vec![format!("{arch}/Kbuild")],
            dir => vec![format!("{dir}/Kbuild"), format!("{dir}/Makefile")],
        };
        // A directory with both has its entries in Kbuild. A missing Makefile names nothing.
        let texts = files.iter().filter_map(|file| std::fs::read(self.root.join(file)).ok());
        let texts: Vec<Vec<u8>> = texts.take(if dir.is_empty() { files.len() } else { 1 }).collect();
        let text: String = texts.iter().map(|text| String::from_utf8_lossy(text) + "\n").collect();
        let makefile = Rc::new(Makefile::parse(
            &text.replace("${", "$(").replace('}', ")").replace("$(SRCARCH)", self.arch),
        ));
        self.makefiles.insert(dir.to_owned(), Rc::clone(&makefile));
        makefile
    }
}

impl Makefile {
    fn parse(text: &str) -> Self {
        let joined = text.replace("\\\n", " ");
        let mut makefile = Self::default();
        for entry in joined.lines().filter_map(assignment) {
            for word in &entry.words {
                let list = makefile.by_word.entry(last(word).to_owned()).or_default();
                if list.last() != Some(&makefile.entries.len()) {
                    list.push(makefile.entries.len());
                }
            }
            makefile.entries.push(entry);
        }
        makefile
    }

    /// Entries with a word whose last component this is.
    fn with(&self, word: &str) -> impl Iterator<Item = &Entry> {
        let numbers = self.by_word.get(word).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|number| self.entries.get(*number))
    }
}

/// Last component of a word: of a path, of a directory, or of the operands of a function. A variable is itself.
fn last(word: &str) -> &str {
    if word.starts_with("$(") && word.ends_with(')') && !word.contains([',', '/']) {
        return word;
    }
    let word = word.trim_end_matches([')', '/']);
    word.rsplit(['/', ',', ')']).next().unwrap_or(word)
}

/// Directories with a Makefile that may name something in `dir`, and the rest of the path from there.
fn above(dir: &str) -> Vec<(&str, &str)> {
    let mut found = vec![(dir, "")];
    found.extend(dir.rmatch_indices('/').map(|(at, _)| (&dir[..at], &dir[at + 1..])));
    if !dir.is_empty() {
        found.push(("", dir));
    }
    found
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Form in which an entry names the object `path`, whose directory is `below` and whose last component is `object`.
fn named(entry: &Entry, below: &str, path: &str, object: &str) -> Named {
    if OTHER.contains(&entry.variable.as_str()) {
        return Named::No;
    }
    // A function of make with several operands, such as `$(addprefix dir/, a.o b.o)`.
    let has_function = entry.words.iter().any(|word| word.contains("$(") && !word.ends_with(')'));
    let prefix = format!("{below}/,");
    let has_prefix = entry.words.contains(&prefix) && !below.is_empty();
    let mut found = Named::No;
    for word in &entry.words {
        let plain = word.trim_end_matches(')').trim_start_matches("./");
        if plain == path || (has_prefix && plain == object) {
            return Named::Exactly;
        }
        if last(word) == object && (word.contains(['$', ',']) || (has_function && plain == object)) {
            found = Named::Perhaps;
        }
    }
    found
}

/// Name and condition of a variable: `obj` and `$(CONFIG_X)`.
fn split(variable: &str) -> Option<(&str, &str)> {
    let end = variable.find("$(").unwrap_or(variable.len());
    let at = variable.get(..end)?.rfind('-')?;
    Some((variable.get(..at)?, variable.get(at + 1..)?))
}

/// Assignment of a line.
fn assignment(line: &str) -> Option<Entry> {
    let line = line.split('#').next().unwrap_or_default();
    let at = line.find('=')?;
    let (before, value) = (line.get(..at)?, line.get(at + 1..)?);
    let before = before.trim_end_matches([':', '+', '?']).trim();
    let variable = before.strip_prefix("export ").unwrap_or(before).trim();
    // Blanks are between the parentheses of make's functions only.
    let mut depth = 0;
    let is_name = variable.chars().all(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth > 0 || !(c.is_whitespace() || c == ':')
    });
    (is_name && !variable.is_empty()).then(|| Entry {
        variable: variable.to_owned(),
        words: value.split_whitespace().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use klp_base::files::{make_dir, write};

    use super::*;

    const CONFIG: &str =
        "CONFIG_ON=y\nCONFIG_MODULE=m\nCONFIG_NET=y\nCONFIG_NAME=\"x\"\n# CONFIG_OFF is not set\n";

    /// Knowledge about files of a tree with these Makefiles.
    fn check(makefiles: &[(&str, &str)], files: &[(&str, Option<Built>)]) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in makefiles {
            let path = dir.path().join(path);
            make_dir(path.parent().unwrap()).unwrap();
            write(&path, text).unwrap();
        }
        let config = KernelConfig::parse(CONFIG);
        let mut makefiles = Makefiles::new(dir.path(), "x86", &config);
        for (file, expected) in files {
            assert_eq!(makefiles.file(file), *expected, "{file}");
        }
    }

    #[test]
    fn options_decide_about_files() {
        check(
            &[
                ("Kbuild", "obj-y += fs/\n"),
                (
                    "fs/Makefile",
                    "obj-y := a.o b.o \\\n\tc.o # d.o\nobj-$(CONFIG_ON) += on.o both.o\nobj-$(CONFIG_MODULE)\t+= module.o\n\
                     obj-$(CONFIG_OFF) += off.o both.o\nobj- += never.o\nLIST := listed.o\nlist-$(CONFIG_ON) += deep.o\nobj-y += $(LIST) $(list-y)\nAPART := apart.o\n\
                     ifdef CONFIG_OFF\n\tobj-y += branch.o\nendif\nobj-$(subst m,y,$(CONFIG_OFF)) += subst.o\n\
                     obj-$(if $(CONFIG_ON),y) += function.o\nobj-$(CONFIG_ON)$(CONFIG_OFF) += two.o\ntargets += target.o\n\
                     CFLAGS_flags.o := -DX\n$(obj)/rule.o: $(obj)/rule.h\n",
                ),
            ],
            &[
                ("fs/a.c", Some(Built::Yes)),
                ("fs/c.c", Some(Built::Yes)),
                ("fs/d.c", None),
                ("fs/on.c", Some(Built::Yes)),
                ("fs/both.c", Some(Built::Yes)),
                ("fs/module.c", Some(Built::Yes)),
                ("fs/off.c", Some(Built::No)),
                ("fs/never.c", Some(Built::No)),
                ("fs/listed.c", Some(Built::Yes)),
                ("fs/deep.c", Some(Built::Yes)),
                ("fs/apart.c", Some(Built::Unknown)),
                ("fs/branch.c", Some(Built::Yes)),
                ("fs/subst.c", Some(Built::No)),
                ("fs/function.c", Some(Built::Unknown)),
                ("fs/two.c", Some(Built::Unknown)),
                ("fs/target.c", None),
                ("fs/flags.c", None),
                ("fs/rule.c", None),
            ],
        );
    }

    #[test]
    fn composites_follow_their_object() {
        check(
            &[
                ("Kbuild", "obj-y += fs/\n"),
                (
                    "fs/Makefile",
                    "obj-$(CONFIG_ON) += on.o\nobj-$(CONFIG_OFF) += off.o\non-objs := a.o\non-y += sub/b.o\n\
                     on-$(CONFIG_OFF) += c.o\non-$(CONFIG_MODULE) += d.o\noff-y := e.o shared.o\non-y += shared.o\n\
                     setup-y += f.o\non-y += $(addprefix lib/, \\\n\tg.o \\\n\th.o)\noff-y += $(addprefix other/, g.o)\n\
                     self-y += self.o\nsnd-a-b-y := i.o\nobj-$(CONFIG_ON) += snd-a-b.o\n",
                ),
            ],
            &[
                ("fs/a.c", Some(Built::Yes)),
                ("fs/sub/b.c", Some(Built::Yes)),
                ("fs/b.c", None),
                ("fs/c.c", Some(Built::No)),
                ("fs/d.c", Some(Built::Yes)),
                ("fs/e.c", Some(Built::No)),
                ("fs/shared.c", Some(Built::Yes)),
                ("fs/f.c", Some(Built::Unknown)),
                ("fs/lib/g.c", Some(Built::Yes)),
                ("fs/lib/h.c", Some(Built::Yes)),
                ("fs/other/g.c", Some(Built::Unknown)),
                ("fs/self.c", Some(Built::Unknown)),
                ("fs/i.c", Some(Built::Yes)),
            ],
        );
    }

    #[test]
    fn directories_are_entered_from_the_top() {
        check(
            &[
                (
                    "Kbuild",
                    "obj-y += fs/ arch/$(SRCARCH)/\nobj-$(CONFIG_OFF) += off/\nobj-$(CONFIG_NET)\t+= net/\n",
                ),
                ("Makefile", "libs-y := lib/\nexport ARCH_LIB := $(libs-y)\n"),
                (
                    "arch/x86/Makefile",
                    "drivers-$(CONFIG_OFF) += arch/x86/video/\ndrivers-$(CONFIG_ON) += arch/x86/pci/\n",
                ),
                ("arch/x86/Kbuild", "obj-y += kernel/ platform/pvh/\nsubdir- += boot tools\n"),
                ("arch/x86/kernel/Makefile", "obj-y += a.o\n"),
                ("arch/x86/platform/pvh/Makefile", "obj-y += a.o\n"),
                ("arch/x86/video/Makefile", "obj-y += a.o\n"),
                ("arch/x86/pci/Makefile", "obj-y += a.o\n"),
                ("arch/x86/boot/Makefile", "setup-y += a.o\n"),
                ("arch/x86/um/Makefile", "obj-y += a.o\n"),
                ("off/Makefile", "obj-y += a.o deep/\n"),
                ("off/deep/Makefile", "obj-y += a.o\n"),
                ("fs/Kbuild", "obj-$(CONFIG_OFF) += ext4/\nobj-y += proc/\n"),
                ("fs/Makefile", "obj-y += ext4/\n"),
                ("fs/ext4/Makefile", "obj-y += a.o\n"),
                ("fs/proc/Makefile", "obj-$(CONFIG_NET) += net/a.o a.o\n"),
                ("lib/Makefile", "lib-y := a.o\n"),
                ("net/Makefile", "obj-y += a.o\nobj-$(CONFIG_OFF) += x/\nobj-$(CONFIG_ON) += x/\n"),
                ("net/x/Makefile", "obj-$(CONFIG_MODULE) += a.o\n"),
            ],
            &[
                ("arch/x86/kernel/a.c", Some(Built::Yes)),
                ("arch/x86/platform/pvh/a.c", Some(Built::Yes)),
                ("arch/x86/video/a.c", Some(Built::No)),
                ("arch/x86/pci/a.c", Some(Built::Yes)),
                ("arch/x86/boot/a.c", Some(Built::Unknown)),
                ("arch/x86/um/a.c", Some(Built::Unknown)),
                ("off/a.c", Some(Built::No)),
                ("off/deep/a.c", Some(Built::No)),
                ("fs/ext4/a.c", Some(Built::No)),
                ("fs/proc/a.c", Some(Built::Yes)),
                ("fs/proc/net/a.c", Some(Built::Yes)),
                ("lib/a.c", Some(Built::Yes)),
                ("net/a.c", Some(Built::Yes)),
                ("net/x/a.c", Some(Built::Yes)),
            ],
        );
    }
}
