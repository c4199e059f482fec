// SPDX-License-Identifier: GPL-2.0-or-later
//! Checker for the layers of a crate: `use` declarations and other paths in its sources point downwards, and
//! modules form no circle.
//!
//! The checker reads the sources as tokens, outside of comments and literals. It resolves each path that starts
//! with `crate`, `self`, `super` or the name of a child module to the file of the longest prefix that is a
//! module. Items that a file re-exports count as items of that file.
//!
//! ```text
//! let layers: Layers = &[("top", &["lib", "cli"]), ("verbs", &["act", "show"]), ("data", &["model"])];
//! assert_eq!(layers::upward_arrows(&src, layers), [""; 0]);
//! assert_eq!(layers::circles(&src, Nodes::TopLevelModules), [""; 0]);
//! ```

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// Layers of a crate from top to bottom, each with a name and its modules. A module is a path below the
/// crate's `src`, without extension and with `/` as separator: `lib`, `model`, `kernel/host`. A folder
/// includes its files, except for those that are listed themselves.
pub(crate) type Layers<'a> = &'a [(&'a str, &'a [&'a str])];

/// Nodes of the graph that [`circles`] searches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nodes {
    /// Direct children of the crate root; a folder is one node.
    TopLevelModules,
    /// Files.
    Files,
}

/// Reference from one file to another.
struct Arrow {
    file: PathBuf,
    line: usize,
    from: Vec<String>,
    to: Vec<String>,
    path: String,
}

/// Faults in the layers of the crate with the directory `src`: arrows that point upwards, files in no layer,
/// and listed modules that do not exist.
pub(crate) fn upward_arrows(src: &Path, layers: Layers<'_>) -> Vec<String> {
    let modules = modules(src);
    let mut faults = Vec::new();
    for (name, members) in layers {
        for member in *members {
            if !modules.keys().any(|module| is_in(module, member)) {
                faults.push(format!("layer {name}: {member} is not in {}", src.display()));
            }
        }
    }
    for module in modules.keys().filter(|module| layer_of(module, layers).is_none()) {
        faults.push(format!("{}: in no layer", src.join(file_name(module)).display()));
    }
    for arrow in arrows(&modules) {
        let (from, to) = (layer_of(&arrow.from, layers), layer_of(&arrow.to, layers));
        if let (Some(from), Some(to)) = (from, to)
            && to < from
        {
            let name = |at: usize| layers.get(at).map_or("", |(name, _)| *name);
            faults.push(format!(
                "{}:{}: {} → {} ({}): points up, from layer {} to layer {}",
                arrow.file.display(),
                arrow.line,
                file_name(&arrow.from),
                file_name(&arrow.to),
                arrow.path,
                name(from),
                name(to)
            ));
        }
    }
    faults
}

/// Circles among the modules of the crate with the directory `src`, each as a chain of arrows with their
/// files and lines. Of circles with the same modules the shortest is returned.
pub(crate) fn circles(src: &Path, nodes: Nodes) -> Vec<String> {
    let node = |module: &[String]| match nodes {
        Nodes::TopLevelModules => module.first().cloned().unwrap_or_else(|| "lib".to_owned()),
        Nodes::Files => file_name(module),
    };
    let mut graph: BTreeMap<String, BTreeMap<String, Arrow>> = BTreeMap::new();
    for arrow in arrows(&modules(src)) {
        let (from, to) = (node(&arrow.from), node(&arrow.to));
        if from != to {
            graph.entry(from).or_default().entry(to).or_insert(arrow);
        }
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for start in graph.keys() {
        let Some(circle) = shortest_circle(&graph, start) else { continue };
        let mut members = circle.clone();
        members.sort_unstable();
        if seen.insert(members) {
            let next = circle.iter().cycle().skip(1);
            let chain: Vec<String> = circle
                .iter()
                .zip(next)
                .map(|(from, to)| {
                    let arrow = &graph[from][to];
                    format!("{from} → {to} ({}:{})", arrow.file.display(), arrow.line)
                })
                .collect();
            found.push(format!("circle: {}", chain.join(", ")));
        }
    }
    found
}

/// Nodes of the shortest circle through `start`, by breadth-first search.
fn shortest_circle(graph: &BTreeMap<String, BTreeMap<String, Arrow>>, start: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in graph.get(node).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut circle = vec![node.to_owned()];
                let mut at = node;
                while let Some(previous) = before.get(at) {
                    circle.push((*previous).to_owned());
                    at = previous;
                }
                circle.reverse();
                return Some(circle);
            }
            if !before.contains_key(next.as_str()) {
                before.insert(next, node);
                queue.push_back(next);
            }
        }
    }
    None
}

