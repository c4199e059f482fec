// SPDX-License-Identifier: GPL-2.0-or-later
//! Graph of the `#include` lines of the kernel's source: which C files include a header, directly or through other files.
//!
//! A name is looked up as the compiler does it: beside the including file, then in the directories of the kernel's `LINUXINCLUDE`.
//! A name that is in none of them comes from a `-I` of some Makefile; every file whose path ends with it then counts as included.
//! So the graph has more edges than a compile, never fewer.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use klp_base::arch::Arch;
use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{FileError, io_error, read, write};
use klp_kernel::c_source::CSource;

use crate::error::Error;

/// Name of the graph's file in a cache entry.
const GRAPH: &str = "graph";
/// Top directories without code of the kernel.
const LEFT_OUT: [&str; 7] = ["Documentation", "LICENSES", "debian", "samples", "scripts", "tools", "usr"];
/// Headers that the kernel's build includes in every file with `-include`.
///
/// Source: `Makefile` (`LINUXINCLUDE`), `scripts/Makefile.lib` (`c_flags`).
const IN_EVERY_FILE: [&str; 3] =
    ["include/linux/compiler-version.h", "include/linux/kconfig.h", "include/linux/compiler_types.h"];
/// Header whose `#include TRACE_INCLUDE(...)` includes the header of the trace events again that included it.
const TRACE: &str = "TRACE_INCLUDE";

/// Graph of includes, from the included file to the including ones.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Includers {
    /// Paths from the top of the source, sorted.
    paths: Vec<String>,
    /// Numbers of the files that include each file.
    includers: Vec<Vec<u32>>,
    /// Directories of `LINUXINCLUDE`.
    roots: Vec<String>,
}

impl Includers {
    /// Graph of a kernel's source. The cache keeps it.
    pub(crate) fn of(source: &CSource<'_>, cache: &Cache, sink: &dyn Sink) -> Result<Self, Error> {
        let arch = directory_of(source.tree.arch);
        let key = Key::new("c includes 1").with(&source.fingerprint);
        let entry = cache.entry("c-includes", &source.tree.id, &key, |dir| {
            stage(sink, "c-includes", &source.tree.id, || {
                let graph = Self::scan(&source.root, arch)?;
                write(&dir.join(GRAPH), graph.to_bytes())?;
                Ok::<_, Error>((StageEnd::Done, ()))
            })
        })?;
        let file = entry.join(GRAPH);
        Self::from_bytes(&read(&file)?, arch)
            .ok_or_else(|| Error::Stored { file, message: "it is no graph of includes".to_owned() })
    }

