// SPDX-License-Identifier: GPL-2.0-or-later
//! Tools that the host needs, and their installation: `doctor`, and the automatic set-up of other verbs such
//! as `demo`, `test` and `qemu-test`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use klp_base::arch::Arch;
use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_base::process::{Cmd, find_program};
use klp_kernel::host::rust_src;
use klp_kernel::host::rustc::Rustc;
use klp_kernel::{Pin, Toolchain};

use crate::context::{Context, NotAble, project_root};

/// Check the host's tools, and install what is missing.
///
/// Example: cargo xtask doctor --fix
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install what is missing
    #[arg(long)]
    fix: bool,
}

/// Purpose for which a verb needs tools. Each verb installs only the tools for its own purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Building modules: kernel packages, bindings, kbuild.
    Build,
    /// Booting guests.
    Guest,
    /// Running the host tests.
    Tests,
    /// Building the full system for the guests of system-test.
    System,
}

impl Need {
    const ALL: [Self; 4] = [Self::Build, Self::Guest, Self::Tests, Self::System];
}

/// A host tool.
struct Tool {
    need: Need,
    name: &'static str,
    why: &'static str,
    package: &'static str,
    present: fn() -> bool,
}

macro_rules! program {
    ($need:ident, $name:literal, $package:literal, $why:literal) => {
        Tool {
            need: Need::$need,
            name: $name,
            why: $why,
            package: $package,
            present: || find_program($name).is_some(),
        }
    };
}

const TOOLS: &[Tool] = &[
    program!(Build, "gcc", "gcc", "links the host tools"),
    program!(
        Build,
        "x86_64-linux-gnu-gcc-12",
        "gcc-12",
        "compiles modpost's part of a module as the kernel was compiled"
    ),
    program!(Build, "make", "make", "runs kbuild"),
    program!(Build, "ld", "binutils", "links modules"),
    program!(Build, "apt-get", "apt", "fetches pinned kernels"),
    program!(Build, "dpkg-deb", "dpkg", "unpacks pinned kernels"),
    Tool {
        need: Need::Build,
        name: "libclang",
        why: "reads the kernel's headers",
        package: "libclang1-19",
        present: klp_kernel::host::libclang::is_there,
    },
    Tool {
        need: Need::Build,
        name: "libelf",
        why: "is what the kernel's objtool runs on",
        package: "libelf1",
        present: libelf,
    },
    program!(Guest, "qemu-system-x86_64", "qemu-system-x86", "boots guests"),
    Tool {
        need: Need::Guest,
        name: "busybox (static)",
        why: "is the guest's userland",
        package: "busybox-static",
        present: static_busybox,
    },
    program!(Tests, "git", "git", "lists the project's files in the tests, and names the commit in reports"),
    program!(Tests, "pahole", "pahole", "is the second opinion on layouts in the tests"),
    program!(Tests, "strace", "strace", "kills kpatch before each of its system calls, in the tests"),
    program!(System, "mmdebstrap", "mmdebstrap", "makes the full system of system-test's guests"),
    program!(System, "mke2fs", "e2fsprogs", "makes its file system"),
    program!(System, "qemu-img", "qemu-utils", "makes its disk"),
];

/// Path of busybox. A dynamically linked busybox does not work in a guest.
pub(crate) fn busybox() -> Option<PathBuf> {
    find_program("busybox")
}

fn static_busybox() -> bool {
    // A dynamically linked program contains the name of its interpreter near its start.
    busybox().and_then(|path| std::fs::read(path).ok()).is_some_and(|bytes| {
        let head = bytes.get(..4096).unwrap_or(&bytes);
        !head.windows(8).any(|window| window == b"ld-linux")
    })
}

