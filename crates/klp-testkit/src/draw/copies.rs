// SPDX-License-Identifier: GPL-2.0-or-later
//! Copies that the compiler inlined, of functions drawn at random: the answer of the kernel's source, which is compiled again,
//! against the kernel's own debug information.

use std::collections::BTreeMap;
use std::fmt::Write;

use klp_base::cache::Cache;
use klp_base::events::{Event, Silent, Sink};
use klp_base::lots::Lots;
use klp_base::parallel;
use klp_cdiff::inlined::{Copies, InlinedCopy};
use klp_format::{KlpSymbol, ObjectName, SymbolPosition};
use klp_image::{DebugCopies, DebugCopy, KernelImage};
use klp_kernel::KernelTree;
use klp_pipeline::project::Project;
use klp_pipeline::{Error, c_diff};

/// Outcome of the two answers about a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// They name the same copies; this number.
    Same(usize),
    /// The source does not tell, with the reason.
    NotKnown(String),
    /// The debug information has no such function.
    NotInDebug,
    /// They differ: the copies that only one of them has.
    Differs {
        /// Copies that only the source's answer has.
        source_only: Vec<InlinedCopy>,
        /// Copies that only the debug information has.
        debug_only: Vec<DebugCopy>,
    },
}

/// Compares both answers for `count` functions that can be replaced, half of them with copies by the debug information: few have any.
///
/// # Errors
/// The kernel pins no source or no debug information, or a file cannot be read.
pub fn draw(
    project: &Project,
    tree: &KernelTree,
    cache: &Cache,
    sink: &dyn Sink,
    (seed, count): (u64, usize),
) -> Result<Vec<(KlpSymbol, Agreement)>, Error> {
    let (_, debug) = c_diff::debug_copies(tree, cache, sink)?;
    let image = KernelImage::load(tree.image_file(), cache, sink)?;
    let vmlinux = ObjectName::new(klp_format::VMLINUX)?;
    let (mut copied, mut others) = (Vec::new(), Vec::new());
    for symbol in image.symbols.iter().filter(|symbol| symbol.is_code() && !symbol.is_padding()) {
        if image.trace.of_symbol(&symbol).is_traceable() {
            let unique = image.symbols.count(symbol.name) == 1;
            let position = if unique { SymbolPosition(0) } else { symbol.position };
            let is_copied =
                debug.of(symbol.name, symbol.address).is_some_and(|found| !found.copies.is_empty());
            let list = if is_copied { &mut copied } else { &mut others };
            list.push((KlpSymbol::new(vmlinux.clone(), symbol.name, position)?, symbol.address));
        }
    }
    let mut lots = Lots::new(seed);
    let mut drawn = lots.take(&mut copied, count / 2);
    drawn.extend(lots.take(&mut others, count - drawn.len()));
    let progress = |done: usize| {
        let label = format!("functions of {}", tree.id);
        sink.event(&Event::Progress { label, done: done as u64, total: Some(drawn.len() as u64) });
    };
    parallel::on_all_processors(drawn.len(), parallel::processors(), &progress, &|number| {
        let (symbol, address) = &drawn[number];
        let by_source = c_diff::inlined_by_source(project, tree, symbol, cache, &Silent)?;
        Ok((symbol.clone(), compare(by_source, &debug, &image, symbol, *address)))
    })
}

fn compare(
    by_source: Copies,
    debug: &DebugCopies,
    image: &KernelImage,
    symbol: &KlpSymbol,
    address: u64,
) -> Agreement {
    let of_source = match by_source {
        Copies::Known { copies, .. } => copies,
        Copies::NotKnown(reason) => return Agreement::NotKnown(reason),
    };
    let Some(of_debug) = debug.of(&symbol.symbol, address) else { return Agreement::NotInDebug };
    // A function may have several symbols.
    let is_same = |one: &InlinedCopy, other: &DebugCopy| {
        (&one.file, one.line, one.is_clone) == (&other.file, other.line, other.is_clone)
            && image.symbols.at(other.address).any(|symbol| symbol.name == one.caller)
    };
    let mut source_only = of_source.clone();
    source_only.retain(|one| !of_debug.copies.iter().any(|other| is_same(one, other)));
    let mut debug_only = of_debug.copies;
    debug_only.retain(|other| !of_source.iter().any(|one| is_same(one, other)));
    if source_only.is_empty() && debug_only.is_empty() {
        return Agreement::Same(of_source.len());
    }
    Agreement::Differs { source_only, debug_only }
}

