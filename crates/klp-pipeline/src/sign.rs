// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 7: the signature for the kernel, appended to the finished module. The module must not be changed
//! afterwards.
//!
//! The message is a detached CMS signature as the kernel's `scripts/sign-file` makes it. It is made by openssl, or by a command
//! of the caller, and always checked against the certificate.
//!
//! Source: `Documentation/admin-guide/module-signing.rst`, `scripts/sign-file.c`.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use klp_base::cache::{self, Key};
use klp_base::files::{io_error, read, write};
use klp_base::process::Cmd;
use klp_kernel::KernelTree;
use klp_module::{Module, signature};

use crate::error::Error;

/// Start of the URI of a key in a token (RFC 7512).
const PKCS11: &str = "pkcs11:";

/// Hash algorithm of a signature, by the kernel's name (`CONFIG_MODULE_SIG_HASH`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(&'static str);

impl Hash {
    const ALL: [&'static str; 8] =
        ["sha1", "sha224", "sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"];
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|name| *name == text).map(Self);
        found.ok_or_else(|| {
            format!("{text:?} is no hash of module signatures; there are {}", Self::ALL.join(", "))
        })
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// PEM file.
    File(PathBuf),
    /// URI of a key in a token (HSM), which openssl's engine `pkcs11` reads. It has no PIN.
    Token(String),
}

impl FromStr for SigningKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            uri if uri.starts_with(PKCS11) && uri.contains("pin-value=") => Err(
                "the PIN in the key's URI would be visible to every user of this machine; write it to a file and use \
                 pin-source=FILE"
                    .to_owned(),
            ),
            uri if uri.starts_with(PKCS11) => Ok(Self::Token(uri.to_owned())),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// Maker of signatures, with the certificate (PEM or DER) of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// openssl with a key.
    Key {
        /// The key.
        key: SigningKey,
        /// File of the certificate.
        certificate: PathBuf,
    },
    /// Command for `sh -c`. It reads the module on standard input and the name of the hash in the variable HASH, and prints a
    /// detached CMS signature in DER without signed attributes.
    Command {
        /// The command.
        command: String,
        /// File of the certificate.
        certificate: PathBuf,
    },
}

impl Signer {
    /// The given signer, otherwise the key from the build of the kernel.
    ///
    /// # Errors
    /// There is no key.
    pub fn of<'a>(tree: &KernelTree, given: Option<&'a Self>) -> Result<Cow<'a, Self>, Error> {
        if let Some(signer) = given {
            return Ok(Cow::Borrowed(signer));
        }
        let file = tree.signing_key.clone().ok_or_else(|| klp_kernel::Error::NotAble {
            what: format!("{} has no signing key of its own: whoever built it keeps it", tree.id),
            help: "name a key that the machines trust with --sign-key and --sign-cert, or sign later with `cargo xtask sign`"
                .to_owned(),
        })?;
        Ok(Cow::Owned(Self::Key { key: SigningKey::File(file.clone()), certificate: file }))
    }

    /// Adds the signer to the key of a stage.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn add_to(&self, key: Key) -> Result<Key, cache::Error> {
        let key = match self {
            Self::Key { key: SigningKey::File(file), .. } => key.with_file(file)?,
            Self::Key { key: SigningKey::Token(text), .. } | Self::Command { command: text, .. } => {
                key.with(text)
            }
        };
        key.with_file(self.certificate())
    }

    fn certificate(&self) -> &Path {
        match self {
            Self::Key { certificate, .. } | Self::Command { certificate, .. } => certificate,
        }
    }

    /// Command that reads a module on standard input and prints the message.
    fn cmd(&self, hash: Hash) -> Cmd {
        match self {
            Self::Command { command, .. } => Cmd::new("sh").args(["-c", command]).env("HASH", hash.0),
            Self::Key { key, certificate } => {
                let cmd = openssl(["-sign", "-binary", "-noattr", "-nosmimecap", "-nocerts"]);
                let cmd = cmd.args(["-outform", "DER", "-md", hash.0, "-signer"]).arg(certificate);
                match key {
                    SigningKey::File(file) => cmd.arg("-inkey").arg(file),
                    SigningKey::Token(uri) => {
                        cmd.args(["-engine", "pkcs11", "-keyform", "engine", "-inkey", uri])
                    }
                }
            }
        }
    }
}

