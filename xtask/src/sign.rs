// SPDX-License-Identifier: GPL-2.0-or-later
//! Options for signatures of modules, and `sign`: signatures as a step of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use klp_pipeline::sign::{Hash, Signer, SigningKey, sign};

use crate::context::Context;
use crate::setup::Need;

/// Options of verbs that sign a module.
#[derive(clap::Args)]
pub(crate) struct SignerArgs {
    /// Sign the module with this key: a PEM file, or the URI (pkcs11:...) of a key in a token
    #[arg(long, value_name = "KEY")]
    sign_key: Option<SigningKey>,
    /// Certificate of the key, PEM or DER. Without it, the file of the key has it too
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_cert: Option<PathBuf>,
    /// Sign the module with this shell command. It reads the module on standard input and prints a detached CMS signature in
    /// DER; the variable HASH names the hash
    #[arg(long, value_name = "COMMAND", conflicts_with = "sign_key", requires = "sign_cert")]
    sign_command: Option<String>,
}

impl SignerArgs {
    /// The signer; `None` if no option names one.
    pub(crate) fn signer(&self) -> Result<Option<Signer>> {
        let signer = match (&self.sign_key, &self.sign_command, &self.sign_cert) {
            (Some(key), _, Some(certificate)) => {
                Signer::Key { key: key.clone(), certificate: certificate.clone() }
            }
            (Some(SigningKey::File(file)), _, None) => {
                Signer::Key { key: SigningKey::File(file.clone()), certificate: file.clone() }
            }
            (Some(SigningKey::Token(_)), _, None) => {
                bail!("a key in a token has no certificate with it; name the file with --sign-cert")
            }
            (None, Some(command), Some(certificate)) => {
                Signer::Command { command: command.clone(), certificate: certificate.clone() }
            }
            (None, _, _) => return Ok(None),
        };
        Ok(Some(signer))
    }
}

/// Sign finished modules on the machine that has the key: it needs no kernel and builds nothing.
///
/// Example: cargo xtask sign out/kpatch_demo.ko --sign-key key.pem --sign-cert cert.pem --out signed
///
/// The module is one of `cargo xtask build --out`, and `cargo xtask package --signed-module` packages the result.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Modules (*.ko) without a signature
    #[arg(required = true)]
    modules: Vec<PathBuf>,
    #[command(flatten)]
    signer: SignerArgs,
    /// Hash, as CONFIG_MODULE_SIG_HASH of the kernel
    #[arg(long, default_value = "sha256")]
    hash: Hash,
    /// Directory for the signed modules
    #[arg(long)]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let signer = args.signer.signer()?;
    let signer =
        signer.context("name a signer: --sign-key KEY, or --sign-command COMMAND --sign-cert FILE")?;
    Context::new()?.ensure(&[Need::Sign])?;
    // Every module is signed before the first is written.
    let mut signed = Vec::new();
    for module in &args.modules {
        let to = args.out.join(module.file_name().context("the path of a module ends with its name")?);
        ensure!(!same_file(module, &to), "{} would be overwritten; name another directory", module.display());
        signed.push((to, sign(module, &signer, args.hash)?));
    }
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("could not make the directory {}", args.out.display()))?;
    for (to, bytes) in signed {
        klp_base::cache::write_durable(&to, &bytes)?;
        println!("{}", to.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
