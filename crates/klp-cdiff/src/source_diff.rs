// SPDX-License-Identifier: GPL-2.0-or-later
//! A source diff: unified, as from `diff -u`, git or the stable tree.

use std::collections::BTreeMap;
use std::path::Path;

use diffy::patch_set::{FileOperation, FilePatch, ParseOptions, PatchSet};
use diffy::{DiffOptions, Patch};
use klp_base::files::read;

/// Fault of a source diff.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The text is no unified diff.
    #[error("it is no unified diff: {0}")]
    Form(String),
    /// The diff changes no file.
    #[error("it changes no file")]
    Empty,
    /// The diff does something that a live patch cannot do.
    #[error("{file}: {message}")]
    Operation {
        /// Path of the file.
        file: String,
        /// The fault and the remedy.
        message: String,
    },
    /// The source has no such file.
    #[error("{0}: the kernel's source has no such file; paths are those of `diff -p1`")]
    NoFile(String),
    /// A hunk does not fit the source.
    #[error(
        "{file}: hunk {hunk} (line {line}) does not apply: its context is not in the kernel's source; adapt the diff to this kernel's version"
    )]
    Hunk {
        /// Path of the file.
        file: String,
        /// Number of the hunk, from 1.
        hunk: usize,
        /// First line of the hunk in the old file.
        line: usize,
    },
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] klp_base::files::FileError),
}

/// Content of a file before and after a diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFile {
    /// Content of the kernel's source; `None` for a new file.
    pub original: Option<Vec<u8>>,
    /// Content with the diff.
    pub patched: Vec<u8>,
}

/// Files that a diff changes, by their paths from the top of the source.
pub type Files = BTreeMap<String, ChangedFile>;

/// Unified diff of a file, as git writes it without its own lines. `original` is `None` for a new file.
pub fn unified(path: &str, original: Option<&[u8]>, changed: &[u8]) -> Vec<u8> {
    let from = original.map_or_else(|| "/dev/null".to_owned(), |_| format!("a/{path}"));
    let mut options = DiffOptions::new();
    options.set_original_filename(from).set_modified_filename(format!("b/{path}"));
    options.create_patch_bytes(original.unwrap_or_default(), changed).to_bytes()
}

/// Applies diffs to the source in `root`.
///
/// Several diffs are applied one after the other.
///
/// # Errors
/// A diff is malformed, does not apply, or renames or deletes a file.
pub fn apply(diffs: &[&[u8]], root: &Path) -> Result<Files, DiffError> {
    let mut files = BTreeMap::new();
    for diff in diffs {
        apply_one(diff, root, &mut files)?;
    }
    files.retain(|_, file: &mut ChangedFile| file.original.as_deref() != Some(&file.patched));
    if files.is_empty() { Err(DiffError::Empty) } else { Ok(files) }
}

fn apply_one(diff: &[u8], root: &Path, files: &mut BTreeMap<String, ChangedFile>) -> Result<(), DiffError> {
    let is_git = diff.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"diff --git "));
    let options = if is_git { ParseOptions::gitdiff() } else { ParseOptions::unidiff() };
    let mut count = 0;
    for file in PatchSet::parse_bytes(diff, options) {
        let file = file.map_err(|error| DiffError::Form(error.to_string()))?;
        apply_file(&file, root, files)?;
        count += 1;
    }
    if count == 0 { Err(DiffError::Empty) } else { Ok(()) }
}

fn apply_file(
    file: &FilePatch<'_, [u8]>,
    root: &Path,
    files: &mut BTreeMap<String, ChangedFile>,
) -> Result<(), DiffError> {
    let (path, is_new) = match file.operation() {
        FileOperation::Modify { modified, .. } => (path_of(modified, root), false),
        FileOperation::Create(path) => (path_of(path, root), true),
        FileOperation::Delete(path) => {
            return Err(refuse(&path_of(path, root), "it is deleted, and its code is in the kernel"));
        }
        FileOperation::Rename { from, .. } | FileOperation::Copy { from, .. } => {
            let message = "it is renamed or copied; make the diff without (`git diff --no-renames`), and leave the old file";
            return Err(refuse(&String::from_utf8_lossy(from), message));
        }
    };
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(refuse(&path, "the path leads out of the source"));
    }
    let Some(patch) = file.patch().as_text() else {
        return Err(refuse(&path, "it is a binary file"));
    };
    let before = match files.get(&path) {
        Some(file) => file.clone(),
        None if is_new => ChangedFile { original: None, patched: Vec::new() },
        None if !root.join(&path).is_file() => return Err(DiffError::NoFile(path)),
        None => {
            let content = read(&root.join(&path))?;
            ChangedFile { original: Some(content.clone()), patched: content }
        }
    };
    let patched = diffy::apply_bytes(&before.patched, patch).map_err(|error| hunk(&path, patch, &error))?;
    files.insert(path, ChangedFile { original: before.original, patched });
    Ok(())
}