    /// Reads the `#include` lines of all files.
    fn scan(root: &Path, arch: &str) -> Result<Self, FileError> {
        let mut paths = Vec::new();
        collect(root, "", arch, &mut paths)?;
        paths.sort();
        let files = Files::new(&paths, roots(arch));
        let mut includers = vec![Vec::new(); paths.len()];
        // Names in macros, with the files whose `#include` has the macro.
        let mut macros: HashMap<String, Vec<u32>> = HashMap::new();
        for (number, path) in paths.iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            for include in includes(&read(&root.join(path))?) {
                match include {
                    Include::Macro(name) => macros.entry(name).or_default().push(number),
                    include => files.resolve(path, &include, |file| includers[file].push(number)),
                }
            }
        }
        if !macros.is_empty() {
            for (number, path) in paths.iter().enumerate() {
                let defined = defined(&read(&root.join(path))?, &macros);
                for include in defined {
                    let number = u32::try_from(number).unwrap_or(u32::MAX);
                    files.resolve(path, &include, |file| includers[file].push(number));
                }
            }
        }
        for list in &mut includers {
            list.sort_unstable();
            list.dedup();
        }
        let roots = files.roots;
        Ok(Self { paths, includers, roots })
    }

    /// C files that include one of these files, directly or not. A C file of the list is itself in the result only if another
    /// one includes it.
    pub(crate) fn c_files(&self, included: &[&str]) -> BTreeSet<&str> {
        let mut pending: Vec<usize> = included.iter().flat_map(|path| self.same_name(path)).collect();
        let mut seen = vec![false; self.paths.len()];
        let mut in_every_file = pending.iter().any(|&file| self.is_in_every_file(file));
        while let Some(file) = pending.pop() {
            for &includer in &self.includers[file] {
                let includer = includer as usize;
                if !std::mem::replace(&mut seen[includer], true) {
                    in_every_file |= self.is_in_every_file(includer);
                    pending.push(includer);
                }
            }
        }
        let found = self.paths.iter().zip(seen).filter(|(path, seen)| (*seen || in_every_file) && is_c(path));
        found.map(|(path, _)| path.as_str()).collect()
    }

    /// Directories of the files that include one of these files themselves.
    pub(crate) fn directories(&self, included: &[&str]) -> BTreeSet<String> {
        let numbers = included.iter().filter_map(|path| self.number(path));
        let includers = numbers.flat_map(|number| &self.includers[number]);
        let dirs = includers.filter_map(|&file| self.paths[file as usize].rsplit_once('/'));
        dirs.map(|(dir, _)| dir.to_owned()).collect()
    }

    /// True if a C file is included by another file.
    pub(crate) fn is_included(&self, path: &str) -> bool {
        self.number(path).is_some_and(|number| !self.includers[number].is_empty())
    }

    fn is_in_every_file(&self, number: usize) -> bool {
        IN_EVERY_FILE.contains(&self.paths[number].as_str())
    }

    fn number(&self, path: &str) -> Option<usize> {
        self.paths.binary_search_by(|other| other.as_str().cmp(path)).ok()
    }

    /// The file, and those of the same name in other directories of `LINUXINCLUDE`: a new file may hide them.
    fn same_name(&self, path: &str) -> Vec<usize> {
        let name = self.roots.iter().filter_map(|root| path.strip_prefix(root)?.strip_prefix('/'));
        let others = name.flat_map(|name| self.roots.iter().map(move |root| format!("{root}/{name}")));
        let mut found: Vec<usize> =
            std::iter::once(path.to_owned()).chain(others).filter_map(|path| self.number(&path)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Number of files, then the paths, one a line; then for each file the number of its includers and these, as 32 bit numbers.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\n", self.paths.len()).into_bytes();
        for path in &self.paths {
            bytes.extend(path.bytes());
            bytes.push(b'\n');
        }
        for list in &self.includers {
            bytes.extend(u32::try_from(list.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(list.iter().flat_map(|number| number.to_le_bytes()));
        }
        bytes
    }

    fn from_bytes(bytes: &[u8], arch: &str) -> Option<Self> {
        let mut rest = bytes;
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let (line, after) = rest.split_at(end);
            rest = after.get(1..)?;
            String::from_utf8(line.to_vec()).ok()
        };
        let count: usize = line()?.parse().ok()?;
        let paths: Vec<String> = (0..count).map(|_| line()).collect::<Option<_>>()?;
        let mut numbers = rest.chunks_exact(4).map(|bytes| bytes.try_into().map_or(0, u32::from_le_bytes));
        let mut includers = Vec::with_capacity(count);
        for _ in 0..count {
            let length = numbers.next()?;
            let list: Vec<u32> = (0..length).map(|_| numbers.next()).collect::<Option<_>>()?;
            if list.iter().any(|&number| number as usize >= count) {
                return None;
            }
            includers.push(list);
        }
        numbers.next().is_none().then_some(Self { paths, includers, roots: roots(arch) })
    }
}

/// Name of an architecture's directory in `arch/`.
pub(crate) fn directory_of(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86",
        Arch::Arm64 => "arm64",
    }
}

/// Directories of `LINUXINCLUDE`, in the order of the search.
fn roots(arch: &str) -> Vec<String> {
    [
        format!("arch/{arch}/include"),
        format!("arch/{arch}/include/generated"),
        "include".to_owned(),
        format!("arch/{arch}/include/uapi"),
        format!("arch/{arch}/include/generated/uapi"),
        "include/uapi".to_owned(),
        "include/generated/uapi".to_owned(),
    ]
    .into()
}

pub(crate) fn is_c(path: &str) -> bool {
    path.ends_with(".c")
}

/// Collects the files below a directory, by their paths from the top.
pub(crate) fn collect(root: &Path, dir: &str, arch: &str, paths: &mut Vec<String>) -> Result<(), FileError> {
    let at = root.join(dir);
    for item in std::fs::read_dir(&at).map_err(io_error("read", &at))? {
        let item = item.map_err(io_error("read", &at))?;
        let name = item.file_name().to_string_lossy().into_owned();
        // Runs of make have directories of their own for some moments, with a dot.
        let left_out = name.starts_with('.')
            || (dir.is_empty() && LEFT_OUT.contains(&name.as_str()))
            || (dir == "arch" && name != arch);
        let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        let kind = item.file_type().map_err(io_error("read", &item.path()))?;
        if left_out {
        } else if kind.is_dir() {
            collect(root, &path, arch, paths)?;
        } else if path.ends_with(".h") || is_c(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

/// Operand of an `#include`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Include {
    Quoted(String),
    Angled(String),
    /// `#include_next`.
    Next(String),
    /// Name of a macro.
    Macro(String),
}

/// Operands of the `#include` lines of a file.
fn includes(text: &[u8]) -> Vec<Include> {
    let mut found = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(operand) = after_word(line, b"include") else { continue };
        let (operand, is_next) = match operand.strip_prefix(b"_next") {
            Some(rest) => (rest, true),
            None => (operand, false),
        };
        let operand = operand.trim_ascii_start();
        let include = match (path_in(operand), is_next) {
            (Some(include), false) => include,
            (Some(Include::Quoted(path) | Include::Angled(path)), true) => Include::Next(path),
            _ => {
                let end = operand.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
                let name = operand.get(..end.unwrap_or(operand.len())).unwrap_or_default();
                if name.is_empty() || name.starts_with(TRACE.as_bytes()) {
                    continue;
                }
                Include::Macro(String::from_utf8_lossy(name).into_owned())
            }
        };
        found.push(include);
    }
    found
}

/// Paths that a file defines these macros as.
fn defined(text: &[u8], macros: &HashMap<String, Vec<u32>>) -> Vec<Include> {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| after_word(line, b"define"));
    lines
        .filter_map(|line| {
            let line = line.trim_ascii_start();
            let end = line.iter().position(u8::is_ascii_whitespace)?;
            let (name, value) = line.split_at(end);
            let value = path_in(value.trim_ascii_start())?;
            macros.contains_key(std::str::from_utf8(name).ok()?).then_some(value)
        })
        .collect()
}

