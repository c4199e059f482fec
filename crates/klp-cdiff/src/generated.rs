// SPDX-License-Identifier: GPL-2.0-or-later
//! Files that the kernel's build generates and C files include: tables, parsers, constants of SELinux. Those that a compile lacks
//! are made with the recipes that make prints, in a view of the source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use klp_base::cache::{Cache, Key};
use klp_base::files::{io_error, make_dir, read_text, write};
use klp_base::process::{Cmd, Error as ProcessError};
use klp_kernel::c_source::{CSource, CompileCommand};

use crate::error::Error;
use crate::overlay;

/// Kind of the cache entries.
const KIND: &str = "c-generated";
/// Name of the file with the path of the generated file, from the top of the source.
const PLACE: &str = "place";
/// Directory of the generated files.
const FILES: &str = "files";
/// Most generated files that one C file includes.
const MOST: usize = 8;

/// Compiles an unchanged file. Generated files that it lacks are made; the returned command finds them.
pub(crate) fn with<T>(
    source: &CSource<'_>,
    file: &str,
    mut command: CompileCommand,
    cache: &Cache,
    compile: impl Fn(&CompileCommand) -> Result<T, Error>,
) -> Result<(T, CompileCommand), Error> {
    for _ in 0..MOST {
        match compile(&command) {
            Err(Error::Compile { with: "", ref text, .. }) if let Some(included) = missing(text) => {
                let dir = match make(source, file, included, cache) {
                    // A recipe that needs what only the whole build makes.
                    Err(Error::Process(ProcessError::Failed { .. })) => None,
                    made => made?,
                };
                let Some(dir) = dir else { break };
                command.words.push(format!("-I{}", dir.display()));
            }
            result => return Ok((result?, command)),
        }
    }
    Ok((compile(&command)?, command))
}

/// File that a compiler did not find, by its messages.
fn missing(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.contains("fatal error: ") && line.contains("No such file"))?;
    line.split("fatal error: ").nth(1)?.split(':').next()
}

/// Makes a file that a C file includes. Returns the directory in which the compiler finds it; `None` if no recipe makes it.
fn make(source: &CSource<'_>, file: &str, included: &str, cache: &Cache) -> Result<Option<PathBuf>, Error> {
    let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
    let key = Key::new("generated file 1").with(&source.fingerprint).with(dir).with(included);
    let label = format!("{}-{}", source.tree.id, included.replace('/', "-"));
    let entry = match cache.find(KIND, &label, &key) {
        Some(entry) => entry,
        None => {
            let printed = source.recipes(file)?;
            let recipes = recipes(&printed);
            let Some((path, order)) = order(&recipes, included, &|path| source.root.join(path).exists())
            else {
                return Ok(None);
            };
            cache.entry(KIND, &label, &key, |dir| {
                let view = dir.join("view");
                let outputs = order.iter().map(|recipe| recipe.output).chain([path]);
                let real: BTreeSet<String> =
                    outputs.filter_map(|path| path.rsplit_once('/')).map(|(dir, _)| dir.to_owned()).collect();
                overlay::make(&source.root, &view, &BTreeMap::new(), &real)?;
                for recipe in &order {
                    Cmd::new("sh")
                        .args(["-c", recipe.line])
                        .cwd(&view)
                        .clean_env()
                        .env("LC_ALL", "C")
                        .run()?;
                }
                let (from, to) = (view.join(path), dir.join(FILES).join(path));
                make_dir(to.parent().unwrap_or(dir))?;
                std::fs::copy(&from, &to).map_err(io_error("copy", &from))?;
                std::fs::remove_dir_all(&view).map_err(io_error("remove", &view))?;
                Ok::<_, Error>(write(&dir.join(PLACE), path)?)
            })?
        }
    };
    let path = read_text(&entry.join(PLACE))?;
    let dir = path.strip_suffix(included).unwrap_or_default();
    Ok(Some(entry.join(FILES).join(dir)))
}

