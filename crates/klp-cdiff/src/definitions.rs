// SPDX-License-Identifier: GPL-2.0-or-later
//! Index of the C files that may define a function, by its name.
//!
//! A definition begins at the start of a line, and does not end there with `;`. So the index has more files than define the
//! function, and the compile of each tells.

use std::collections::BTreeSet;
use std::path::PathBuf;

use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{read, write};
use klp_base::parallel;
use klp_base::sorted_lines::SortedLines;
use klp_kernel::c_source::CSource;

use crate::error::Error;
use crate::includers::{self, directory_of, is_c};

/// Name of the index's file in a cache entry.
const INDEX: &str = "index";
/// Macros whose first argument is a part of the names that they define: start of the macro's name, and the prefixes.
///
/// Source: `include/linux/syscalls.h`, `arch/x86/include/asm/syscall_wrapper.h`, `include/linux/filter.h`.
const DEFINING: [(&str, &[&str]); 3] = [
    (
        "COMPAT_SYSCALL_DEFINE",
        &["__do_compat_sys_", "__se_compat_sys_", "__ia32_compat_sys_", "__x64_compat_sys_"],
    ),
    ("SYSCALL_DEFINE", &["__do_sys_", "__se_sys_", "__x64_sys_", "__ia32_sys_", "__arm64_sys_"]),
    ("BPF_CALL_", &["", "____"]),
];

/// The index. Lines `name<tab>path`.
pub(crate) struct Definitions(SortedLines);

impl Definitions {
    /// Index of a kernel's source. The cache keeps it.
    pub(crate) fn of(source: &CSource<'_>, cache: &Cache, sink: &dyn Sink) -> Result<Self, Error> {
        let key = Key::new("definitions 1").with(&source.fingerprint);
        let entry = cache.entry("c-definitions", &source.tree.id, &key, |dir| {
            stage(sink, "definitions", &source.tree.id, || {
                write(&dir.join(INDEX), scan(source)?.text())?;
                Ok::<_, Error>((StageEnd::Done, ()))
            })
        })?;
        Ok(Self(SortedLines::stored(read(&entry.join(INDEX))?)))
    }

    /// Files that may define a function, by their paths from the top.
    pub(crate) fn files(&self, function: &str) -> Vec<String> {
        self.0.with_key(function).collect()
    }
}

fn scan(source: &CSource<'_>) -> Result<SortedLines, Error> {
    let mut paths = Vec::new();
    includers::collect(&source.root, "", directory_of(source.tree.arch), &mut paths)?;
    paths.retain(|path| is_c(path));
    let lines = parallel::on_all_processors(paths.len(), parallel::processors(), &|_| {}, &|number| {
        let path: PathBuf = source.root.join(&paths[number]);
        let names = names(&read(&path)?);
        Ok::<_, Error>(names.into_iter().map(|name| format!("{name}\t{}", paths[number])).collect::<Vec<_>>())
    })?;
    Ok(SortedLines::of(lines.into_iter().flatten().collect()))
}

/// Names that a C file may define functions of.
fn names(text: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.split(|byte| *byte == b'\n') {
        let starts = line.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        if !starts || line.trim_ascii_end().ends_with(b";") {
            continue;
        }
        let line = String::from_utf8_lossy(line);
        let mut depth = 0_usize;
        for (at, character) in line.char_indices() {
            match character {
                '(' => {
                    let before = line.get(..at).unwrap_or_default().trim_end();
                    if depth == 0 {
                        add(before, line.get(at + 1..).unwrap_or_default(), &mut found);
                    }
                    depth += 1;
                }
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    found
}

/// Parameters of a function that the C file marks as pointers of the user's program (`__user`), from 0.
pub(crate) fn user_pointers(text: &str, function: &str) -> Vec<usize> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let definition = text.match_indices(function).find_map(|(at, _)| {
        let list = text.get(at + function.len()..)?.strip_prefix('(')?;
        let line = text.get(..at)?.rsplit('\n').next()?;
        // A definition starts at the start of a line, and a body follows its parameters.
        let starts = line.is_empty() || line.starts_with(is_name);
        let end = closing(list)?;
        let body = list.get(end + 1..)?.trim_start().starts_with('{');
        (starts && !line.ends_with(is_name) && body).then(|| list.get(..end)).flatten()
    });
    let mut depth = 0_usize;
    let parameters = definition.unwrap_or_default().split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    let marked =
        parameters.enumerate().filter(|(_, text)| text.split(|c| !is_name(c)).any(|word| word == "__user"));
    marked.map(|(number, _)| number).collect()
}

/// Place of the parenthesis that closes a list.
fn closing(list: &str) -> Option<usize> {
    let mut depth = 0_usize;
    list.char_indices().find_map(|(at, c)| {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
        None
    })
}

/// Adds the names of a definition: the word before the parenthesis, or what the macro of this name makes of its first argument.
fn add(before: &str, arguments: &str, found: &mut BTreeSet<String>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let word = before.rsplit(|c| !is_name(c)).next().unwrap_or_default();
    if word.is_empty() {
        return;
    }
    match DEFINING.iter().find(|(start, _)| word.starts_with(start)) {
        Some((_, prefixes)) => {
            let name = arguments.split(|c| !is_name(c)).next().unwrap_or_default();
            found.extend(prefixes.iter().map(|prefix| format!("{prefix}{name}")));
        }
        None => {
            found.insert(word.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_told_from_declarations_and_calls() {
        let text = b"int declared(int a);\nstatic __printf(1, 2) void\nsplit(const char *fmt,\n\t...)\n{\n\tcalled(1);\n}\n\
            static int one(int (*callback)(int))\n{\n}\nSYSCALL_DEFINE2(pause_it, int, a, int, b)\n{\n}\n#define MACRO(x)\n\
            BPF_CALL_1(bpf_one, int, a)\n";
        let names = names(text);
        let has = |name: &str| names.contains(name);
        assert!(has("split") && has("one") && has("__do_sys_pause_it") && has("____bpf_one"), "{names:?}");
        assert!(!has("declared") && !has("called") && !has("callback") && !has("MACRO"), "{names:?}");
    }

    #[test]
    fn pointers_of_programs_are_read_from_the_definition() {
        let text = "ssize_t write_it(struct file *file, const char __user *buf);\n/* write_it(char __user *) */\n\
                    static ssize_t write_it(struct file *file,\n\t\tconst char __user *buf, int (*f)(int a, int __user *b),\n\
                    \t\tlong n)\n{\n\treturn other_write_it(file, buf);\n}\nstatic long\nread_it(void *a, char __user *b)\n{\n}\n";
        assert_eq!(user_pointers(text, "write_it"), [1, 2]);
        assert_eq!(user_pointers(text, "read_it"), [1]);
        assert_eq!(user_pointers(text, "other_write_it"), [0; 0]);
        assert_eq!(user_pointers(text, "no_such"), [0; 0]);
    }
}
