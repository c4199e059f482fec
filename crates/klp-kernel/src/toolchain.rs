// SPDX-License-Identifier: GPL-2.0-or-later
//! Compilers of a kernel and of its modules. They are pinned for each kernel, because neither C nor Rust
//! objects of different compilers can be mixed safely.

use serde::{Deserialize, Serialize};

use klp_base::arch::Arch;

/// The compilers of one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ToolchainFile", into = "ToolchainFile")]
pub struct Toolchain {
    /// The C compiler, with its assembler and linker.
    pub c: CToolchain,
    /// rustc version of the kernel's own Rust code. Every fix that uses the kernel's crates requires it.
    pub rust: Option<String>,
    /// bindgen version of the kernel's build.
    pub bindgen: Option<String>,
}

/// A C compiler with its assembler and linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CToolchain {
    /// gcc and binutils, with the compiler's command, for example `gcc-12`.
    Gcc(String),
    /// clang, lld and the LLVM tools, with their major version.
    Llvm(u32),
}

/// Toolchain as written in kernel.toml.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolchainFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    gcc: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    llvm: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rust: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bindgen: Option<String>,
}

impl TryFrom<ToolchainFile> for Toolchain {
    type Error = String;

    fn try_from(file: ToolchainFile) -> Result<Self, String> {
        let c = match (file.gcc, file.llvm) {
            (Some(version), None) => CToolchain::Gcc(format!("gcc-{version}")),
            (None, Some(version)) => CToolchain::Llvm(version),
            _ => return Err("name one C compiler: gcc = 12, or llvm = 19".to_owned()),
        };
        if file.rust.is_some() != file.bindgen.is_some() {
            return Err("`rust` and `bindgen` go together".to_owned());
        }
        Ok(Self { c, rust: file.rust, bindgen: file.bindgen })
    }
}

impl From<Toolchain> for ToolchainFile {
    fn from(toolchain: Toolchain) -> Self {
        let (gcc, llvm) = match toolchain.c {
            CToolchain::Gcc(command) => (command.rsplit('-').next().and_then(|text| text.parse().ok()), None),
            CToolchain::Llvm(version) => (None, Some(version)),
        };
        Self { gcc, llvm, rust: toolchain.rust, bindgen: toolchain.bindgen }
    }
}

/// A program that the build machine needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTool {
    /// Name in PATH.
    pub program: String,
    /// Debian package of the program.
    pub package: String,
    /// Purpose of the program.
    pub why: &'static str,
}

/// Purpose of the programs with which a kernel's source is built.
const FOR_SOURCE: &str = "builds kernels from source";

impl HostTool {
    fn new(program: &str, package: &str, why: &'static str) -> Self {
        Self { program: program.to_owned(), package: package.to_owned(), why }
    }
}

impl Toolchain {
    /// Compiler of a stock kernel, named by its headers.
    pub fn gcc(command: &str) -> Self {
        Self { c: CToolchain::Gcc(command.to_owned()), rust: None, bindgen: None }
    }

    /// make arguments for a kernel built here and for its modules.
    pub(crate) fn make_words(&self, arch: Arch) -> Vec<String> {
        let arch = format!("ARCH={}", arch.name());
        match &self.c {
            CToolchain::Gcc(command) => vec![arch, format!("CC={command}"), format!("HOSTCC={command}")],
            CToolchain::Llvm(version) => vec![arch, format!("LLVM=-{version}")],
        }
    }

    /// Command and flags for a relocatable link on an architecture, including the linker emulation.
    pub fn linker(&self, arch: Arch) -> [String; 3] {
        let emulation = match arch {
            Arch::X86_64 => "elf_x86_64",
            Arch::Arm64 => "aarch64elf",
        };
        let program = match (&self.c, arch) {
            (CToolchain::Llvm(version), _) => format!("ld.lld-{version}"),
            (CToolchain::Gcc(_), Arch::X86_64) => "ld".to_owned(),
            (CToolchain::Gcc(_), Arch::Arm64) => format!("{}-ld", arch.triple()),
        };
        [program, "-m".to_owned(), emulation.to_owned()]
    }

    /// Command that removes debug information from an ELF file of any architecture.
    pub(crate) fn strip(&self) -> String {
        match &self.c {
            CToolchain::Gcc(_) => "strip".to_owned(),
            CToolchain::Llvm(version) => format!("llvm-strip-{version}"),
        }
    }

    /// Programs with which a kernel's source is configured and built, besides the compilers.
    pub(crate) fn source_tools() -> Vec<HostTool> {
        let tools = [
            ("flex", "flex"),
            ("bison", "bison"),
            ("bc", "bc"),
            ("openssl", "openssl"),
            ("rsync", "rsync"),
            ("cpio", "cpio"),
            ("xz", "xz-utils"),
            ("zstd", "zstd"),
            ("pahole", "pahole"),
        ];
        tools.map(|(program, package)| HostTool::new(program, package, FOR_SOURCE)).to_vec()
    }

    /// Additional programs for building such a kernel. Programs common to all kernels are not included.
    pub(crate) fn tools(&self) -> Vec<HostTool> {
        let why = FOR_SOURCE;
        let mut tools = Self::source_tools();
        match &self.c {
            CToolchain::Gcc(command) => tools.push(HostTool::new(command, command, why)),
            CToolchain::Llvm(version) => {
                for (program, package) in [("clang", "clang"), ("ld.lld", "lld"), ("llvm-nm", "llvm")] {
                    let versioned = |name: &str| format!("{name}-{version}");
                    tools.push(HostTool::new(&versioned(program), &versioned(package), why));
                }
            }
        }
        tools
    }

    /// Development packages of C libraries for the kernel's host programs: a header whose presence is
    /// checked, and the package.
    pub const LIBRARIES: [(&'static str, &'static str); 2] =
        [("/usr/include/gelf.h", "libelf-dev"), ("/usr/include/openssl/opensslv.h", "libssl-dev")];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolchain_requires_exactly_one_c_compiler() {
        let parsed = |text: &str| toml::from_str::<Toolchain>(text).map_err(|error| error.to_string());
        let gcc = parsed("gcc = 12\nrust = '1.95.0'\nbindgen = '0.72.1'").unwrap();
        assert_eq!(gcc.make_words(Arch::X86_64), ["ARCH=x86_64", "CC=gcc-12", "HOSTCC=gcc-12"]);
        assert_eq!(gcc.linker(Arch::X86_64), ["ld", "-m", "elf_x86_64"]);
        let llvm = parsed("llvm = 19").unwrap();
        assert_eq!(llvm.make_words(Arch::Arm64), ["ARCH=arm64", "LLVM=-19"]);
        assert_eq!(llvm.linker(Arch::Arm64), ["ld.lld-19", "-m", "aarch64elf"]);
        assert!(llvm.tools().iter().any(|tool| tool.program == "ld.lld-19" && tool.package == "lld-19"));
        for (text, expected) in [
            ("rust = '1'", "name one C compiler"),
            ("gcc = 12\nllvm = 19", "name one C compiler"),
            ("gcc = 12\nrust = '1.95.0'", "go together"),
            ("gcc = 12\ncc = 'x'", "unknown field"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