fn libelf() -> bool {
    ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64"]
        .iter()
        .any(|dir| Path::new(dir).join("libelf.so.1").exists())
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let context = Context::new()?;
    if args.fix {
        ensure(&context, &Need::ALL)?;
    }
    let mut missing = 0;
    for tool in TOOLS {
        let present = (tool.present)();
        missing += u32::from(!present);
        let word = if present { "ok" } else { "MISSING" };
        let hint = if present { String::new() } else { format!("; install the package {}", tool.package) };
        println!("{word:<8} {}: {}{hint}", tool.name, tool.why);
    }
    match Rustc::find(&context.cache) {
        Ok(_) => println!("ok       Rust with the source of core: compiles fixes"),
        Err(error) => {
            missing += 1;
            println!("MISSING  Rust with the source of core: {error}");
        }
    }
    println!("ok       guest programs are built for {}", guest_target(Arch::X86_64)?);
    if missing == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(NotAble(format!("{missing} of the tools are missing; run `cargo xtask doctor --fix`")))
}

/// Installs the missing tools for these purposes, or fails with the one command to run.
pub(crate) fn ensure(context: &Context, needs: &[Need]) -> Result<()> {
    let missing = || {
        let wanted = TOOLS.iter().filter(|tool| needs.contains(&tool.need) && !(tool.present)());
        wanted.map(|tool| (tool.name.to_owned(), tool.package.to_owned())).collect()
    };
    install(&missing, &context.terminal)?;
    if needs.contains(&Need::Build) {
        ensure_core_source(&context.cache, &context.terminal)?;
    }
    if needs.contains(&Need::Guest) {
        ensure_static_target(&context.terminal)?;
    }
    if needs.contains(&Need::Tests) {
        ensure_rust_analyzer(&context.terminal)?;
    }
    Ok(())
}

/// Installs the tools for building one kernel and its modules, in addition to the tools of [`Need::Build`].
pub(crate) fn ensure_for(pin: &Pin, sink: &dyn Sink) -> Result<()> {
    let missing = || {
        let tools = pin.tools().into_iter().map(|tool| (tool.program, tool.package));
        let tools = tools.filter(|(program, _)| find_program(program).is_none());
        let libraries = Toolchain::LIBRARIES.iter().filter(|_| pin.source.is_some());
        let libraries = libraries.filter(|(header, _)| !Path::new(header).is_file());
        tools
            .chain(libraries.map(|(header, package)| ((*header).to_owned(), (*package).to_owned())))
            .collect()
    };
    install(&missing, sink)
}

/// Installs the tools for guests of an architecture, in addition to the tools of [`Need::Guest`].
pub(crate) fn ensure_guest_of(arch: Arch, sink: &dyn Sink) -> Result<()> {
    let (qemu, package) = vm_arch(arch).emulator();
    let missing = || {
        let emulator = find_program(qemu).is_none().then(|| (qemu.to_owned(), package.to_owned()));
        emulator.into_iter().collect()
    };
    install(&missing, sink)?;
    if arch == Arch::Arm64 && !musl_is_there(MUSL_ARM64) {
        ask_rustup(&["target", "add", MUSL_ARM64], sink);
    }
    Ok(())
}

/// The architecture as a type of the VM harness.
pub(crate) fn vm_arch(arch: Arch) -> klp_vm::Arch {
    match arch {
        Arch::X86_64 => klp_vm::Arch::X86_64,
        Arch::Arm64 => klp_vm::Arch::Arm64,
    }
}

/// Installs the packages that `missing` returns as pairs of name and package.
fn install(missing: &dyn Fn() -> Vec<(String, String)>, sink: &dyn Sink) -> Result<()> {
    let found = missing();
    if found.is_empty() {
        return Ok(());
    }
    let packages: BTreeSet<&str> = found.iter().map(|(_, package)| package.as_str()).collect();
    let packages: Vec<&str> = packages.into_iter().collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let typed = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    let root = Cmd::new("id").arg("-u").read()? == "0";
    let sudo = !root && find_program("sudo").is_some() && Cmd::new("sudo").args(["-n", "true"]).run().is_ok();
    if !root && !sudo {
        bail!(NotAble(format!(
            "missing: {}; run this and then try again:\n    sudo {typed}",
            names.join(", ")
        )));
    }
    sink.note(format!("  set-up       missing: {}; installing {}", names.join(", "), packages.join(" ")));
    let apt = |words: &[&str]| {
        let cmd = if root { Cmd::new("apt-get") } else { Cmd::new("sudo").args(["-n", "apt-get"]) };
        cmd.args(["-q", "-y"]).args(words).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C").run()
    };
    let wanted = [&["install", "--no-install-recommends"], packages.as_slice()].concat();
    // The package lists may be missing on a fresh machine, or older than the archive. In this case they are
    // fetched once.
    if apt(&wanted).is_err() {
        sink.note("  set-up       the package lists do not serve; fetching new ones".to_owned());
        apt(&["update"]).and_then(|_| apt(&wanted)).map_err(|error| NotAble(format!("{error}")))?;
    }
    let still: Vec<String> = missing().into_iter().map(|(name, _)| name).collect();
    if still.is_empty() {
        return Ok(());
    }
    bail!(NotAble(format!("{} still missing after `{typed}`", still.join(", "))))
}

