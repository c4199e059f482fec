// SPDX-License-Identifier: GPL-2.0-or-later
//! The pinned Rust compiler of this machine.

use std::path::{Path, PathBuf};

use klp_base::cache::Cache;
use klp_base::process::Cmd;

use super::rust_src;
use crate::error::Error;

/// Version that rust-toolchain.toml pins.
pub const VERSION: &str = "1.95.0";

/// The pinned compiler.
pub struct Rustc {
    sysroot: PathBuf,
    program: PathBuf,
    version: String,
    library: PathBuf,
}

impl Rustc {
    /// Finds the compiler and the source of its `core`.
    ///
    /// # Errors
    /// rustc is missing or has another version, or the source of `core` is missing.
    pub fn find(cache: &Cache) -> Result<Self, Error> {
        let hint = "install Rust 1.95.0: `rustup toolchain install` in the project's directory";
        let sysroot = PathBuf::from(Cmd::new("rustc").args(["--print", "sysroot"]).hint(hint).read()?);
        let program = sysroot.join("bin/rustc");
        let version = Cmd::new(&program).arg("-vV").hint(hint).read()?;
        if !version.starts_with(&format!("rustc {VERSION} ")) {
            return Err(Error::NotAble {
                what: format!(
                    "{} is {}, the project needs {VERSION}",
                    program.display(),
                    version.lines().next().unwrap_or("")
                ),
                help: hint.to_owned(),
            });
        }
        let installed = PathBuf::from(format!("/usr/src/rustc-{VERSION}/library"));
        let candidates = [sysroot.join("lib/rustlib/src/rust/library"), installed];
        let mut candidates = candidates.into_iter().chain(rust_src::in_cache(cache));
        let library = candidates.find(|dir| dir.join("core/src/lib.rs").is_file());
        let library = library.ok_or_else(|| Error::NotAble {
            what: format!("the source of Rust {VERSION}'s `core` library is missing"),
            help: "`rustup component add rust-src`, or run `cargo xtask doctor --fix`".to_owned(),
        })?;
        Ok(Self { sysroot, program, version, library })
    }

    /// Version, commit and LLVM version, from `rustc -vV`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Requires the compiler version that built the kernel. rustc cannot read metadata of other versions.
    ///
    /// # Errors
    /// The version differs.
    pub fn must_be(&self, version: &str, kernel: &str) -> Result<(), Error> {
        if version == VERSION {
            return Ok(());
        }
        Err(Error::NotAble {
            what: format!("kernel {kernel} is pinned to Rust {version}, the project's compiler is {VERSION}"),
            help: format!(
                "set `rust = \"{VERSION}\"` under [toolchain] of its kernel.toml; the kernel is then built anew"
            ),
        })
    }

    /// Rust arguments for the kernel's make: paths of the real programs instead of rustup's wrappers.
    pub fn make_words(&self) -> Vec<String> {
        let bin = self.program.parent().unwrap_or(Path::new(""));
        [("RUSTC", "rustc"), ("HOSTRUSTC", "rustc"), ("RUSTDOC", "rustdoc"), ("RUSTFMT", "rustfmt")]
            .map(|(variable, program)| format!("{variable}={}", bin.join(program).display()))
            .to_vec()
    }

    /// Directory with the source of `core`.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Root directory of the toolchain.
    pub fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    /// Path of rustc.
    pub fn program(&self) -> &Path {
        &self.program
    }
}
