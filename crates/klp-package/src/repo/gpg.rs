// SPDX-License-Identifier: GPL-2.0-or-later
//! Signatures by the program gpg, with the keys and the agent of its user.

use std::path::Path;

use klp_base::process::Cmd;

use super::GpgKey;
use crate::error::Error;

/// Lets a program that uses gpg find the key.
pub(super) fn at_home(cmd: Cmd, key: GpgKey<'_>) -> Cmd {
    match key.home {
        Some(home) => cmd.env("GNUPGHOME", home),
        None => cmd,
    }
}

fn gpg(key: GpgKey<'_>) -> Cmd {
    let cmd = at_home(Cmd::new("gpg"), key).args(["--batch", "--no-tty", "--yes"]);
    cmd.hint("install gpg (Debian: apt-get install gpg)")
}

/// Checks that gpg has a secret key.
pub(super) fn check_key(key: GpgKey<'_>) -> Result<(), Error> {
    gpg(key).args(["--list-secret-keys", "--", key.id]).run()?;
    Ok(())
}

/// Writes a detached signature of `file` in ASCII.
pub(super) fn detach(key: GpgKey<'_>, file: &Path, signature: &Path) -> Result<(), Error> {
    let cmd = gpg(key).args(["--local-user", key.id, "--armor", "--detach-sign", "--output"]);
    cmd.args([signature, file]).run()?;
    Ok(())
}

/// Writes the text of `file` with its signature.
pub(super) fn clear_sign(key: GpgKey<'_>, file: &Path, signed: &Path) -> Result<(), Error> {
    gpg(key).args(["--local-user", key.id, "--clear-sign", "--output"]).args([signed, file]).run()?;
    Ok(())
}