/// The outcomes as text: a line per difference, the reasons of what is not known, and the sums.
pub fn summary(judged: &[(KlpSymbol, Agreement)]) -> String {
    let mut text = String::new();
    let mut not_known: BTreeMap<String, usize> = BTreeMap::new();
    let (mut same, mut with_copies, mut not_in_debug, mut different) = (0, 0, 0, 0);
    for (symbol, agreement) in judged {
        match agreement {
            Agreement::Same(copies) => {
                same += 1;
                with_copies += usize::from(*copies > 0);
            }
            Agreement::NotKnown(reason) => *not_known.entry(kind(reason, symbol)).or_default() += 1,
            Agreement::NotInDebug => {
                not_in_debug += 1;
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{symbol}: not in the debug information");
            }
            Agreement::Differs { source_only, debug_only } => {
                different += 1;
                for InlinedCopy { caller, file, line, .. } in source_only {
                    let _ = writeln!(text, "{symbol}: only by the source: {caller} ({file}:{line})");
                }
                for DebugCopy { caller, file, line, .. } in debug_only {
                    let _ =
                        writeln!(text, "{symbol}: only in the debug information: {caller} ({file}:{line})");
                }
            }
        }
    }
    for (reason, count) in &not_known {
        let _ = writeln!(text, "not known by the source, {count}: {reason}");
    }
    let _ = writeln!(
        text,
        "{} functions: {same} the same ({with_copies} with copies), {different} different, {} not known by the source, {not_in_debug} \
         not in the debug information",
        judged.len(),
        not_known.values().sum::<usize>()
    );
    text
}

/// Reason without the names of the function and its file.
fn kind(reason: &str, symbol: &KlpSymbol) -> String {
    let words = reason.split(' ').map(|word| {
        let name = word.trim_matches(|c| c == ',' || c == ':');
        let base = symbol.symbol.split('.').next().unwrap_or_default();
        if name == base {
            "<function>".to_owned()
        } else if name.ends_with(".c") {
            word.replace(name, "<file>")
        } else {
            word.to_owned()
        }
    });
    let mut words: Vec<String> = words.collect();
    words.dedup();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_sums_are_shown() {
        let symbol = |name: &str| format!("vmlinux:{name}").parse::<KlpSymbol>().unwrap();
        let copy = InlinedCopy { caller: "c".to_owned(), file: "f.c".to_owned(), line: 3, is_clone: false };
        let debug = DebugCopy {
            caller: "d".to_owned(),
            address: 1,
            file: "f.c".to_owned(),
            line: 4,
            is_clone: false,
        };
        let judged = [
            (symbol("a"), Agreement::Same(2)),
            (
                symbol("b"),
                Agreement::NotKnown("no compile of x.c, y.c gives the shipped code of b".to_owned()),
            ),
            (symbol("e"), Agreement::Differs { source_only: vec![copy], debug_only: vec![debug] }),
        ];
        let text = summary(&judged);
        assert!(text.contains("vmlinux:e: only by the source: c (f.c:3)"), "{text}");
        assert!(text.contains("vmlinux:e: only in the debug information: d (f.c:4)"), "{text}");
        assert!(
            text.contains("1: no compile of <file>, <file> gives the shipped code of <function>"),
            "{text}"
        );
        assert!(text.contains("3 functions: 1 the same (1 with copies), 1 different, 1 not known"), "{text}");
    }
}
