// SPDX-License-Identifier: GPL-2.0-or-later
//! A view of the kernel's source with some files changed: directories with changed files are real, everything else is a link.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::Path;

use klp_base::files::{FileError, io_error, make_dir, write};

/// Directory of changed files.
#[derive(Default)]
struct Node<'a> {
    dirs: BTreeMap<&'a str, Node<'a>>,
    files: BTreeMap<&'a str, &'a [u8]>,
    /// True if directories below are real too: their files include headers of this one by `../`.
    deep: bool,
}

/// Makes the view of `source` in the empty directory `to`. `files` has the changed files by their paths from the top. `real`
/// has directories that are real too: through a link, `../x.h` would be a file of the source.
///
/// # Errors
/// A directory cannot be read, or a file or link cannot be made.
pub(crate) fn make(
    source: &Path,
    to: &Path,
    files: &BTreeMap<String, Vec<u8>>,
    real: &BTreeSet<String>,
) -> Result<(), FileError> {
    let mut top = Node::default();
    for dir in real {
        let mut node = &mut top;
        for part in dir.split('/').filter(|part| !part.is_empty()) {
            node = node.dirs.entry(part).or_default();
        }
    }
    for (path, content) in files {
        let mut parts = path.split('/').peekable();
        let mut node = &mut top;
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                node = node.dirs.entry(part).or_default();
            } else {
                node.deep |= path.ends_with(".h");
                node.files.insert(part, content);
            }
        }
    }
    fill(Some(source), to, &top, false)
}

fn fill(source: Option<&Path>, to: &Path, node: &Node<'_>, deep: bool) -> Result<(), FileError> {
    make_dir(to)?;
    let deep = deep || node.deep;
    let mut names = Vec::new();
    if let Some(source) = source.filter(|source| source.is_dir()) {
        for item in std::fs::read_dir(source).map_err(io_error("read", source))? {
            let item = item.map_err(io_error("read", source))?;
            let is_dir = item.file_type().is_ok_and(|kind| kind.is_dir());
            names.push((item.file_name().to_string_lossy().into_owned(), is_dir));
        }
    }
    for (name, is_dir) in &names {
        if node.files.contains_key(name.as_str()) || node.dirs.contains_key(name.as_str()) {
            continue;
        }
        let (from, to) = (source.unwrap_or(to).join(name), to.join(name));
        if *is_dir && deep {
            fill(Some(&from), &to, &Node::default(), true)?;
        } else {
            symlink(&from, &to).map_err(io_error("link", &to))?;
        }
    }
    for (name, content) in &node.files {
        write(&to.join(name), content)?;
    }
    for (name, child) in &node.dirs {
        let from = source.map(|source| source.join(name));
        fill(from.as_deref(), &to.join(name), child, deep)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_hide_those_of_the_source() {
        let (source, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |path: &str, text: &str| {
            let path = source.path().join(path);
            make_dir(path.parent().unwrap()).unwrap();
            write(&path, text).unwrap();
        };
        put("mm/a.c", "a");
        put("mm/internal.h", "old");
        put("mm/kasan/b.c", "b");
        put("fs/c.c", "c");
        put("block/d.c", "d");
        let files = BTreeMap::from([
            ("mm/internal.h".to_owned(), b"new".to_vec()),
            ("mm/more/d.c".to_owned(), b"d".to_vec()),
        ]);
        let to = to.path().join("view");
        make(source.path(), &to, &files, &BTreeSet::from(["block".to_owned()])).unwrap();
        let read = |path: &str| std::fs::read_to_string(to.join(path)).unwrap();
        assert_eq!(read("mm/internal.h"), "new");
        assert_eq!(read("mm/kasan/../internal.h"), "new");
        assert_eq!(read("block/../mm/internal.h"), "new");
        assert_eq!(
            (read("mm/a.c"), read("mm/kasan/b.c"), read("fs/c.c"), read("mm/more/d.c")),
            ("a".to_owned(), "b".to_owned(), "c".to_owned(), "d".to_owned())
        );
        assert!(to.join("fs").is_symlink() && !to.join("mm/kasan").is_symlink());
        assert_eq!(std::fs::read_to_string(source.path().join("mm/internal.h")).unwrap(), "old");
    }
}
