// SPDX-License-Identifier: GPL-2.0-or-later
//! Makes the C diff of a fix: copies of files of the kernel's source are in `<fix>/source`, where the author changes them; the
//! diff is their difference from the kernel's source.

use std::path::{Component, Path, PathBuf};

use klp_base::cache::{walk, write_durable};
use klp_base::files::{io_error, make_dir, read, write};
use klp_kernel::Error as KernelError;

use crate::error::Error;
use crate::project::{Fix, Project, read_fix};
use crate::scaffold;

/// Directory of the copies, below that of the fix.
const COPIES: &str = "source";
/// File with the diff of a new fix.
const DIFF: &str = "fix.patch";

/// Creates a fix that is a C diff of `files` alone, if there is none of this name. `root` has the source.
///
/// # Errors
/// The name is not one of a fix, the source has no such file, or a file cannot be written. No incomplete fix remains.
pub fn new_fix(project: &Project, name: &str, root: &Path, files: &[String]) -> Result<(), Error> {
    files.iter().try_for_each(|file| check(root, file))?;
    if project.target_names().iter().any(|known| known == name) {
        return Ok(());
    }
    let patches = project.root().join("patches");
    let fix = scaffold::free_place(project, name)?;
    let aside = tempfile::Builder::new()
        .prefix(".new-diff-")
        .tempdir_in(&patches)
        .map_err(io_error("make a directory in", &patches))?;
    let made = aside.path().join("fix");
    fix_of_diffs(&made, (name, &format!("C diff {name}")), &[(DIFF.to_owned(), Vec::new())], None)?;
    Ok(std::fs::rename(&made, &fix).map_err(io_error("make", &fix))?)
}

/// Writes a fix that is C diffs alone to a directory, which stands for that of a fix. `diffs` have a file name each. `module` is the name
/// of the module, if it is given.
///
/// # Errors
/// A file cannot be written, or the name of the module is not valid.
pub fn fix_of_diffs(
    dir: &Path,
    (name, description): (&str, &str),
    diffs: &[(String, Vec<u8>)],
    module: Option<&str>,
) -> Result<Fix, Error> {
    make_dir(dir)?;
    for (file, diff) in diffs {
        write(&dir.join(file), diff)?;
    }
    let files: Vec<&String> = diffs.iter().map(|(file, _)| file).collect();
    let module = module.map_or_else(String::new, |module| format!("module = {module:?}\n"));
    let text = format!(
        "# SPDX-License-Identifier: GPL-2.0-only\ndescription = {description:?}\ndiff = {files:?}\n{module}"
    );
    write(&dir.join("patch.toml"), text)?;
    read_fix(name, dir)
}

/// Copies files of the source in `root`, with the diffs of the fix applied, to the place where the author changes them. Returns
/// the copies. A copy that exists is left as it is.
///
/// # Errors
/// The source has no such file, the diffs do not apply, or a file cannot be written.
pub fn edit(fix: &Fix, root: &Path, files: &[String]) -> Result<Vec<PathBuf>, Error> {
    let patched = patched(fix, root)?;
    let mut copies = Vec::new();
    for file in files.iter().map(String::as_str).chain(patched.keys().map(String::as_str)) {
        let content = match patched.get(file) {
            Some(changed) => changed.patched.clone(),
            None => {
                check(root, file)?;
                read(&root.join(file))?
            }
        };
        let copy = fix.dir.join(COPIES).join(file);
        if !copy.exists() {
            make_dir(copy.parent().unwrap_or(&fix.dir))?;
            write(&copy, content)?;
        }
        if !copies.contains(&copy) {
            copies.push(copy);
        }
    }
    Ok(copies)
}

/// Checks that the source has a file.
fn check(root: &Path, file: &str) -> Result<(), Error> {
    let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
    if inside && root.join(file).is_file() {
        return Ok(());
    }
    let message = "the kernel's source has no such file; name it from the top of the source: kernel/ptrace.c";
    Err(KernelError::Config { file: PathBuf::from(file), message: message.to_owned() }.into())
}

