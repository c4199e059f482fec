// SPDX-License-Identifier: GPL-2.0-or-later
//! `cargo xtask`: the developer commands (verbs) of Ferrograft.

mod bench;
mod build;
mod cache;
mod cdiff;
mod check;
mod ci;
mod context;
mod corpus;
mod crashes;
mod demo;
mod diff;
mod dnf5;
mod doctor;
mod draw;
mod editor;
mod fleet;
mod foreign;
mod host_tests;
mod identity;
mod kernel;
mod look;
mod machine;
mod new_patch;
mod package;
mod qemu_test;
mod setup;
mod sign;
mod support;
mod system_test;
mod update_generated;
mod walk_repository;

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
    Doctor(doctor::Args),
    Demo(demo::Args),
    Kernel(kernel::Args),
    Look(look::Args),
    Diff(diff::Args),
    Cdiff(cdiff::Args),
    Identity(identity::Args),
    Corpus(corpus::Args),
    NewPatch(new_patch::Args),
    Editor(editor::EditorArgs),
    Doc(editor::DocArgs),
    Build(build::Args),
    Check(check::Args),
    Sign(sign::Args),
    Package(package::PackageArgs),
    Repo(package::RepoArgs),
    QemuTest(qemu_test::Args),
    SystemTest(system_test::Args),
    Crashes(crashes::Args),
    Foreign(foreign::Args),
    Test(ci::TestArgs),
    Ci(ci::CiArgs),
    Draw(draw::Args),
    Bench(bench::Args),
    UpdateGenerated(update_generated::Args),
    Cache(cache::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Kernel(args) => kernel::run(&args),
        Verb::Look(args) => look::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::Cdiff(args) => cdiff::run(&args),
        Verb::Corpus(args) => corpus::run(&args),
        Verb::Identity(args) => identity::run(&args),
        Verb::NewPatch(args) => new_patch::run(&args),
        Verb::Editor(args) => editor::editor(&args),
        Verb::Doc(args) => editor::doc(&args),
        Verb::Build(args) => build::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Sign(args) => sign::run(&args),
        Verb::Package(args) => package::package(&args),
        Verb::Repo(args) => package::repo(&args),
        Verb::QemuTest(args) => qemu_test::run(&args),
        Verb::SystemTest(args) => system_test::run(&args),
        Verb::Crashes(args) => crashes::run(&args),
        Verb::Foreign(args) => foreign::run(&args),
        Verb::Test(args) => ci::test(&args),
        Verb::Ci(args) => ci::ci(&args),
        Verb::Draw(args) => draw::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::UpdateGenerated(args) => update_generated::run(&args),
        Verb::Cache(args) => cache::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(context::exit_code(&error))
        }
    }
}
