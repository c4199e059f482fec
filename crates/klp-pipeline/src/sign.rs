// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 7: the signature for the kernel, appended to the finished module. The module must not be changed
//! afterwards.
//!
//! Source: `Documentation/admin-guide/module-signing.rst`.

use std::path::{Path, PathBuf};

use klp_base::process::Cmd;
use klp_kernel::KernelTree;

use crate::error::Error;

/// Key that signs modules for a kernel: `key`, otherwise the key from the build of the kernel.
///
/// # Errors
/// There is no key.
pub fn signing_key<'a>(tree: &'a KernelTree, key: Option<&'a Path>) -> Result<&'a Path, Error> {
    key.or(tree.signing_key.as_deref()).ok_or_else(|| {
        klp_kernel::Error::NotAble {
            what: format!("{} has no signing key of its own: whoever built it keeps it", tree.id),
            help: "give the key that the machines trust: --sign-key FILE (PEM, private key and certificate)"
                .to_owned(),
        }
        .into()
    })
}

/// Signs a module with a key that the kernel trusts, by the kernel's own program. Writes the signed module
/// into `dir` and returns its path.
///
/// `key` is a PEM file with private key and certificate. `None`: the key from the build of the kernel.
///
/// # Errors
/// There is no key, the kernel does not check signatures, or signing failed.
pub fn sign(tree: &KernelTree, ko: &Path, key: Option<&Path>, dir: &Path) -> Result<PathBuf, Error> {
    let not_able = |what: String, help: &str| klp_kernel::Error::NotAble { what, help: help.to_owned() };
    let hash = tree.config.value("MODULE_SIG_HASH").ok_or_else(|| {
        not_able(
            format!("{} checks no signatures of modules (CONFIG_MODULE_SIG)", tree.id),
            "leave the module unsigned",
        )
    })?;
    let key = signing_key(tree, key)?;
    let program = tree.headers.join("scripts/sign-file");
    let signed = dir.join(ko.file_name().unwrap_or_default());
    Cmd::new(&program)
        .arg(hash)
        .args([key, key, ko, &signed])
        .hint("the kernel's tree for modules should hold its program scripts/sign-file")
        .run()?;
    Ok(signed)
}