/// Recipe for one output, as a line of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recipe<'t> {
    output: &'t str,
    line: &'t str,
}

impl<'t> Recipe<'t> {
    fn words(&self) -> impl Iterator<Item = &'t str> {
        let words = self.line.split(|c: char| c.is_whitespace() || matches!(c, ';' | '\'' | '"'));
        words.map(|word| word.trim_start_matches("./")).filter(|word| !word.is_empty())
    }
}

/// Recipes in what make prints. Each begins with the removal of its output on a signal.
fn recipes(printed: &str) -> Vec<Recipe<'_>> {
    const START: &str = "trap 'rm -f ";
    let recipe = |line| {
        let (_, rest) = str::split_once(line, START)?;
        Some(Recipe { output: rest.split(';').next()?, line })
    };
    printed.lines().filter_map(recipe).collect()
}

/// Path of an included file that a recipe makes, and the recipes for it, in the order of their use.
fn order<'t>(
    recipes: &[Recipe<'t>],
    included: &str,
    exists: &dyn Fn(&str) -> bool,
) -> Option<(&'t str, Vec<Recipe<'t>>)> {
    let is_it =
        |path: &&str| path.strip_suffix(included).is_some_and(|dir| dir.is_empty() || dir.ends_with('/'));
    // A recipe may make several files, and is that of one of them.
    let of_it = recipes.iter().find(|recipe| is_it(&recipe.output));
    let recipe = of_it.or_else(|| recipes.iter().find(|recipe| recipe.words().any(|word| is_it(&word))))?;
    let path = if is_it(&recipe.output) { recipe.output } else { recipe.words().find(is_it)? };
    let mut order = vec![*recipe];
    let mut next = 0;
    while let Some(recipe) = order.get(next).copied() {
        next += 1;
        let used: BTreeSet<&str> = recipe.words().collect();
        for other in recipes {
            if used.contains(other.output) && !order.contains(other) && !exists(other.output) {
                order.push(*other);
            }
        }
    }
    order.reverse();
    Some((path, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_found_with_what_they_use() {
        let recipe = |output: &str, command: &str| {
            format!("set -e; trap 'rm -f {output}; trap - HUP; kill -s HUP $$' HUP; {command}\n")
        };
        let printed = [
            "make -f ./scripts/Makefile.build obj=scripts\n".to_owned(),
            recipe("scripts/basic/fixdep", "gcc -o scripts/basic/fixdep scripts/basic/fixdep.c"),
            recipe("scripts/part.o", "gcc -c -o scripts/part.o scripts/part.c"),
            recipe(
                "scripts/gen",
                "gcc -o scripts/gen scripts/part.o; scripts/basic/fixdep x 'gcc -o scripts/gen'",
            ),
            recipe("lib/a.h", "./scripts/gen lib/a.h lib/sub/b.h"),
            recipe("lib/x.o", "gcc -c -o lib/x.o lib/x.c"),
        ]
        .concat();
        let recipes = recipes(&printed);
        assert_eq!(recipes.len(), 5);
        let found = |included: &str| {
            let (path, order) = order(&recipes, included, &|path| path == "scripts/basic/fixdep")?;
            Some((path, order.iter().map(|recipe| recipe.output).collect::<Vec<_>>()))
        };
        let all = vec!["scripts/part.o", "scripts/gen", "lib/a.h"];
        assert_eq!(found("a.h"), Some(("lib/a.h", all.clone())));
        assert_eq!(found("sub/b.h"), Some(("lib/sub/b.h", all)));
        assert_eq!(found(".h"), None);
        assert_eq!(found("c.h"), None);
    }

    #[test]
    fn the_missing_file_is_in_the_messages() {
        let text = "In file included from x.c:1:\n./a/avc.h:20:10: fatal error: flask.h: No such file or directory\n   20 | #include \"flask.h\"\n";
        assert_eq!(missing(text), Some("flask.h"));
        assert_eq!(missing("x.c:1:1: error: y\n"), None);
    }
}
