// SPDX-License-Identifier: GPL-2.0-or-later
//! `cache`: lists, verifies and prunes the entries of the cache.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use klp_base::events::Sink;

use crate::context::Context;

/// List, verify and prune the cache.
///
/// Example: cargo xtask cache prune kernel
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the entries and their sizes
    List,
    /// Compare the hash of every file with the recorded hash
    Verify,
    /// Remove entries
    Prune {
        /// Only entries whose kind or name contains this word; all entries if none is given
        word: Option<String>,
    },
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    let entries = context.cache.list()?;
    match &args.verb {
        Verb::List => {
            println!("{}", context.cache.root().display());
            for entry in &entries {
                println!(
                    "{:>8.1} MiB  {}/{}",
                    entry.bytes as f64 / f64::from(1 << 20),
                    entry.kind,
                    entry.name
                );
            }
        }
        Verb::Verify => {
            let mut damaged = 0;
            for entry in &entries {
                match context.cache.verify(entry) {
                    Ok(()) => println!("ok       {}/{}", entry.kind, entry.name),
                    Err(error) => {
                        damaged += 1;
                        context.terminal.warn(error.to_string());
                    }
                }
            }
            if damaged > 0 {
                bail!("{damaged} of {} entries are damaged", entries.len());
            }
        }
        Verb::Prune { word } => {
            let chosen = |text: &str| word.as_ref().is_none_or(|word| text.contains(word.as_str()));
            let chosen: Vec<_> = entries.iter().filter(|e| chosen(&e.kind) || chosen(&e.name)).collect();
            if chosen.is_empty() {
                bail!("no entry matches; `cargo xtask cache list` shows what there is");
            }
            for entry in chosen {
                context.cache.remove(entry)?;
                println!("removed  {}/{}", entry.kind, entry.name);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