/// Index of the layer with the longest entry that contains `module`.
fn layer_of(module: &[String], layers: Layers<'_>) -> Option<usize> {
    let matching = layers.iter().enumerate().flat_map(|(at, (_, members))| {
        members.iter().filter(|member| is_in(module, member)).map(move |member| (member.len(), at))
    });
    matching.max().map(|(_, at)| at)
}

fn is_in(module: &[String], member: &str) -> bool {
    let name = file_name(module);
    name == member || name.strip_prefix(member).is_some_and(|rest| rest.starts_with('/'))
}

/// Path of a module below `src` without extension; `lib` for the crate root.
fn file_name(module: &[String]) -> String {
    if module.is_empty() { "lib".to_owned() } else { module.join("/") }
}

/// Files of the crate by module path; the path of `lib.rs` is empty. `main.rs` beside `lib.rs` is a crate of
/// its own and left out, as are the programs in `bin`.
fn modules(src: &Path) -> BTreeMap<Vec<String>, PathBuf> {
    let mut found = BTreeMap::new();
    let mut directories = vec![(src.to_owned(), Vec::new())];
    while let Some((directory, module)) = directories.pop() {
        let entries =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for path in entries.map(|entry| entry.unwrap().path()) {
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let mut child: Vec<String> = module.clone();
            child.push(stem.clone());
            if path.is_dir() {
                if !(module.is_empty() && stem == "bin") {
                    directories.push((path, child));
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                match (module.is_empty(), stem.as_str()) {
                    (true, "lib") => found.insert(Vec::new(), path),
                    (true, "main") if src.join("lib.rs").exists() => None,
                    (true, "main") => found.insert(Vec::new(), path),
                    (false, "mod") => found.insert(module.clone(), path),
                    _ => found.insert(child, path),
                };
            }
        }
    }
    assert!(!found.is_empty(), "{} has no source files", src.display());
    found
}

/// All references between files.
fn arrows(modules: &BTreeMap<Vec<String>, PathBuf>) -> Vec<Arrow> {
    let mut found = Vec::new();
    for (module, file) in modules {
        let text = fs::read_to_string(file).unwrap();
        for (line, path) in paths(&text, module, modules) {
            let to =
                (0..=path.len()).rev().map(|length| &path[..length]).find(|to| modules.contains_key(*to));
            let to = to.unwrap_or_default().to_vec();
            if to != *module {
                let path =
                    std::iter::once("crate").chain(path.iter().map(String::as_str)).collect::<Vec<_>>();
                let path = path.join("::");
                found.push(Arrow { file: file.clone(), line, from: module.clone(), to, path });
            }
        }
    }
    found
}

/// Token with its line number: an identifier, `::`, or a punctuation character.
type Token = (usize, String);

/// Paths in a file, from the crate root on, with their lines.
fn paths(
    text: &str,
    module: &[String],
    modules: &BTreeMap<Vec<String>, PathBuf>,
) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(text);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| word.as_str());
    let mut found = Vec::new();
    // Inline modules around the position, each with the depth of its braces.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        match word(at) {
            "mod" if word(at + 2) == "{" => {
                depth += 1;
                inline.push((word(at + 1).to_owned(), depth));
                at += 3;
                continue;
            }
            "{" => depth += 1,
            "}" => {
                if inline.last().is_some_and(|(_, opened)| *opened == depth) {
                    inline.pop();
                }
                depth = depth.saturating_sub(1);
            }
            first if word(at + 1) == "::" && !matches!(word(at.wrapping_sub(1)), "::" | ".") => {
                let here: Vec<String> =
                    module.iter().chain(inline.iter().map(|(name, _)| name)).cloned().collect();
                let child = module.iter().cloned().chain([first.to_owned()]).collect::<Vec<_>>();
                let start = match first {
                    "crate" => Some(Vec::new()),
                    "self" => Some(here),
                    "super" => Some(parent(here)),
                    _ if inline.is_empty() && modules.contains_key(&child) => Some(child),
                    _ => None,
                };
                if let Some(start) = start {
                    at = use_tree(&tokens, at + 2, start, &mut found);
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn parent(mut module: Vec<String>) -> Vec<String> {
    module.pop();
    module
}

/// Reads the tree of a path after `prefix::`, appends its paths to `found`, and returns the position of the
/// next token.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: Vec<String>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let Some((line, word)) = tokens.get(at) else { return at };
    if word == "{" {
        at += 1;
        while let Some((_, word)) = tokens.get(at) {
            match word.as_str() {
                "}" => return at + 1,
                "," => at += 1,
                _ => at = use_tree(tokens, at, prefix.clone(), found),
            }
        }
        return at;
    }
    let mut path = prefix;
    match word.as_str() {
        "super" => path = parent(path),
        "self" | "*" => {}
        name => path.push(name.to_owned()),
    }
    let next = |at: usize| tokens.get(at).map_or("", |(_, word)| word.as_str());
    if next(at + 1) == "::" {
        return use_tree(tokens, at + 2, path, found);
    }
    found.push((*line, path));
    // `as name`
    if next(at + 1) == "as" { at + 3 } else { at + 1 }
}

/// Tokens of a source text, without comments and without the content of literals.
fn tokens(text: &str) -> Vec<Token> {
    let text: Vec<char> = text.chars().collect();
    let get = |at: usize| text.get(at).copied().unwrap_or('\0');
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while at < text.len() {
        let end = match (get(at), get(at + 1)) {
            ('/', '/') => end_of_line(&text, at),
            ('/', '*') => end_of_comment(&text, at),
            ('"', _) => end_of_text(&text, at + 1),
            ('\'', _) => end_of_character(&text, at),
            (':', ':') => {
                found.push((line, "::".to_owned()));
                at + 2
            }
            (c, _) if is_word(c) => {
                let end = (at..).find(|at| !is_word(get(*at))).unwrap_or(at);
                let word: String = text[at..end].iter().collect();
                match raw_text(&text, &word, end) {
                    Some(end) => end,
                    None => {
                        found.push((line, word));
                        end
                    }
                }
            }
            (c, _) => {
                if !c.is_whitespace() {
                    found.push((line, c.to_string()));
                }
                at + 1
            }
        };
        let end = end.min(text.len());
        line += text[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn end_of_line(text: &[char], at: usize) -> usize {
    (at..text.len()).find(|at| text[*at] == '\n').unwrap_or(text.len())
}

/// End of a block comment, which may contain others.
fn end_of_comment(text: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < text.len() {
        match text.get(at..at + 2) {
            Some(['/', '*']) => depth += 1,
            Some(['*', '/']) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_text(text: &[char], mut at: usize) -> usize {
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// End of a character literal, or of the quote of a lifetime or label.
fn end_of_character(text: &[char], at: usize) -> usize {
    if text.get(at + 1) == Some(&'\\') {
        return (at + 3..text.len()).find(|at| text[*at] == '\'').map_or(text.len(), |at| at + 1);
    }
    if text.get(at + 2) == Some(&'\'') { at + 3 } else { at + 1 }
}

/// End of the raw string literal with the prefix `word`, if there is one at `at`.
fn raw_text(text: &[char], word: &str, at: usize) -> Option<usize> {
    if !matches!(word, "r" | "br" | "cr") {
        return None;
    }
    let hashes = text[at..].iter().take_while(|c| **c == '#').count();
    if text.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| {
        text[at] == '"' && text[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let end = (at + hashes + 1..text.len()).find(|at| closes(*at)).unwrap_or(text.len());
    Some(end + 1 + hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: Layers<'_> = &[("top", &["lib"]), ("verbs", &["act"]), ("data", &["model"])];

    /// Directory with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    /// Faults of a tree with `act/mod.rs` and `model/mod.rs` and these other files.
    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let usual = [("lib.rs", "mod act;\nmod model;\n"), ("act/mod.rs", ""), ("model/mod.rs", "")];
        let root = tree(&[&usual[..], files].concat());
        let all = upward_arrows(root.path(), LAYERS);
        all.iter().map(|fault| fault.replace(&format!("{}/", root.path().display()), "")).collect()
    }

    #[test]
    fn downward_arrows_are_accepted() {
        let files = [
            (
                "lib.rs",
                "mod act;\nmod model;\npub use model::store::Store;\nfn main() { act::load::run() }\n",
            ),
            ("act/load.rs", "use crate::model::{self, store::{Store, self as s}};\nuse super::other;\n"),
            ("act/other.rs", "use super::load;\n"),
            ("model/store.rs", "mod tests { use super::*; mod deep { use super::super::*; } }\n"),
        ];
        assert_eq!(faults(&files), [""; 0]);
    }

    #[test]
    fn upward_arrow_is_reported_with_file_and_line() {
        let up =
            "model/store.rs:3: model/store → act/load (crate::act::load::run): points up, from layer verbs";
        let up = up.replace("from layer verbs", "from layer data to layer verbs");
        for text in [
            "\n\nuse crate::act::load::run;\n",
            "use crate::{model,\n    act::{\nload::{run}}};\n",
            "\n\nfn f() { crate::act::load::run() }\n",
            "\n\nuse super::super::act::load::run as r;\n",
            "const A: &str = \"\\\"\n\"; const B: char = '\"';\nfn f<'a>() { crate::act::load::run() }\n",
            "/* /* crate::act */\n*/ const A: &str = r#\"\"crate::act\n\"#; fn f() { crate::act::load::run() }\n",
            "mod tests {\n\nuse super::super::super::act::load::run; }\n",
        ] {
            assert_eq!(faults(&[("act/load.rs", ""), ("model/store.rs", text)]), [up.as_str()], "{text}");
        }
        let item_of_root = faults(&[("model/store.rs", "use crate::Error;\n")]);
        assert_eq!(
            item_of_root,
            ["model/store.rs:1: model/store → lib (crate::Error): points up, from layer data to layer top"]
        );
    }

    #[test]
    fn comments_and_literals_contain_no_arrows() {
        let text = "//! [`crate::act::load`]\n/* crate::act::load */\nconst A: &str = \"crate::act::load\";\n\
                    const B: &str = r##\"crate::act::load\"# crate::act\"##;\n";
        assert_eq!(faults(&[("act/load.rs", ""), ("model/store.rs", text)]), [""; 0]);
    }

    #[test]
    fn files_in_no_layer_and_missing_modules_are_faults() {
        assert_eq!(faults(&[("extra.rs", "")]), ["extra: in no layer"]);
        let root = tree(&[("lib.rs", ""), ("act.rs", "")]);
        let all = upward_arrows(root.path(), LAYERS);
        assert_eq!(all, [format!("layer data: model is not in {}", root.path().display())]);
    }

    #[test]
    fn listed_file_is_not_in_the_layer_of_its_folder() {
        let root = tree(&[
            ("lib.rs", ""),
            ("kernel/mod.rs", "use crate::tools;\n"),
            ("kernel/host.rs", ""),
            ("tools.rs", "use crate::kernel::host;\n"),
        ]);
        let layers: Layers<'_> =
            &[("top", &["lib"]), ("kernel", &["kernel"]), ("tools", &["tools"]), ("host", &["kernel/host"])];
        assert_eq!(upward_arrows(root.path(), layers), [""; 0]);
    }

    #[test]
    fn a_circle_is_named_with_all_its_arrows() {
        let root = tree(&[
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("a.rs", "use crate::b;\n"),
            ("b/mod.rs", "mod one;\nmod two;\n"),
            ("b/one.rs", "\nuse crate::c;\nuse super::two;\n"),
            ("b/two.rs", "use crate::b::one;\n"),
            ("c.rs", "use crate::a;\n"),
        ]);
        let src = root.path().display();
        assert_eq!(
            circles(root.path(), Nodes::TopLevelModules),
            [format!("circle: a → b ({src}/a.rs:1), b → c ({src}/b/one.rs:2), c → a ({src}/c.rs:1)")]
        );
        assert_eq!(
            circles(root.path(), Nodes::Files),
            [format!("circle: b/one → b/two ({src}/b/one.rs:3), b/two → b/one ({src}/b/two.rs:1)")]
        );
        let straight = tree(&[("lib.rs", "use a::A;\n"), ("a.rs", "use crate::b::B;\n"), ("b.rs", "")]);
        assert_eq!(circles(straight.path(), Nodes::Files), [""; 0]);
    }
}