fn refuse(file: &str, message: &str) -> DiffError {
    DiffError::Operation { file: file.to_owned(), message: message.to_owned() }
}

/// Path from the top of the source: without its first directory, as `patch -p1` has it, if that is a file there.
fn path_of(path: &[u8], root: &Path) -> String {
    let path = String::from_utf8_lossy(path).into_owned();
    match path.split_once('/') {
        Some((_, rest)) if root.join(rest).exists() || !root.join(&path).exists() => rest.to_owned(),
        _ => path,
    }
}

/// The error of the first hunk that does not fit; the library's error has its number in its text.
fn hunk(file: &str, patch: &Patch<'_, [u8]>, error: &diffy::ApplyError) -> DiffError {
    let text = error.to_string();
    let number = text.rsplit('#').next().and_then(|text| text.trim().parse().ok()).unwrap_or(1);
    let line = patch.hunks().get(usize::saturating_sub(number, 1)).map_or(0, |hunk| hunk.old_range().start());
    DiffError::Hunk { file: file.to_owned(), hunk: number, line }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "one\ntwo\nthree\nfour\n";

    fn root() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("kernel")).unwrap();
        std::fs::write(dir.path().join("kernel/x.c"), FILE).unwrap();
        dir
    }

    fn applied(diff: &str) -> Result<BTreeMap<String, ChangedFile>, DiffError> {
        apply(&[diff.as_bytes()], root().path())
    }

    #[test]
    fn diffs_of_git_and_of_diff_apply() {
        let body = "@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
        let git = format!(
            "From 1 Mon Sep 17 00:00:00 2001\nSubject: x\n---\n kernel/x.c | 2 +-\n\ndiff --git a/kernel/x.c b/kernel/x.c\n\
             index 1..2 100644\n--- a/kernel/x.c\n+++ b/kernel/x.c\n{body}-- \n2.43.0\n"
        );
        let plain = format!("--- linux.orig/kernel/x.c\t2026\n+++ linux/kernel/x.c\t2026\n{body}");
        for diff in [git, plain, format!("--- kernel/x.c\n+++ kernel/x.c\n{body}")] {
            let files = applied(&diff).unwrap();
            assert_eq!(files["kernel/x.c"].patched, b"one\n2\nthree\nfour\n", "{diff}");
        }
    }

    #[test]
    fn faults_are_named() {
        let head = "--- a/kernel/x.c\n+++ b/kernel/x.c\n";
        for (diff, says) in [
            ("hello".to_owned(), "no unified diff"),
            (format!("{head}@@ -1,3 +1,3 @@\n one\n-deux\n+2\n three\n"), "hunk 1 (line 1) does not apply"),
            (format!("{head}@@ -1,3 +1,3 @@\n one\n-two\n+2\n"), "no unified diff"),
            ("--- a/kernel/y.c\n+++ b/kernel/y.c\n@@ -1 +1 @@\n-a\n+b\n".to_owned(), "no such file"),
            (
                "--- a/kernel/x.c\n+++ /dev/null\n@@ -1,4 +0,0 @@\n-one\n-two\n-three\n-four\n".to_owned(),
                "deleted",
            ),
            ("--- a/../x.c\n+++ b/../x.c\n@@ -1 +1 @@\n-a\n+b\n".to_owned(), "leads out"),
            (format!("{head}@@ -1,2 +1,2 @@\n-one\n+one\n two\n"), "changes no file"),
        ] {
            let error = applied(&diff).unwrap_err().to_string();
            assert!(error.contains(says), "{diff}: {error}");
        }
    }
}
