// SPDX-License-Identifier: GPL-2.0-or-later
//! C headers of a fix: headers of the kernel, and headers in the fix's directory.
//!
//! The kernel's headers do not change. The text of a fix's own header becomes part of the generated C text.
//! Therefore it is in the key of all results, and no result contains the header's path on this machine.

use std::path::{Component, Path};

use klp_base::files::read_text;

/// A header for the bindings and shims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// A kernel header, as in `#include <...>`.
    Kernel(String),
    /// A header of the fix: its text, including the fix's own files that it includes.
    Own(String),
}

impl Header {
    /// C lines that include the header.
    pub fn text(&self) -> String {
        match self {
            Self::Kernel(path) => format!("#include <{path}>\n"),
            Self::Own(text) => text.clone(),
        }
    }
}

/// Maximum include depth of a fix's own headers.
const DEPTH: usize = 16;

/// Reads one entry of `headers` of the fix `name` in `dir`.
///
/// # Errors
/// The path leaves the kernel's headers and the fix, or the file cannot be read.
pub(super) fn header(name: &str, dir: &Path, text: &str) -> Result<Header, String> {
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let word = |c: char| c.is_ascii_graphic() && !"<>\"\\".contains(c);
    if text.is_empty() || !plain || !text.chars().all(word) {
        return Err(format!(
            "{text:?} is no header's path inside of the kernel's headers or of the fix; write \"linux/sched.h\", or put \
             the file into the fix's directory, and write its path from there"
        ));
    }
    if !dir.join(path).is_file() {
        return Ok(Header::Kernel(text.to_owned()));
    }
    let mut once = Vec::new();
    own(name, dir, path, &mut once, DEPTH).map(Header::Own)
}

/// Text of an own header, with the text of the fix's own headers that it includes in quotes.
fn own(
    name: &str,
    dir: &Path,
    path: &Path,
    once: &mut Vec<std::path::PathBuf>,
    depth: usize,
) -> Result<String, String> {
    if depth == 0 {
        return Err(format!("{} includes itself, more than {DEPTH} files deep", path.display()));
    }
    if once.iter().any(|seen| seen == path) {
        return Ok(String::new());
    }
    let content = read_text(&dir.join(path)).map_err(|error| error.to_string())?;
    let place = |line: usize| format!("#line {line} \"{name}/{}\"\n", path.display());
    let mut text = place(1);
    for (line, number) in content.lines().zip(1..) {
        if line.split_whitespace().eq(["#pragma", "once"]) {
            once.push(path.to_owned());
            text.push('\n');
            continue;
        }
        match included(line).map(|file| path.with_file_name(file)) {
            Some(file) if file.components().any(|part| !matches!(part, Component::Normal(_))) => {
                return Err(format!(
                    "{}:{number} includes {}, which is not below the fix's directory",
                    path.display(),
                    file.display()
                ));
            }
            Some(file) if dir.join(&file).is_file() => {
                text.push_str(&own(name, dir, &file, once, depth - 1)?);
                text.push_str(&place(number + 1));
            }
            // A kernel header. Angle brackets prevent a search in the directory of the generated C file.
            Some(file) => {
                let file = file.strip_prefix(path.parent().unwrap_or(Path::new(""))).unwrap_or(&file);
                text.push_str(&format!("#include <{}>\n", file.display()));
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    Ok(text)
}

/// File name in a line `#include "..."`.
fn included(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?;
    rest.trim_start().strip_prefix('"')?.split_once('"').map(|(file, _)| file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_headers_are_expanded_with_their_includes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("c")).unwrap();
        std::fs::write(
            dir.path().join("c/a.h"),
            "#pragma once\n#include <linux/fs.h>\n#include \"b.h\"\nint a;\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("c/b.h"), "# include \"a.h\"\n#include \"linux/mm.h\"\nint b;\n")
            .unwrap();
        let Header::Own(text) = header("x", dir.path(), "c/a.h").unwrap() else { panic!() };
        assert_eq!(
            text,
            "#line 1 \"x/c/a.h\"\n\n#include <linux/fs.h>\n#line 1 \"x/c/b.h\"\n#line 2 \"x/c/b.h\"\n#include <linux/mm.h>\nint b;\n#line 4 \"x/c/a.h\"\nint a;\n"
        );
        assert_eq!(header("x", dir.path(), "linux/fs.h").unwrap(), Header::Kernel("linux/fs.h".to_owned()));
    }

    #[test]
    fn header_paths_outside_of_kernel_and_fix_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["/etc/x.h", "../x.h", "linux/../../x.h", "", "a>b.h", "./x.h"] {
            assert!(header("x", dir.path(), text).unwrap_err().contains("the fix's directory"), "{text}");
        }
        std::fs::write(dir.path().join("a.h"), "#include \"../b.h\"\n").unwrap();
        assert!(header("x", dir.path(), "a.h").unwrap_err().contains("a.h:1 includes ../b.h"));
        std::fs::write(dir.path().join("a.h"), "#include \"a.h\"\n").unwrap();
        assert!(header("x", dir.path(), "a.h").unwrap_err().contains("includes itself"));
        std::fs::write(dir.path().join("a.h"), "#include \"/etc/b.h\"\n").unwrap();
        assert!(header("x", dir.path(), "a.h").is_err());
    }
}
