// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel's own build, run for modules.

use std::path::Path;

use klp_base::process::Cmd;

use crate::error::Error;
use crate::toolchain::CToolchain;
use crate::tree::KernelTree;

/// What kbuild says of what it does: the only lines that are known to be harmless.
const KNOWN: [&str; 6] = ["make[", "make:", "  CC ", "  LD ", "  COPY ", "  MODPOST "];

/// Characters beside white space and control characters that a path may not hold for the kernel's build: make and the shell
/// read them in the recipes (tried with the Makefiles of 6.1 and 6.12; `*`, `?` and brackets work until another path matches).
const NOT_IN_PATHS: &str = ":#$%\\\"'`;&()<>|=,*?[]";

/// Asks whether the kernel's build can work in a directory. The kernel's own message ("building multiple external modules is
/// not supported", or a shell's syntax error) comes late and does not name the cause.
///
/// # Errors
/// [`Error::NotAble`]: the path holds a character that make or the shell would read.
pub fn check_path(what: &str, path: &Path, help: &str) -> Result<(), Error> {
    let text = path.to_string_lossy();
    let bad = text.chars().find(|c| c.is_whitespace() || c.is_control() || NOT_IN_PATHS.contains(*c));
    match bad {
        None => Ok(()),
        Some(bad) => Err(Error::NotAble {
            what: format!("{what} is {}, and the kernel's build takes no path with {bad:?}", path.display()),
            help: help.to_owned(),
        }),
    }
}

/// kbuild for the out-of-tree module in `dir`, quiet, in an environment that does not depend on who runs it.
pub fn make(tree: &KernelTree, dir: &Path) -> Cmd {
    let flags: &[&str] = match tree.toolchain.c {
        CToolchain::Gcc(_) => &[],
        // A table for linkers that fold functions; stage 5 could not move what it points at.
        CToolchain::Llvm(_) => &["KCFLAGS=-fno-addrsig"],
    };
    Cmd::new("make")
        .arg("-C")
        .arg(&tree.headers)
        .args(&tree.make)
        .args(flags)
        .arg(format!("M={}", dir.display()))
        // Nothing of the Rust code would be in it, and newer kernels refuse a mismatch.
        .arg("CONFIG_DEBUG_INFO_BTF_MODULES=")
        // Of the C part, which is modpost's alone; its paths would reach the build id.
        .arg("CONFIG_DEBUG_INFO=")
        .clean_env()
        .env("LC_ALL", "C")
        .hint("install the package make (or run `cargo xtask doctor --fix`)")
}

/// Runs kbuild in `dir`.
///
/// # Errors
/// It failed, or one of its tools printed something that is not known to be harmless.
pub fn run(tree: &KernelTree, dir: &Path, module: &str, arguments: &[&str], log: &Path) -> Result<(), Error> {
    let output = make(tree, dir).args(arguments).arg("modules").log(log).run()?;
    let unknown: Vec<String> = output
        .stdout_text()
        .lines()
        .chain(output.stderr_text().lines())
        .filter(|line| !KNOWN.iter().any(|known| line.starts_with(known)))
        .map(|line| format!("    | {line}"))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::UnknownOutput {
        tool: "kbuild (objtool, modpost or the C compiler)",
        subject: module.to_owned(),
        text: unknown.join("\n"),
        log: log.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_make_cannot_take_are_refused_by_name() {
        for good in ["/home/me/ferrograft-1.0_x", "/srv/a+b@c~d^e", "/home/é/f", "/a{b}!"] {
            check_path("the checkout", Path::new(good), "move it").unwrap();
        }
        for bad in ["/home/my files/f", "/a:b", "/a\tb", "/a'b", "/a=b", "/a,b", "/a$b", "/a(b)", "/a*b"] {
            let error = check_path("the checkout", Path::new(bad), "move it").unwrap_err();
            let text = error.to_string();
            assert_eq!(error.exit_code(), 69);
            assert!(
                text.contains(bad) && text.contains("the checkout") && text.contains("move it"),
                "{text}"
            );
        }
    }
}