/// Installs the source of `core` from rustup, otherwise from Debian's package.
fn ensure_core_source(cache: &Cache, sink: &dyn Sink) -> Result<()> {
    if Rustc::find(cache).is_ok() {
        return Ok(());
    }
    ask_rustup(&["component", "add", "rust-src"], sink);
    if Rustc::find(cache).is_err() {
        sink.note("  set-up       taking the source of core from Debian's package rust-src".to_owned());
        rust_src::from_debian(cache, sink)?;
        Rustc::find(cache)?;
    }
    Ok(())
}

/// Installs a target for guest programs: musl from rustup, otherwise the host's own target.
fn ensure_static_target(sink: &dyn Sink) -> Result<()> {
    if musl_is_there(MUSL) {
        return Ok(());
    }
    ask_rustup(&["target", "add", MUSL], sink);
    if !musl_is_there(MUSL) {
        sink.warn(format!("no musl target: guest programs are built for {}", guest_target(Arch::X86_64)?));
    }
    Ok(())
}

/// Installs rust-analyzer for a test of `editor`.
fn ensure_rust_analyzer(sink: &dyn Sink) -> Result<()> {
    let is_there = || {
        let found = Cmd::new("rustup").args(["which", "rust-analyzer"]).cwd(project_root()).read();
        found.is_ok_and(|path| Cmd::new(path).arg("--version").run().is_ok())
    };
    if is_there() {
        return Ok(());
    }
    ask_rustup(&["component", "add", "rust-analyzer"], sink);
    if is_there() {
        return Ok(());
    }
    bail!(NotAble(
        "rust-analyzer, which a test of `cargo xtask editor` asks, is missing; run this and then try again:\n    \
         rustup component add rust-analyzer"
            .to_owned()
    ))
}

/// Installs one component of the pinned toolchain by its name. `rustup toolchain install` succeeds for an
/// existing toolchain without adding components. A failure here is only a warning, because the caller checks
/// the result.
fn ask_rustup(words: &[&str], sink: &dyn Sink) {
    sink.note(format!("  set-up       rustup {}", words.join(" ")));
    if let Err(error) = Cmd::new("rustup").args(words).cwd(project_root()).run() {
        sink.warn(format!("rustup refused ({})", error.to_string().lines().next().unwrap_or_default()));
    }
}

const MUSL: &str = "x86_64-unknown-linux-musl";
const MUSL_ARM64: &str = "aarch64-unknown-linux-musl";

fn musl_is_there(target: &str) -> bool {
    Cmd::new("rustc")
        .args(["--print", "sysroot"])
        .cwd(project_root())
        .read()
        .is_ok_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir())
}

/// Target of static programs: musl if it is installed, otherwise the host's target with static linking. Other
/// architectures support only musl.
pub(crate) fn guest_target(arch: Arch) -> Result<&'static str> {
    match arch {
        Arch::X86_64 if musl_is_there(MUSL) => Ok(MUSL),
        Arch::X86_64 => Ok("x86_64-unknown-linux-gnu"),
        Arch::Arm64 if musl_is_there(MUSL_ARM64) => Ok(MUSL_ARM64),
        Arch::Arm64 => bail!(NotAble(format!(
            "guest programs for arm64 need Rust's target {MUSL_ARM64}; run this and then try again:\n    rustup target add {MUSL_ARM64}"
        ))),
    }
}