fn openssl<const N: usize>(words: [&str; N]) -> Cmd {
    Cmd::new("openssl").hint("install openssl (Debian: apt-get install openssl)").arg("cms").args(words)
}

/// Hash that a kernel uses for its own modules.
///
/// # Errors
/// The kernel does not check signatures.
pub fn hash_of(tree: &KernelTree) -> Result<Hash, Error> {
    let name = tree.config.value("MODULE_SIG_HASH").ok_or_else(|| klp_kernel::Error::NotAble {
        what: format!("{} checks no signatures of modules (CONFIG_MODULE_SIG)", tree.id),
        help: "leave the module unsigned".to_owned(),
    })?;
    name.parse()
        .map_err(|message| Error::Kernel(klp_kernel::Error::Kernel { kernel: tree.id.clone(), message }))
}

/// Module of the file `module` with its signature.
///
/// # Errors
/// The file is no live patch or is signed already, the signer failed, or what it made is no signature of the module by the
/// certificate.
pub fn sign(module: &Path, signer: &Signer, hash: Hash) -> Result<Vec<u8>, Error> {
    let content = read(module)?;
    let fault = |message: String| Error::Sign { module: module.to_owned(), message };
    let parsed = Module::parse(&content).map_err(|error| fault(error.to_string()))?;
    if !parsed.is_livepatch() {
        return Err(fault("it is no live patch".to_owned()));
    }
    if parsed.has_appended_signature() {
        return Err(fault("the module has one; sign the module without a signature".to_owned()));
    }
    let message = signer.cmd(hash).stdin(content.as_slice()).run()?.stdout;
    check_message(&content, &message, signer.certificate())?.map_err(fault)?;
    signature::append(&content, &message).ok_or_else(|| fault("it is longer than 4 GiB".to_owned()))
}

/// Checks that the file `signed` is the module of the file `module` with a signature, and with `certificate` that the
/// signature is by its key.
///
/// # Errors
/// It is not.
pub fn check(signed: &Path, module: &Path, certificate: Option<&Path>) -> Result<(), Error> {
    let (bytes, content) = (read(signed)?, read(module)?);
    let fault = |message: String| Error::Sign { module: signed.to_owned(), message };
    let parts = signature::split(&bytes).map_err(|error| fault(error.to_string()))?;
    let parts =
        parts.ok_or_else(|| fault("the module has none; sign it with `cargo xtask sign`".to_owned()))?;
    if parts.content != content {
        return Err(fault(format!(
            "the signed module is another one than this build makes; sign {}",
            module.display()
        )));
    }
    match certificate {
        Some(certificate) => check_message(&content, parts.message, certificate)?.map_err(fault),
        None => Ok(()),
    }
}

/// Checks a message against the certificate, and returns the reason against it. Whether the kernel trusts the certificate is
/// not checked.
fn check_message(content: &[u8], message: &[u8], certificate: &Path) -> Result<Result<(), String>, Error> {
    let dir = tempfile::tempdir().map_err(io_error("make a directory in", std::env::temp_dir()))?;
    let file = dir.path().join("content");
    write(&file, content)?;
    let cmd = openssl(["-verify", "-inform", "DER", "-binary", "-nointern", "-noverify"]);
    let cmd = cmd.args(["-out", "/dev/null", "-certfile"]).arg(certificate).arg("-content").arg(&file);
    let output = cmd.stdin(message).output()?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = output.stderr_text();
    let reason = said.lines().find(|line| line.contains("error:")).unwrap_or(said.trim());
    let reason = reason.split_once("error:").map_or(reason, |(_, reason)| reason);
    Ok(Err(format!(
        "it is not one of this module by the certificate {} (openssl: {reason})",
        certificate.display()
    )))
}
