// SPDX-License-Identifier: GPL-2.0-or-later
//! Results of a draw, as a section of docs/draws.md.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::functions::{Drawn, Outcome};
use super::structs::Structs;

/// One kernel's draw.
#[derive(Clone, Debug)]
pub struct Record {
    /// Id and release of the kernel.
    pub kernel: (String, String),
    /// The seed.
    pub seed: u64,
    /// The functions.
    pub functions: Vec<Drawn>,
    /// The structs.
    pub structs: Vec<Structs>,
}

impl Record {
    /// Functions and objects without a good outcome, with the error messages.
    pub fn failures(&self) -> Vec<String> {
        let functions = self.functions.iter().filter_map(|drawn| match &drawn.outcome {
            Outcome::Failed(why) => Some(format!("{}: {why}", drawn.symbol)),
            _ => None,
        });
        let structs = self.structs.iter();
        let structs = structs
            .filter_map(|item| item.failure.as_ref().map(|why| format!("structs of {}: {why}", item.object)));
        functions.chain(structs).collect()
    }

    /// The record as a section of the document.
    pub fn section(&self) -> String {
        let (id, release) = &self.kernel;
        let of_modules = self.functions.iter().filter(|drawn| !drawn.symbol.object.is_vmlinux()).count();
        let mut text = format!(
            "## {id} ({release})\n\nSeed {}: {} functions, {of_modules} of them of modules.\n\n",
            self.seed,
            self.functions.len()
        );
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for drawn in &self.functions {
            let row = match &drawn.outcome {
                Outcome::Built => ("built", "verify, and the second sources"),
                Outcome::Refused { reason, confirmed_by } => (*reason, *confirmed_by),
                Outcome::Failed(_) => ("FAILED", ""),
            };
            *counts.entry(row).or_default() += 1;
        }
        // Writing to a String cannot fail.
        text.push_str("| outcome | functions | confirmed by |\n|---|---|---|\n");
        let built = |row: &(&str, &str)| row.0 == "built";
        let rows = counts.iter().filter(|(row, _)| built(row));
        for ((what, by), count) in rows.chain(counts.iter().filter(|(row, _)| !built(row))) {
            let refused = if matches!(*what, "built" | "FAILED") { "" } else { "refused: " };
            let _ = writeln!(text, "| {refused}{what} | {count} | {by} |");
        }
        if !self.structs.is_empty() {
            text.push_str("\n| structs of | compiled with their layouts asserted |\n|---|---|\n");
            for item in &self.structs {
                let seen = if item.failure.is_some() { "FAILED of " } else { "" };
                let _ = writeln!(text, "| {} | {seen}{} |", item.object, item.count);
            }
        }
        text
    }

    /// The document with this kernel's section; an older section is replaced.
    pub fn put_into(&self, document: &str) -> String {
        let title = format!("## {} (", self.kernel.0);
        let mut kept: Vec<String> = Vec::new();
        for part in format!("\n{document}").split("\n## ") {
            kept.push(part.trim_matches('\n').to_owned());
        }
        let mut text = kept.remove(0);
        let mut sections: Vec<String> = kept
            .into_iter()
            .map(|part| format!("## {part}\n"))
            .filter(|part| !part.starts_with(&title))
            .collect();
        sections.push(self.section());
        sections.sort();
        text.push('\n');
        for section in sections {
            text.push('\n');
            text.push_str(&section);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, outcome: Outcome) -> Record {
        let symbol = "vmlinux:schedule".parse().unwrap();
        Record {
            kernel: (id.to_owned(), "6.12".to_owned()),
            seed: 7,
            functions: vec![Drawn { symbol, outcome }],
            structs: Vec::new(),
        }
    }

    #[test]
    fn a_kernel_has_one_section() {
        let head = "# Draws\n\nText.\n";
        let first = record("b", Outcome::Failed("why".to_owned())).put_into(head);
        let both = record("a", Outcome::Built).put_into(&first);
        let again = record("b", Outcome::Built).put_into(&both);
        assert!(again.starts_with(head), "{again}");
        assert_eq!(again.matches("\n## ").count(), 2, "{again}");
        assert!(again.find("## a (").unwrap() < again.find("## b (").unwrap());
        assert!(first.contains("| FAILED | 1 |") && !again.contains("FAILED"), "{again}");
        assert_eq!(record("b", Outcome::Built).put_into(&again), again);
    }

    #[test]
    fn other_outcomes_are_failures() {
        assert!(record("a", Outcome::Built).failures().is_empty());
        let refused = Outcome::Refused { reason: "r", confirmed_by: "c" };
        assert!(record("a", refused).failures().is_empty());
        assert_eq!(record("a", Outcome::Failed("why".to_owned())).failures(), ["vmlinux:schedule: why"]);
    }
}