/// Files that the diffs of a fix change.
fn patched(fix: &Fix, root: &Path) -> Result<klp_cdiff::Files, Error> {
    let diffs = fix.diffs.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let diffs: Vec<&[u8]> = diffs.iter().map(Vec::as_slice).filter(|diff| !diff.is_empty()).collect();
    if diffs.is_empty() {
        return Ok(klp_cdiff::Files::new());
    }
    klp_cdiff::apply(&diffs, root).map_err(|error| {
        let subject = fix.name.clone();
        klp_cdiff::Error::Diff { subject, kernel: root.display().to_string(), error }.into()
    })
}

/// Writes the diff of a fix: what the author's copies change in the source in `root`. Returns its file and the changed files.
///
/// # Errors
/// The fix has no copies or several diffs, no copy differs, or a file cannot be written. The old diff then stays.
pub fn collect(fix: &Fix, root: &Path) -> Result<(PathBuf, Vec<String>), Error> {
    let copies = fix.dir.join(COPIES);
    let wrong = |message: String| Error::from(KernelError::Config { file: copies.clone(), message });
    let [diff] = fix.diffs.as_slice() else {
        return Err(wrong(format!(
            "`{}` has {} diffs in patch.toml, and one file can be written; name one",
            fix.name,
            fix.diffs.len()
        )));
    };
    if !copies.is_dir() {
        return Err(wrong(format!(
            "there is nothing; begin with `cargo xtask diff {} --edit FILE`",
            fix.name
        )));
    }
    let (mut text, mut files) = (Vec::new(), Vec::new());
    for copy in walk(&copies)? {
        let name = copy.strip_prefix(&copies).unwrap_or(&copy).to_string_lossy().into_owned();
        // Editors leave copies of their own.
        if name.ends_with('~') || name.ends_with(".orig") || name.ends_with(".rej") || name.ends_with(".swp")
        {
            continue;
        }
        let own = root.join(&name);
        let original = if own.is_file() { Some(read(&own)?) } else { None };
        let changed = read(&copy)?;
        if original.as_ref() == Some(&changed) {
            continue;
        }
        text.extend(klp_cdiff::unified(&name, original.as_deref(), &changed));
        files.push(name);
    }
    if files.is_empty() {
        return Err(wrong(
            "no file differs from the kernel's source; change one, and run this again".to_owned(),
        ));
    }
    write_durable(diff, &text)?;
    Ok((diff.clone(), files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_copy_becomes_the_diff_and_the_diff_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (root, home) = (dir.path().join("linux"), dir.path().join("fix"));
        make_dir(&root.join("kernel")).unwrap();
        make_dir(&home).unwrap();
        write(&root.join("kernel/a.c"), "one\ntwo\nthree\n").unwrap();
        write(&home.join("patch.toml"), "description = \"x\"\ndiff = \"fix.patch\"\n").unwrap();
        write(&home.join(DIFF), "").unwrap();
        let fix = read_fix("fix", &home).unwrap();
        let says = |error: Error| error.to_string();
        assert!(
            says(collect(&fix, &root).unwrap_err()).contains("begin with `cargo xtask diff fix --edit FILE`")
        );
        assert!(says(edit(&fix, &root, &["../a.c".to_owned()]).unwrap_err()).contains("no such file"));
        let copies = edit(&fix, &root, &["kernel/a.c".to_owned()]).unwrap();
        assert_eq!(copies, [home.join("source/kernel/a.c")]);
        assert!(says(collect(&fix, &root).unwrap_err()).contains("no file differs"));
        write(&copies[0], "one\n2\nthree\n").unwrap();
        write(&home.join("source/kernel/new.h"), "int x;\n").unwrap();
        write(&home.join("source/kernel/a.c.orig"), "left by an editor\n").unwrap();
        assert_eq!(collect(&fix, &root).unwrap().1, ["kernel/a.c", "kernel/new.h"]);
        // The copies are made again of the diff.
        std::fs::remove_dir_all(home.join("source")).unwrap();
        let copies = edit(&fix, &root, &[]).unwrap();
        assert_eq!(copies.len(), 2);
        assert_eq!(read(&copies[0]).unwrap(), b"one\n2\nthree\n");
        let before = read(&home.join(DIFF)).unwrap();
        collect(&fix, &root).unwrap();
        assert_eq!(read(&home.join(DIFF)).unwrap(), before);
    }
}
