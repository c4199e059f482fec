// SPDX-License-Identifier: GPL-2.0-or-later
//! `cargo xtask`: Ferrograft's verbs.

mod bench;
mod build;
mod cache;
mod check;
mod ci;
mod context;
mod demo;
mod draw;
mod kernel;
mod new_patch;
mod qemu_test;
mod setup;
mod support;
mod system_test;
mod update_generated;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Linux kernel live patches in Rust: build, check, prove.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Build(build::Args),
    Doctor(setup::Args),
    Bench(bench::Args),
    Cache(cache::Args),
    Check(check::Args),
    Ci(ci::CiArgs),
    Demo(demo::Args),
    Draw(draw::Args),
    Kernel(kernel::Args),
    NewPatch(new_patch::Args),
    SystemTest(system_test::Args),
    Test(ci::TestArgs),
    QemuTest(qemu_test::Args),
    UpdateGenerated(update_generated::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Build(args) => build::run(&args),
        Verb::Doctor(args) => setup::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Cache(args) => cache::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Ci(args) => ci::ci(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Draw(args) => draw::run(&args),
        Verb::Kernel(args) => kernel::run(&args),
        Verb::NewPatch(args) => new_patch::run(&args),
        Verb::SystemTest(args) => system_test::run(&args),
        Verb::Test(args) => ci::test(&args),
        Verb::QemuTest(args) => qemu_test::run(&args),
        Verb::UpdateGenerated(args) => update_generated::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(context::exit_code(&error))
        }
    }
}
