// SPDX-License-Identifier: GPL-2.0-or-later
//! `look`: facts of a kernel's functions for authors.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use klp_cdiff::inlined::{Copies, InlinedCopy};
use klp_format::{KlpSymbol, ObjectName, VMLINUX};
use klp_pipeline::look::{self, Defined, Function, Match, Use};

use crate::context::{Context, DEFAULT_KERNEL};
use crate::setup::Need;

/// Show what a kernel has of a function: symbol, prototype, callers, and whether it can be replaced.
///
/// Example: cargo xtask look ptrace_request
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Function (`do_exit`, `ext4:ext4_file_open`, `vmlinux:show,2`), a pattern (`pipe_*`), or a C file of the kernel's source (`fs/pipe.c`)
    function: String,
    /// File of a module that is not the kernel's own (.ko, also compressed). Its functions need no `module:`
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Id of the kernel
    #[arg(long, default_value = DEFAULT_KERNEL)]
    kernel: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Most callers, callees and pointers that the text shows of a function.
const MOST: usize = 12;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let asked = args.function.as_str();
    let context = Context::new()?;
    context.ensure(&[Need::Build])?;
    let tree = context.kernel(&args.kernel)?;
    let (cache, sink) = (&context.cache, &context.terminal);
    let (project, object) = match &args.module {
        None => (context.project.clone(), VMLINUX.to_owned()),
        Some(file) => {
            let (project, name) = context.project.with_module(file)?;
            (project, name.to_string())
        }
    };
    let project = &project;
    let (object, name) = asked.split_once(':').unwrap_or((&object, asked));
    if name.ends_with(".c") {
        let text = klp_base::files::read_text(Path::new(name))?;
        let found = look::in_file(project, &tree, &ObjectName::new(object)?, &text, cache, sink)?;
        if found.is_empty() {
            bail!("{name} defines no function");
        }
        if args.json {
            print_json(&found)?;
        } else {
            found.iter().for_each(print_defined);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if name.contains('*') {
        let found = look::matching(project, &tree, &ObjectName::new(object)?, name, cache, sink)?;
        if found.is_empty() {
            bail!("{object} on {} has no function with a name like `{name}`", tree.id);
        }
        if args.json {
            print_json(&found)?;
        } else {
            found.iter().for_each(print_match);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let symbol: KlpSymbol = format!("{object}:{name}").parse()?;
    let found = look::function(project, &tree, &symbol, cache, sink)?;
    if args.json {
        print_json(&found)?;
    } else {
        found.iter().for_each(print_function);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn print_match(found: &Match) {
    match &found.not_replaceable {
        None => println!("{}", found.symbol),
        Some(why) => println!("{}  (not replaceable: {why})", found.symbol),
    }
}

fn print_defined(found: &Defined) {
    let variants = found.variants.join(", ");
    match (found.symbols.as_slice(), variants.as_str()) {
        ([], "") => println!("{}  (no symbol: inlined into its callers, or not compiled)", found.name),
        ([], _) => println!("{}  (only the compiler's variants {variants})", found.name),
        (symbols, _) => symbols.iter().for_each(print_match),
    }
}

fn print_function(found: &Function) {
    let size = found.size.map(|size| format!(", {size} bytes")).unwrap_or_default();
    let scope = if found.global { "global" } else { "static" };
    println!("{}: {scope}{size}", found.symbol);
    let prototype = found.prototype.as_deref();
    print_line(
        "prototype",
        prototype.unwrap_or("not in BTF; a fix states it: { symbol = ..., prototype = ... }"),
    );
    match &found.not_replaceable {
        None => print_line("replaceable", "yes"),
        Some(why) => print_line("replaceable", &format!("no: {why}")),
    }
    let original = match found.original {
        Some(offset) => format!("yes, its own code begins at +{offset}"),
        None => "no, it does not begin with a known ftrace site".to_owned(),
    };
    print_line("original", &original);
    let export = match &found.export {
        None => "no; a fix calls it through the livepatch core".to_owned(),
        Some(export) => {
            export.namespace.as_ref().map_or("yes".to_owned(), |name| format!("yes, in namespace {name}"))
        }
    };
    print_line("exported", &export);
    if !found.variants.is_empty() {
        print_line("variants", &found.variants.join(", "));
    }
    for (what, uses) in
        [("callers", &found.callers), ("callees", &found.callees), ("pointers in", &found.pointers)]
    {
        print_line(what, &uses.as_deref().map_or("not looked for in modules".to_owned(), names));
    }
    if let Some(sleeps_in) = found.sleeps_in.as_ref().filter(|list| !list.is_empty()) {
        print_line("sleeps in", &format!("{}; who sleeps there holds a transition up", sleeps_in.join(", ")));
    }
    if !found.thread_of.is_empty() {
        let starters = found.thread_of.join(", ");
        print_line(
            "thread of",
            &format!("{starters}; the thread stays in it, and a transition would not end"),
        );
    }
    print_line("inlined copies", &copies(found));
}

fn copies(found: &Function) -> String {
    match &found.copies {
        Some(Copies::Known { file, copies, .. }) if copies.is_empty() => format!("none ({file})"),
        Some(Copies::Known { copies, .. }) => {
            let one = |copy: &InlinedCopy| match copy.is_clone {
                true => format!("{}, a clone", copy.caller),
                false => format!("{} ({}:{})", copy.caller, copy.file, copy.line),
            };
            let list: Vec<String> = copies.iter().map(one).collect();
            format!("{}; a replacement does not reach them", list.join(", "))
        }
        _ if found.unreached == Some(true) => {
            "nothing calls it: it is probably inlined into its callers, which a replacement does not reach"
                .to_owned()
        }
        Some(Copies::NotKnown(reason)) => format!("not known: {reason}"),
        None => "not looked for, because it cannot be replaced".to_owned(),
    }
}

fn print_line(what: &str, text: &str) {
    println!("  {:<16}{text}", format!("{what}:"));
}

fn names(uses: &[Use]) -> String {
    let one = |found: &Use| {
        if found.count == 1 { found.name.clone() } else { format!("{} ({}x)", found.name, found.count) }
    };
    let shown: Vec<String> = uses.iter().take(MOST).map(one).collect();
    match uses.len() {
        0 => "none".to_owned(),
        all if all > MOST => format!("{} and {} more (--json has all)", shown.join(", "), all - MOST),
        _ => shown.join(", "),
    }
}
