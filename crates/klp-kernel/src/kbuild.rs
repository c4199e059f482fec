// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel's own build, run for modules.

use std::path::Path;

use klp_base::process::Cmd;

use crate::error::Error;
use crate::toolchain::CToolchain;
use crate::tree::KernelTree;

/// Prefixes of kbuild's progress lines, the only output known to be harmless.
const KNOWN: [&str; 6] = ["make[", "make:", "  CC ", "  LD ", "  COPY ", "  MODPOST "];

/// Characters (in addition to white space and control characters) that a path must not contain, because make
/// or the shell interprets them in recipes. Tested with the Makefiles of 6.1 and 6.12. `*`, `?` and brackets
/// work only until another path matches the pattern.
const NOT_IN_PATHS: &str = ":#$%\\\"'`;&()<>|=,*?[]";

/// Checks that kbuild can work in a directory. The kernel's own message ("building multiple external modules
/// is not supported", or a syntax error of the shell) comes late and does not name the cause.
///
/// # Errors
/// [`Error::NotAble`]: the path contains a character that make or the shell interprets.
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

/// Quiet kbuild command for the out-of-tree module in `dir`, with an environment independent of the user.
pub fn make(tree: &KernelTree, dir: &Path) -> Cmd {
    let flags: &[&str] = match tree.toolchain.c {
        CToolchain::Gcc(_) => &[],
        // The address-significance table is for linkers that fold functions. Stage 5 could not move its
        // references.
        CToolchain::Llvm(_) => &["KCFLAGS=-fno-addrsig"],
    };
    Cmd::new("make")
        .arg("-C")
        .arg(&tree.headers)
        .args(&tree.make)
        .args(flags)
        .arg(format!("M={}", dir.display()))
        // BTF of the module would not describe its Rust code, and newer kernels reject mismatched BTF.
        .arg("CONFIG_DEBUG_INFO_BTF_MODULES=")
        // Only modpost's C file would have debug information, and its paths would change the build id.
        .arg("CONFIG_DEBUG_INFO=")
        .clean_env()
        .env("LC_ALL", "C")
        .hint("install the package make (or run `cargo xtask doctor --fix`)")
}

/// Runs kbuild in `dir`.
///
/// # Errors
/// kbuild failed, or one of its tools printed a message that is not known to be harmless.
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
    fn paths_with_special_characters_of_make_are_rejected() {
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