/// Rest of a line behind a directive's word.
fn after_word<'l>(line: &'l [u8], word: &[u8]) -> Option<&'l [u8]> {
    line.trim_ascii_start().strip_prefix(b"#")?.trim_ascii_start().strip_prefix(word)
}

/// Path at the start of a text, `<path>` or `"path"`.
fn path_in(text: &[u8]) -> Option<Include> {
    let (first, rest) = text.split_first()?;
    let close = match first {
        b'<' => b'>',
        b'"' => b'"',
        _ => return None,
    };
    let end = rest.iter().position(|byte| *byte == close)?;
    let path = String::from_utf8_lossy(rest.get(..end)?).into_owned();
    Some(if close == b'"' { Include::Quoted(path) } else { Include::Angled(path) })
}

/// Files of the source, for look-ups.
struct Files<'p> {
    paths: &'p [String],
    numbers: HashMap<&'p str, usize>,
    /// Numbers of the files with each last component.
    by_name: HashMap<&'p str, Vec<usize>>,
    roots: Vec<String>,
}

impl<'p> Files<'p> {
    fn new(paths: &'p [String], roots: Vec<String>) -> Self {
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, path) in paths.iter().enumerate() {
            by_name.entry(last(path)).or_default().push(number);
        }
        let numbers = paths.iter().enumerate().map(|(number, path)| (path.as_str(), number)).collect();
        Self { paths, numbers, by_name, roots }
    }

    /// Reports the files that an `#include` in the file `from` may mean.
    fn resolve(&self, from: &str, include: &Include, mut report: impl FnMut(usize)) {
        let (path, beside, first_only) = match include {
            Include::Quoted(path) => (path, true, true),
            Include::Angled(path) => (path, false, true),
            Include::Next(path) => (path, true, false),
            Include::Macro(_) => return,
        };
        let own = from.rsplit_once('/').map_or("", |(dir, _)| dir);
        let dirs = std::iter::once(own).filter(|_| beside).chain(self.roots.iter().map(String::as_str));
        let found = dirs.filter_map(|dir| self.numbers.get(normal(dir, path)?.as_str()).copied());
        let mut any = false;
        for number in found.take(if first_only { 1 } else { usize::MAX }) {
            any = true;
            report(number);
        }
        if any {
            return;
        }
        let end = path.trim_start_matches("./").trim_start_matches("../");
        let end = end.rsplit("../").next().unwrap_or(end);
        for &number in self.by_name.get(last(end)).map(Vec::as_slice).unwrap_or_default() {
            let whole = self.paths[number].as_str();
            if whole == end || whole.strip_suffix(end).is_some_and(|before| before.ends_with('/')) {
                report(number);
            }
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Path from the top for a path from a directory; `None` if it leads out of the source.
fn normal(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use klp_base::files::make_dir;

    use super::*;

    fn graph(files: &[(&str, &str)]) -> Includers {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            make_dir(path.parent().unwrap()).unwrap();
            write(&path, text).unwrap();
        }
        Includers::scan(dir.path(), "x86").unwrap()
    }

    fn found<'g>(graph: &'g Includers, path: &str) -> Vec<&'g str> {
        graph.c_files(&[path]).into_iter().collect()
    }

    #[test]
    fn a_quoted_name_is_beside_the_file_first() {
        let graph = graph(&[
            ("mm/a.c", "#include \"internal.h\"\n"),
            ("fs/b.c", "  #  include \"internal.h\" /* x */\n"),
            ("fs/c.c", "#include <internal.h>\n"),
            ("fs/sub/d.c", "#include \"../internal.h\"\n"),
            ("mm/internal.h", ""),
            ("fs/internal.h", ""),
            ("include/internal.h", ""),
        ]);
        assert_eq!(found(&graph, "mm/internal.h"), ["mm/a.c"]);
        assert_eq!(found(&graph, "fs/internal.h"), ["fs/b.c", "fs/sub/d.c"]);
        assert_eq!(found(&graph, "include/internal.h"), ["fs/c.c"]);
    }

    #[test]
    fn includes_are_followed_through_headers_and_c_files() {
        let graph = graph(&[
            ("kernel/a.c", "#include <linux/one.h>\n"),
            ("kernel/part.c", "#include <linux/two.h>\n"),
            ("kernel/whole.c", "#include \"part.c\"\n"),
            ("kernel/other.c", "/* #include of nothing */\n#define include\n"),
            ("include/linux/one.h", "#include <linux/two.h>\n#include <asm/x.h>\n"),
            ("include/linux/two.h", "#include <linux/one.h>\n"),
            ("arch/x86/include/asm/x.h", "#include_next <asm/x.h>\n"),
            ("arch/x86/include/generated/asm/x.h", "#include <asm-generic/x.h>\n"),
            ("include/asm-generic/x.h", ""),
            ("arch/arm/kernel/a.c", "#include <linux/two.h>\n"),
            ("tools/a.c", "#include <linux/two.h>\n"),
        ]);
        assert_eq!(found(&graph, "include/linux/two.h"), ["kernel/a.c", "kernel/part.c", "kernel/whole.c"]);
        assert_eq!(found(&graph, "include/asm-generic/x.h").len(), 3);
        assert_eq!(found(&graph, "kernel/part.c"), ["kernel/whole.c"]);
        assert!(graph.is_included("kernel/part.c") && !graph.is_included("kernel/whole.c"));
        assert_eq!(graph.paths.len(), 9);
    }

    #[test]
    fn a_name_of_a_makefiles_directory_means_every_file_with_this_end() {
        let graph = graph(&[
            ("drivers/gpu/x/display/a.c", "#include \"dc/core.h\"\n"),
            ("drivers/gpu/x/b.c", "#include <../weird/core.h>\n"),
            ("drivers/gpu/x/inc/dc/core.h", ""),
            ("drivers/gpu/y/dc/core.h", ""),
            ("drivers/gpu/y/adc/core.h", ""),
            ("drivers/gpu/weird/core.h", ""),
        ]);
        assert_eq!(found(&graph, "drivers/gpu/x/inc/dc/core.h"), ["drivers/gpu/x/display/a.c"]);
        assert_eq!(found(&graph, "drivers/gpu/y/dc/core.h"), ["drivers/gpu/x/display/a.c"]);
        assert!(found(&graph, "drivers/gpu/y/adc/core.h").is_empty());
        assert_eq!(found(&graph, "drivers/gpu/weird/core.h"), ["drivers/gpu/x/b.c"]);
    }

    #[test]
    fn macros_and_headers_of_the_command_line_count() {
        let graph = graph(&[
            ("block/a.c", "#include <linux/genl.h>\n"),
            ("block/b.c", "int x;\n"),
            ("include/linux/genl.h", "#define MAGIC_FILE <linux/data.h>\n#include <linux/magic.h>\n"),
            ("include/linux/magic.h", "#include MAGIC_FILE\n#include TRACE_INCLUDE(TRACE_INCLUDE_FILE)\n"),
            ("include/linux/data.h", ""),
            ("include/linux/kconfig.h", "#include <linux/deep.h>\n"),
            ("include/linux/deep.h", ""),
        ]);
        assert_eq!(found(&graph, "include/linux/data.h"), ["block/a.c"]);
        assert_eq!(found(&graph, "include/linux/kconfig.h"), ["block/a.c", "block/b.c"]);
        assert_eq!(found(&graph, "include/linux/deep.h"), ["block/a.c", "block/b.c"]);
    }

    #[test]
    fn a_new_header_may_hide_one_of_a_later_directory() {
        let graph = graph(&[("block/a.c", "#include <linux/x.h>\n"), ("include/uapi/linux/x.h", "")]);
        assert_eq!(found(&graph, "include/linux/x.h"), ["block/a.c"]);
        assert!(found(&graph, "include/linux/y.h").is_empty());
    }

    #[test]
    fn the_stored_form_is_read_back() {
        let graph = graph(&[("a.c", "#include \"a.h\"\n"), ("b.c", "#include \"a.h\"\n"), ("a.h", "")]);
        let bytes = graph.to_bytes();
        assert_eq!(Includers::from_bytes(&bytes, "x86"), Some(graph));
        assert_eq!(Includers::from_bytes(&bytes[..bytes.len() - 1], "x86"), None);
        assert_eq!(Includers::from_bytes(b"9\n", "x86"), None);
    }
}
