// SPDX-License-Identifier: GPL-2.0-or-later
//! Tools that the host needs, and their installation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use klp_base::arch::Arch;
use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_base::process::find_program;
use klp_kernel::host::rust_src;
use klp_kernel::host::rustc::Rustc;
use klp_kernel::{Pin, Toolchain};
use xshell::cmd;

use crate::machine::{NotAble, captured, shell};

/// Purpose for which a verb needs tools. Each verb installs only the tools for its own purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Building modules: kernel packages, bindings, kbuild.
    Build,
    /// Signing modules.
    Sign,
    /// Booting guests.
    Guest,
    /// Running the host tests.
    Tests,
    /// Building the full system for the guests of system-test.
    System,
    /// Running the fleet case: Ansible, and ssh into the guests.
    Fleet,
    /// Publishing packages, and testing them with the package managers.
    Packages,
    /// Measuring other programs that answer the same question.
    Bench,
}

impl Need {
    pub(crate) const ALL: [Self; 8] = [
        Self::Build,
        Self::Sign,
        Self::Fleet,
        Self::Guest,
        Self::Tests,
        Self::System,
        Self::Packages,
        Self::Bench,
    ];
}

/// A host tool.
pub(crate) struct Tool {
    need: Need,
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
    pub(crate) package: &'static str,
    pub(crate) present: fn() -> bool,
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

pub(crate) const TOOLS: &[Tool] = &[
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
    program!(Sign, "openssl", "openssl", "signs modules"),
    program!(Tests, "softhsm2-util", "softhsm2", "is a token for keys in the tests"),
    Tool {
        need: Need::Tests,
        name: "engine pkcs11",
        why: "lets openssl use a key in a token, in the tests",
        package: "libengine-pkcs11-openssl",
        present: pkcs11_engine,
    },
    program!(System, "mmdebstrap", "mmdebstrap", "makes the full system of system-test's guests"),
    program!(System, "mke2fs", "e2fsprogs", "makes its file system"),
    program!(System, "qemu-img", "qemu-utils", "makes its disk"),
    program!(Fleet, "ssh", "openssh-client", "carries Ansible's commands to guests"),
    program!(Fleet, "ssh-keygen", "openssh-client", "makes the key for guests"),
    Tool { need: Need::Fleet, name: "pip", why: "installs Ansible", package: "python3-pip", present: pip },
    program!(Packages, "createrepo_c", "createrepo-c", "makes the metadata of repositories for dnf"),
    program!(Packages, "apt-ftparchive", "apt-utils", "makes the metadata of repositories for apt"),
    program!(Packages, "dpkg-deb", "dpkg", "reads packages of Debian"),
    program!(Packages, "rpmsign", "rpm", "signs RPM packages"),
    program!(Packages, "gpg", "gpg", "signs metadata"),
    program!(Packages, "dnf", "dnf", "installs RPM packages in the tests"),
    program!(Packages, "lintian", "lintian", "checks packages of Debian in the tests"),
    program!(Packages, "rpmlint", "rpmlint", "checks RPM packages in the tests"),
    program!(Bench, "gdb", "gdb", "finds inlined copies, in the benchmarks"),
    program!(Bench, "llvm-dwarfdump", "llvm", "finds inlined copies, in the benchmarks"),
    program!(Bench, "pahole", "pahole", "finds layouts, in the benchmarks"),
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

fn pkcs11_engine() -> bool {
    let asked = shell().and_then(|shell| captured(cmd!(shell, "openssl engine pkcs11")));
    asked.is_ok_and(|said| said.contains("(pkcs11)"))
}

fn pip() -> bool {
    shell().and_then(|shell| captured(cmd!(shell, "python3 -m pip --version"))).is_ok()
}

fn libelf() -> bool {
    ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64"]
        .iter()
        .any(|dir| Path::new(dir).join("libelf.so.1").exists())
}

/// Installs the missing tools for these purposes, or fails with the one command to run.
pub(crate) fn ensure(cache: &Cache, sink: &dyn Sink, needs: &[Need]) -> Result<()> {
    let missing = || {
        let wanted = TOOLS.iter().filter(|tool| needs.contains(&tool.need) && !(tool.present)());
        wanted.map(|tool| (tool.name.to_owned(), tool.package.to_owned())).collect()
    };
    install(&missing, sink)?;
    if needs.contains(&Need::Build) {
        ensure_core_source(cache, sink)?;
    }
    if needs.contains(&Need::Guest) {
        ensure_static_target(sink)?;
    }
    if needs.contains(&Need::Tests) {
        ensure_rust_analyzer(sink)?;
    }
    Ok(())
}

/// Installs the tools for building one kernel, its source and its modules, in addition to the tools of [`Need::Build`].
pub(crate) fn ensure_for(pin: &Pin, sink: &dyn Sink) -> Result<()> {
    let missing = || {
        let tools = pin.tools().into_iter().map(|tool| (tool.program, tool.package));
        let tools = tools.filter(|(program, _)| find_program(program).is_none());
        let libraries = Toolchain::LIBRARIES.iter().filter(|_| pin.has_source());
        let libraries = libraries.filter(|(header, _)| !Path::new(header).is_file());
        tools
            .chain(libraries.map(|(header, package)| ((*header).to_owned(), (*package).to_owned())))
            .collect()
    };
    install(&missing, sink)
}

/// Installs the tools for guests of an architecture, in addition to the tools of [`Need::Guest`].
pub(crate) fn ensure_guest_of(arch: Arch, sink: &dyn Sink) -> Result<()> {
    let (qemu, package) = klp_vm::emulator(arch);
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

/// Installs the C library for guest programs of an architecture. The compiler is a tool of the kernel itself.
pub(crate) fn ensure_programs_of(arch: Arch, sink: &dyn Sink) -> Result<()> {
    install(&|| klp_kernel::guest_program::missing_libraries(arch), sink)
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
    let shell = shell()?;
    let root = cmd!(shell, "id -u").quiet().read()? == "0";
    let sudo = !root && find_program("sudo").is_some() && captured(cmd!(shell, "sudo -n true")).is_ok();
    if !root && !sudo {
        bail!(NotAble(format!(
            "missing: {}; run this and then try again:\n    sudo {typed}",
            names.join(", ")
        )));
    }
    sink.note(format!("  set-up       missing: {}; installing {}", names.join(", "), packages.join(" ")));
    let apt = |words: &[&str]| {
        let cmd = if root { cmd!(shell, "apt-get") } else { cmd!(shell, "sudo -n apt-get") };
        captured(
            cmd.args(["-q", "-y"]).args(words).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C"),
        )
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

/// Installs a target for guest programs: musl from rustup, otherwise the host's target.
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
    let shell = shell()?;
    let is_there = || {
        let Ok(path) = captured(cmd!(shell, "rustup which rust-analyzer")) else { return false };
        captured(cmd!(shell, "{path} --version")).is_ok()
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
    let asked = shell().and_then(|shell| captured(cmd!(shell, "rustup {words...}")));
    if let Err(error) = asked {
        sink.warn(format!("rustup refused ({})", error.to_string().lines().next().unwrap_or_default()));
    }
}

const MUSL: &str = "x86_64-unknown-linux-musl";
const MUSL_ARM64: &str = "aarch64-unknown-linux-musl";

fn musl_is_there(target: &str) -> bool {
    let sysroot = shell().and_then(|shell| captured(cmd!(shell, "rustc --print sysroot")));
    sysroot.is_ok_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir())
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
