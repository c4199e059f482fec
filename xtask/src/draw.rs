// SPDX-License-Identifier: GPL-2.0-or-later
//! `draw`: builds random functions through all stages, and compiles all structs with rustc.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use klp_base::events::Sink;
use klp_format::KlpSymbol;
use klp_testkit::draw::copies::Agreement;
use klp_testkit::draw::record::Record;
use klp_testkit::draw::{copies, functions, structs};

use crate::context::{Context, DEFAULT_KERNEL};

/// Document with the results of all kernels.
const DOCUMENT: &str = "docs/draws.md";

/// Build what `new-patch` makes for functions drawn at random: each builds, or is refused for a reason that a
/// second source confirms. Then compile all structs of the kernel and of its five largest modules.
///
/// Example: cargo xtask draw --kernel debian-6.12 --count 40
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of a kernel, or `all`; may be given several times
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: Vec<String>,
    /// Draw with this seed; without it the seed is the time, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Number of functions to draw on each kernel
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// Leave out the structs
    #[arg(long)]
    functions_only: bool,
    /// Instead of a build, compare the copies that the compiler inlined: by the kernel's source, and by its debug information (1 GB)
    #[arg(long, conflicts_with_all = ["functions_only", "record"])]
    copies: bool,
    /// Write the results to docs/draws.md
    #[arg(long)]
    record: bool,
}

impl Args {
    /// The draw of the full tier: 200 functions and all structs on every kernel.
    pub(crate) fn full_tier() -> Self {
        Self {
            kernel: vec!["all".to_owned()],
            seed: None,
            count: 200,
            functions_only: false,
            copies: false,
            record: false,
        }
    }

    /// The comparison of inlined copies in the full tier: 1000 functions of the default kernel.
    pub(crate) fn copies_of_full_tier() -> Self {
        Self { kernel: vec![DEFAULT_KERNEL.to_owned()], count: 1000, copies: true, ..Self::full_tier() }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    anyhow::ensure!(args.count > 0, "--count 0 draws nothing");
    let seed = match args.seed {
        Some(seed) => seed,
        None => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            now.as_secs()
        }
    };
    let mut failures = Vec::new();
    for id in context.kernels(&args.kernel)? {
        let tree = context.kernel(&id)?;
        context.terminal.note(format!("draw on {id} with seed {seed}"));
        let (cache, sink) = (&context.cache, &context.terminal);
        if args.copies {
            let judged = copies::draw(&context.project, &tree, cache, sink, (seed, args.count))?;
            print!("{}", copies::summary(&judged));
            let differs = |(symbol, agreement): &(KlpSymbol, Agreement)| {
                matches!(agreement, Agreement::Differs { .. }).then(|| {
                    format!("{id}: {symbol}: the source and the debug information name different copies")
                })
            };
            failures.extend(judged.iter().filter_map(differs));
            continue;
        }
        let record = Record {
            kernel: (id.clone(), tree.release.to_string()),
            seed,
            functions: functions::draw(&context.project, &tree, cache, sink, seed, args.count)?,
            structs: if args.functions_only { Vec::new() } else { structs::draw(&tree, cache, sink)? },
        };
        print!("{}", record.section());
        if args.record {
            let file = context.project.root().join(DOCUMENT);
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("could not read {DOCUMENT}"))?;
            std::fs::write(&file, record.put_into(&text))
                .with_context(|| format!("could not write {DOCUMENT}"))?;
        }
        failures.extend(record.failures().into_iter().map(|failure| format!("{id}: {failure}")));
    }
    for failure in &failures {
        println!("\nFAILED {failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
